"""The fusion "in the frequency domain" is a sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anyrestore.conditioning.frequency_fusion import SpatialFrequencyFusion


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.randn(2, 2, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    return both[0], both[1]


@given(st.integers(1, 33), st.integers(1, 33))
def test_the_inverse_transform_of_the_transforms_sum_is_the_sum(height: int, width: int) -> None:
    a, b = pair(height, width)
    by_fft = torch.fft.irfft2(torch.fft.rfft2(a) + torch.fft.rfft2(b), s=(height, width))
    torch.testing.assert_close(by_fft, a + b, rtol=1e-4, atol=1e-5)
    fused = SpatialFrequencyFusion("frequency")(a, b)
    torch.testing.assert_close(fused, by_fft.repeat_interleave(2, dim=1), rtol=1e-4, atol=1e-5)
    tiled = SpatialFrequencyFusion("frequency", "tile")(a, b)
    torch.testing.assert_close(tiled, by_fft.repeat(1, 2, 1, 1), rtol=1e-4, atol=1e-5)


def test_the_spatial_half_adds_the_other_branch_s_sigmoid() -> None:
    a, b = pair(4, 5)
    expected = torch.cat([a + 1 / (1 + (-b).exp()), b + 1 / (1 + (-a).exp())], dim=1)
    torch.testing.assert_close(SpatialFrequencyFusion("spatial")(a, b), expected)


def test_the_weight_leads_from_frequency_to_space() -> None:
    a, b = pair(4, 5)
    fusion = SpatialFrequencyFusion()
    torch.testing.assert_close(fusion(a, b), SpatialFrequencyFusion("fixed")(a, b))
    for weight, name in ((0.0, "frequency"), (1.0, "spatial")):
        torch.nn.init.constant_(fusion.weight, weight)
        torch.testing.assert_close(fusion(a, b), SpatialFrequencyFusion(name)(a, b))


@pytest.mark.parametrize("fusion", ["learnable", "fixed", "spatial", "frequency", "none"])
def test_two_branches_become_twice_as_many_channels(fusion: str) -> None:
    a, b = pair(4, 5)
    assert SpatialFrequencyFusion(fusion)(a, b).shape == (2, 6, 4, 5)
