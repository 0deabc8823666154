"""The shared layers against plain loops and other implementations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anyrestore.errors import ModelError
from anyrestore.layers.attention import TransposedAttention
from anyrestore.layers.norm import BiasFreeLayerNorm
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.layers.resample import Down, PatchEmbed, ToImage, Up
from anyrestore.zoo import create_model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_norm_divides_by_the_standard_deviation_and_keeps_the_mean() -> None:
    x = torch.randn(2, 6, 3, 5, generator=seeded()) + 3
    norm = BiasFreeLayerNorm(6)
    torch.nn.init.uniform_(norm.weight, generator=seeded(1))
    expected = (
        x / torch.sqrt(x.var(dim=1, unbiased=False, keepdim=True) + 1e-5) * norm.weight.view(1, 6, 1, 1)
    )
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "restormer-tiny", "moce-tiny", "exda-tiny", "promptir-tiny"])
def test_an_odd_width_is_refused_before_a_picture_comes(name: str) -> None:
    with pytest.raises(ModelError, match="expected an even width, came 9"):
        create_model(name, width=9)


def test_norm_of_constant_channels_is_finite() -> None:
    assert torch.isfinite(BiasFreeLayerNorm(4)(torch.full((1, 4, 2, 2), 100.0))).all()


def test_attention_against_plain_loops_over_heads_and_channels() -> None:
    attention = TransposedAttention(8, 2)
    torch.nn.init.uniform_(attention.temperature, 0.5, 2.0, generator=seeded(1))
    x = torch.randn(2, 8, 4, 5, generator=seeded())
    q, k, v = attention.depthwise(attention.to_qkv(x)).flatten(2).split(8, dim=1)
    rows = torch.zeros_like(q)
    for b in range(2):
        for head in range(2):
            channels = range(4 * head, 4 * head + 4)
            for i in channels:
                scores = torch.stack(
                    [
                        (q[b, i] @ k[b, j])
                        / (q[b, i].norm() * k[b, j].norm())
                        * attention.temperature[head, 0, 0]
                        for j in channels
                    ]
                )
                weights = scores.exp() / scores.exp().sum()
                rows[b, i] = sum(w * v[b, j] for w, j in zip(weights, channels, strict=True))
    expected = attention.to_out(rows.unflatten(-1, (4, 5)))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_attention_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match="10 channels and 4 heads"):
        TransposedAttention(10, 4)


def test_resampling_shapes() -> None:
    x = torch.randn(1, 8, 6, 4, generator=seeded())
    assert Down(8)(x).shape == (1, 16, 3, 2)
    assert Up(8)(x).shape == (1, 4, 12, 8)
    image = torch.rand(1, 3, 8, 12, generator=seeded())
    features = PatchEmbed(8, 2)(image)
    assert features.shape == (1, 8, 4, 6)
    assert ToImage(8, 2)(features).shape == image.shape


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 8, 16]))
def test_padding_reaches_the_multiple_and_comes_back(height: int, width: int, multiple: int) -> None:
    image = torch.rand(1, 3, height, width, generator=seeded())
    padded, size = pad_to_multiple(image, multiple)
    assert padded.shape[-2] % multiple == 0
    assert padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - height < multiple
    assert padded.shape[-1] - width < multiple
    assert torch.equal(crop_to(padded, size), image)
    assert set(padded.unique().tolist()) <= set(image.unique().tolist())


def test_padding_mirrors_without_repeating_the_border() -> None:
    image = torch.arange(5.0).view(1, 1, 1, 5)
    padded, _ = pad_to_multiple(image, 8)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
