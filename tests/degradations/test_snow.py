"""Snow: the opacity formula with given masks, and flakes of the size asked for."""

import pytest
import torch

from anyrestore.degradations import render_flakes, snow
from anyrestore.degradations.snow import _COLOUR


def flakes_of(seeded, *, density=0.002, radius=2.0, path=0.0, angle=90.0):
    numbers = {"density": density, "radius": radius, "path": path, "angle": angle}
    return render_flakes((128, 128), seeded(0), **{name: torch.tensor([v]) for name, v in numbers.items()})


def test_given_masks_are_opacity(photograph, seeded):
    mask = torch.rand(1, 1, *photograph.shape[-2:], generator=seeded(1))
    z = 0.6 * mask
    c = torch.tensor(_COLOUR).view(1, 3, 1, 1)
    torch.testing.assert_close(snow(photograph, 0.6, seeded(2), mask=mask), photograph * (1 - z) + c * z)


def test_a_full_mask_hides_the_scene(photograph, seeded):
    white = snow(photograph, 1.0, seeded(0), mask=torch.ones(1, 1, *photograph.shape[-2:]))
    assert white.flatten(2).std(dim=2).max() < 1e-6
    assert float(white.min()) > 0.9


def test_larger_flakes_cover_more(seeded):
    small, large = flakes_of(seeded, radius=1.0), flakes_of(seeded, radius=4.0)
    assert float((large > 0.1).float().mean()) > 5 * float((small > 0.1).float().mean()) > 0


def test_a_denser_layer_contains_a_thinner_one(seeded):
    thin, dense = flakes_of(seeded, density=0.001), flakes_of(seeded, density=0.004)
    assert bool((dense >= thin).all())
    assert float(dense.mean()) > 2 * float(thin.mean()) > 0


def test_flakes_smear_along_their_path(seeded):
    def spread(layer, axis):
        layer = layer[0, 0] - layer.mean()
        return float((layer * layer.roll(4, axis)).mean() / layer.var())

    still, falling = flakes_of(seeded), flakes_of(seeded, path=8.0, angle=90.0)
    assert spread(falling, 0) > spread(still, 0) + 0.2
    assert spread(falling, 1) == pytest.approx(spread(still, 1), abs=0.15)


def test_there_are_flakes_of_several_sizes_and_a_veil(seeded):
    z = snow(torch.zeros(1, 3, 128, 128), 1.0, seeded(2))[0, 0]
    assert float(z.max()) > 0.7
    assert 0.02 < float((z > 0.4).float().mean()) < 0.5
    assert float(z.median()) > 0.01
