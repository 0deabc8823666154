"""Rain: the formula with given layers, and rendered layers that look like streaks in numbers."""

import pytest
import torch

from anyrestore.degradations import rain, render_streaks


def streaks_of(seeded, *, density=0.004, length=20.0, width=1.5, angle=90.0, size=(96, 96)):
    numbers = {"density": density, "length": length, "width": width, "angle": angle}
    return render_streaks(size, seeded(0), **{name: torch.tensor([v]) for name, v in numbers.items()})


def test_given_layers_are_added_and_clipped(photograph, seeded):
    layers = torch.rand(2, 1, *photograph.shape[-2:], generator=seeded(1))
    batch = photograph.repeat(2, 1, 1, 1)
    severity = torch.tensor([0.3, 1.0])
    rainy = rain(batch, severity, seeded(2), streaks=layers)
    expected = (batch + severity.view(2, 1, 1, 1) * layers).clamp(0, 1)
    torch.testing.assert_close(rainy, expected)


def test_rain_never_darkens(photograph, seeded):
    assert bool((rain(photograph, 1.0, seeded(3)) >= photograph).all())


def test_rain_is_grey(seeded):
    rainy = rain(torch.zeros(1, 3, 64, 64), 0.5, seeded(3))
    assert torch.equal(rainy[:, 0], rainy[:, 1])
    assert torch.equal(rainy[:, 0], rainy[:, 2])


def test_no_density_is_no_rain(seeded):
    assert float(streaks_of(seeded, density=0.0).sum()) == 0


def test_a_denser_layer_contains_a_thinner_one(seeded):
    thin, dense = streaks_of(seeded, density=0.002), streaks_of(seeded, density=0.006)
    assert bool((dense >= thin).all())
    assert float(dense.mean()) > 2 * float(thin.mean()) > 0


@pytest.mark.parametrize(("angle", "shift"), [(90.0, (-4, 0)), (0.0, (0, 4)), (45.0, (-3, 3))])
def test_streaks_lie_along_their_angle(angle, shift, seeded):
    layer = streaks_of(seeded, angle=angle)[0, 0]
    layer = layer - layer.mean()
    along = float((layer * layer.roll(shift, (0, 1))).mean() / layer.var())
    across = float((layer * layer.roll((shift[1], -shift[0]), (0, 1))).mean() / layer.var())
    assert along > 0.6
    assert across < 0.2


def test_coverage_is_density_times_area_of_a_streak(seeded):
    layer = streaks_of(seeded, density=0.001, length=20.0, width=2.0, size=(300, 300))
    # Each streak touches about (20 + 3) x 3 pixels, antialiased rims included.
    assert float((layer > 0).float().mean()) == pytest.approx(0.001 * 23 * 3, rel=0.25)


def test_streaks_enter_from_outside(seeded):
    layer = streaks_of(seeded, density=0.004, size=(40, 2000))[0, 0]
    rows = layer.mean(dim=1)
    assert float(rows[0]) == pytest.approx(float(rows[20]), rel=0.3)


def test_severity_one_half_is_about_as_strong_as_rain100l(photograph, seeded):
    scores = [
        float(-10 * torch.log10(((rain(photograph, 0.5, seeded(s)) - photograph) ** 2).mean()))
        for s in range(12)
    ]
    # Rain100L's inputs have 25.5 dB.
    assert 22 < sum(scores) / len(scores) < 28
