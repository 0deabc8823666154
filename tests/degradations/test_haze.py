"""Haze against its plain formula, and what a pseudo-depth has to be."""

import pytest
import torch

from anyrestore.degradations import haze, pseudo_depth
from anyrestore.errors import UsageError


def test_haze_is_the_scattering_formula(photograph, seeded):
    j = torch.cat([photograph, photograph.flip(3)])
    d = torch.rand(2, 1, *j.shape[-2:], generator=seeded(0))
    beta, a = torch.tensor([0.5, 2.0]), torch.tensor([0.8, 0.9])
    t = torch.exp(-beta.view(2, 1, 1, 1) * d)
    torch.testing.assert_close(haze(j, beta, a, d), j * t + a.view(2, 1, 1, 1) * (1 - t))


def test_airlight_may_be_a_colour(seeded):
    j = torch.rand(2, 3, 8, 8, generator=seeded(1))
    a = torch.tensor([[0.7, 0.8, 0.9], [0.9, 0.8, 0.7]])
    far = haze(j, 60.0, a, torch.ones(2, 1, 8, 8))
    torch.testing.assert_close(far, a.view(2, 3, 1, 1).expand_as(far))


def test_no_scattering_and_no_depth_are_no_haze(photograph):
    assert torch.equal(haze(photograph, 0.0, 0.9, torch.ones_like(photograph[:, :1])), photograph)
    assert torch.equal(haze(photograph, 2.0, 0.9, torch.zeros_like(photograph[:, :1])), photograph)


def test_without_depth_the_pseudo_depth_is_used(photograph, seeded):
    depth = pseudo_depth(photograph, seeded(4))
    torch.testing.assert_close(
        haze(photograph, 1.5, 0.8, generator=seeded(4)), haze(photograph, 1.5, 0.8, depth)
    )


def test_neither_depth_nor_generator_is_an_error(photograph):
    with pytest.raises(UsageError, match="generator"):
        haze(photograph, 1.0, 0.8)


@pytest.mark.parametrize(
    "airlight", [1.2, torch.tensor([0.5, 0.5]), torch.full((1, 4), 0.5), torch.tensor([[0.5, 0.5, 2.0]])]
)
def test_a_wrong_airlight_is_refused(airlight):
    with pytest.raises(UsageError, match="airlight"):
        haze(torch.rand(1, 3, 4, 4), 1.0, airlight, torch.ones(1, 1, 4, 4))


def test_pseudo_depth_is_smooth_far_at_the_top_and_in_range(photograph, seeded):
    batch = photograph.repeat(8, 1, 1, 1)
    depth = pseudo_depth(batch, seeded(0))
    assert depth.shape == (8, 1, 96, 112)
    assert 0 <= float(depth.min()) < float(depth.max()) <= 1
    assert float(depth[..., :20, :].mean()) > float(depth[..., -20:, :].mean()) + 0.15
    step = (depth[..., 1:] - depth[..., :-1]).abs().mean()
    picture_step = (photograph[..., 1:] - photograph[..., :-1]).abs().mean()
    assert float(step) < 0.3 * float(picture_step)
    assert float((depth[0] - depth[1]).abs().mean()) > 0.02


def test_pseudo_depth_follows_the_edges_of_the_picture(seeded):
    # The same random ramp and noise, so the difference is the picture's part alone.
    left_bright = torch.zeros(1, 3, 64, 64)
    left_bright[..., :32] = 1
    difference = pseudo_depth(left_bright, seeded(1)) - pseudo_depth(torch.zeros(1, 3, 64, 64), seeded(1))
    assert float(difference[..., :31].min()) > 0.15
    assert float(difference[..., 33:].max()) < 0.05
