"""LPIPS comes from a package that the tests do without: a stand-in of the same shape takes its place."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from anyrestore.errors import ModelError
from anyrestore.metrics import load_lpips


class StandIn:
    """What torchmetrics' class looks like from outside."""

    def __init__(self, *, net_type: str, normalize: bool, reduction: str) -> None:
        assert (net_type, normalize, reduction) == ("vgg", True, "mean")

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        assert min(first.min(), second.min()) >= 0
        assert max(first.max(), second.max()) <= 1  # torchmetrics refuses other values
        return (first - second).abs().mean()


def install(monkeypatch: pytest.MonkeyPatch, measure: type) -> None:
    package = ModuleType("torchmetrics.image.lpip")
    package.LearnedPerceptualImagePatchSimilarity = measure  # type: ignore[attr-defined] (a stand-in)
    for name in ("torchmetrics", "torchmetrics.image", "torchvision"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", package)


def test_the_package_is_asked_as_the_papers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, StandIn)
    distance = load_lpips()
    target = torch.full((1, 3, 16, 16), 0.5)
    assert distance(target, target) == 0.0
    assert distance(target + 1, target) == pytest.approx(0.5)  # an output beyond white counts as white


@pytest.mark.parametrize("absent", ["torchvision", "torchmetrics.image.lpip"])
def test_without_the_extra_the_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    install(monkeypatch, StandIn)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ModelError, match=r"anyrestore\[lpips\]") as caught:
        load_lpips()
    assert caught.value.code == "no_lpips"


def test_weights_that_cannot_be_fetched_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline(StandIn):
        def __init__(self, **_: object) -> None:
            raise OSError("no network")

    install(monkeypatch, Offline)
    with pytest.raises(ModelError, match="vgg16-397923af") as caught:
        load_lpips()
    assert caught.value.code == "no_lpips"
