"""Maps over a picture, in colours."""

import torch

from anyrestore.inspection import look
from anyrestore.inspection.overlay import PALETTE, finest_maps, paint
from anyrestore.inspection.views import Maps
from tiny_models import image, make


def test_the_strongest_map_gives_the_colour() -> None:
    values = torch.zeros(2, 4, 4)
    values[0, :, :2] = 5.0
    values[1, :, 2:] = -0.1  # signed, and weak everywhere: what counts is where it is strong
    maps = Maps(look="routing", block="b", values=values, labels=("1", "2"), unit="affinity", signed=True)
    painted = paint(maps, torch.full((1, 3, 40, 60), 0.5))
    assert painted.shape == (1, 3, 40, 60)
    assert 0 <= painted.min() <= painted.max() <= 1
    left, right = painted[0, :, 20, 5], painted[0, :, 20, 55]
    for place, colour in ((left, PALETTE[0]), (right, PALETTE[1])):
        assert torch.corrcoef(torch.stack((place, torch.tensor(colour))))[0, 1] > 0.99


def test_of_maps_the_finest_are_shown() -> None:
    maps = finest_maps(look(make("tiny"), image(64, 48), looks=["routing"]))
    assert maps is not None
    assert maps.values.shape[1:] == (64, 48)
    assert maps.place.startswith("refinement") or maps.place.startswith("decoder")
    assert finest_maps(look(make("moce-tiny"), image(64, 48), looks=["experts"])) is None


def test_where_all_maps_are_empty_the_picture_is_grey() -> None:
    maps = Maps(look="tokens", block="b", values=torch.zeros(3, 2, 2), labels=("1", "2", "3"), unit="")
    assert torch.isfinite(paint(maps, image(9, 7))).all()
