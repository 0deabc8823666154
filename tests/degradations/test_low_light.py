"""Low light is dark, noisy and slightly off in colour, and never brighter than the picture."""

import torch

from anyrestore.degradations import low_light
from anyrestore.degradations.fields import guided_smooth


def test_the_most_severe_is_as_dark_as_lol(photograph, seeded):
    batch = photograph.repeat(16, 1, 1, 1)
    dark = low_light(batch, 1.0, seeded(0))
    ratio = dark.mean(dim=(1, 2, 3)) / batch.mean(dim=(1, 2, 3))
    assert bool((ratio > 0.03).all()), ratio
    assert bool((ratio < 0.3).all()), ratio
    assert 0.05 < float(ratio.mean()) < 0.2


def test_a_flat_picture_gets_noise_and_a_cast(seeded):
    dark = low_light(torch.full((1, 3, 96, 96), 0.7), 1.0, seeded(1))
    detail = dark[..., 1:] - dark[..., :-1]
    noise = float(detail.std()) / 2**0.5
    assert 1 / 255 < noise < 6 / 255
    # After brightening, that is noise to be seen.
    assert noise / float(dark.mean()) > 0.03
    means = dark.mean(dim=(0, 2, 3))
    assert 1.02 < float(means.max() / means.min()) < 1.3


def test_noise_grows_with_the_light(seeded):
    def noise(value):
        dark = low_light(torch.full((1, 3, 96, 96), value), 0.3, seeded(1))
        return float((dark[..., 1:] - dark[..., :-1]).std())

    assert noise(0.9) > 1.3 * noise(0.1) > 0


def test_shadows_lose_more_than_lights(seeded):
    picture = torch.full((1, 3, 64, 64), 0.2)
    picture[..., 32:] = 0.9
    dark = low_light(picture, 0.7, seeded(3)) / picture
    assert float(dark[..., 40:].mean()) > 1.3 * float(dark[..., :24].mean())


def test_guided_smooth_flattens_texture_and_keeps_edges(seeded):
    plane = 0.3 + 0.02 * torch.randn(1, 1, 48, 48, generator=seeded(0))
    plane[..., 24:] += 0.5
    smooth = guided_smooth(plane, 4, 0.01)
    assert float(smooth[..., :18].std()) < 0.3 * float(plane[..., :18].std())
    assert float(smooth[..., 24].mean() - smooth[..., 23].mean()) > 0.4


def test_guided_smooth_equals_plain_loops(seeded):
    plane = torch.rand(1, 1, 7, 9, generator=seeded(0))
    radius, eps = 2, 0.03

    def mean(p):
        out = torch.empty(7, 9)
        for y in range(7):
            for x in range(9):
                window = p[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                out[y, x] = window.mean()
        return out

    i = plane[0, 0]
    var = mean(i * i) - mean(i) ** 2
    a = var / (var + eps)
    expected = mean(a) * i + mean((1 - a) * mean(i))
    torch.testing.assert_close(guided_smooth(plane, radius, eps)[0, 0], expected, atol=1e-5, rtol=0)
