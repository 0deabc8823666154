"""Global spatial tokens against plain loops, and their masses over tiles."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from anyrestore.conditioning.spatial_tokens import SpatialTokens, merge_masses


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_tokens_against_plain_loops(stride: int) -> None:
    tokens, x = SpatialTokens(6, heads=2, tokens=3, stride=stride), features(2, 6, 8, 12)
    weight = tokens.to_scores.weight[:, :, 0, 0]
    expected = torch.zeros(2, 6, 8, 12)
    for b in range(2):
        for m in range(6):
            scores = torch.zeros(8 // stride, 12 // stride)
            for i in range(scores.shape[0]):
                for j in range(scores.shape[1]):
                    window = x[b, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
                    scores[i, j] = weight[m] @ window.mean(dim=(1, 2))
            share = scores.exp() / scores.exp().sum()
            expected[b, m] = F.interpolate(share[None, None], size=(8, 12), mode="bilinear")[0, 0]
    maps = tokens(x)
    assert maps.shape == (2, 2, 3, 96)
    torch.testing.assert_close(maps, expected.view(2, 2, 3, 96))


def test_a_single_pixel_is_enough() -> None:
    torch.testing.assert_close(SpatialTokens(4, 2)(features(1, 4, 1, 1)), torch.ones(1, 2, 1, 1))


def test_masses_of_tiles_add_up_to_the_whole() -> None:
    tokens, x = SpatialTokens(4, heads=2, tokens=2, stride=1), features(1, 4, 8, 8)
    halves = x[..., :4], x[..., 4:]
    mass = merge_masses(tokens.mass(tokens.to_scores(half)) for half in halves)
    torch.testing.assert_close(mass, tokens.mass(tokens.to_scores(x)))
    whole = tokens(x).unflatten(-1, (8, 8))
    torch.testing.assert_close(tokens(halves[1], mass).unflatten(-1, (8, 4)), whole[..., 4:])
