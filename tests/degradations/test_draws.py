"""One generator for each image: it comes out as it would alone, whatever its neighbours are."""

import pytest
import torch

from anyrestore.degradations import KINDS, degrade, render_flakes, render_streaks, truncate8
from anyrestore.degradations.draws import poisson, rand, rand_around, randn
from anyrestore.errors import UsageError

SEVERITIES = (0.9, 0.0, 0.3, 0.6)


def generators(count):
    return [torch.Generator().manual_seed(10 + i) for i in range(count)]


def pictures(photograph):
    return torch.cat([photograph, photograph.flip(-1), 1 - photograph, photograph.roll(30, -1)])


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_neighbours(kind, photograph):
    batch = pictures(photograph)
    together = KINDS[kind](batch, torch.tensor(SEVERITIES), generators(4))
    backwards = KINDS[kind](batch.flip(0), torch.tensor(SEVERITIES[::-1]), generators(4)[::-1]).flip(0)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-6)
    for i, severity in enumerate(SEVERITIES):
        one = batch[i : i + 1]
        alone = KINDS[kind](one, severity, generators(4)[i])
        listed = KINDS[kind](one, severity, [generators(4)[i]])
        assert torch.equal(alone, listed)
        # JPEG rounds: the last bit of a colour may move it by one level.
        torch.testing.assert_close(
            together[i : i + 1], alone, rtol=0, atol=1.01 / 255 if kind == "jpeg" else 1e-6
        )


def test_neighbours_draw_different_numbers(photograph):
    batch = photograph.repeat(3, 1, 1, 1)
    noisy = KINDS["noise"](batch, 0.5, generators(3))
    assert not torch.equal(noisy[0], noisy[1])
    equal = KINDS["noise"](batch, 0.5, [torch.Generator().manual_seed(1) for _ in range(3)])
    assert torch.equal(equal[0], equal[2])


def test_a_recipe_takes_generators_too(photograph):
    batch = photograph.repeat(2, 1, 1, 1)
    together = degrade(batch, "low_light:0.4+snow:0.8+haze:0.5", generators(2))
    alone = degrade(photograph, "low_light:0.4+snow:0.8+haze:0.5", generators(2)[1])
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_streaks_and_flakes_of_any_form_are_their_own(seed):
    random = torch.Generator().manual_seed(seed)
    density = torch.rand(3, generator=random) * 0.02
    first, second, angle = (torch.rand(3, generator=random) * top for top in (40, 3, 180))
    streaks = render_streaks(
        (24, 20), generators(3), density=density, length=first, width=second, angle=angle
    )
    flakes = render_flakes((24, 20), generators(3), density=density, radius=second, path=first, angle=angle)
    for i in range(3):
        own = {"density": density[i : i + 1], "angle": angle[i : i + 1]}
        a, b, g = first[i : i + 1], second[i : i + 1], generators(3)[i]
        one = render_streaks((24, 20), g, length=a, width=b, **own)
        torch.testing.assert_close(streaks[i : i + 1], one, rtol=0, atol=1e-6)
        one = render_flakes((24, 20), generators(3)[i], radius=b, path=a, **own)
        torch.testing.assert_close(flakes[i : i + 1], one, rtol=0, atol=1e-6)


def test_draws_are_those_of_torch():
    like, g = torch.zeros(()), generators(1)[0]
    assert torch.equal(rand((2, 3), torch.Generator().manual_seed(10), like), torch.rand(2, 3, generator=g))
    for draw in (rand, randn):
        rows = draw((2, 5), generators(2), like)
        assert torch.equal(rows[1], draw((5,), generators(2)[1], like))
    rates = torch.full((2, 3, 4, 4), 7.0)
    assert torch.equal(poisson(rates, generators(2))[1], torch.poisson(rates[1], generator=generators(2)[1]))


def test_margins_are_drawn_by_their_owner():
    field = rand_around((4, 5), [(1, 0), (3, 2)], generators(2), torch.zeros(()))
    assert field.shape == (2, 1, 10, 9)
    assert torch.equal(field[0, 0, 2:8, 2:7], rand((6, 5), generators(2)[0], field))
    outside = field[0, 0].clone()
    outside[2:8, 2:7] = 1
    assert (outside == 1).all()


def test_the_number_of_generators_must_be_the_batch(photograph):
    batch = photograph.repeat(3, 1, 1, 1)
    for kind in ("noise", "poisson_noise", "rain"):
        with pytest.raises(UsageError, match="3 images; got 2"):
            KINDS[kind](batch, 0.5, generators(2))


def test_truncation_keeps_levels_and_cuts_what_lies_between():
    levels = (torch.arange(256).float() / 255).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    assert torch.equal(truncate8(levels), levels)
    assert torch.equal(truncate8(levels + 0.9 / 255)[..., :255], levels[..., :255])
    assert torch.equal(truncate8(levels - 0.1 / 255)[..., 1:], levels[..., :255])
