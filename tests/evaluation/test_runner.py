import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anyrestore.errors import DataError, ModelError
from anyrestore.evaluation import BENCHMARKS, PROTOCOLS, evaluate, select
from anyrestore.evaluation.benchmarks import middle, photograph_benchmarks
from anyrestore.evaluation.runner import identity
from anyrestore.metrics import colour_shift, psnr, ssim_uniform
from anyrestore.zoo import create_model

PROMPTIR = PROTOCOLS["promptir"]


class Brighten(nn.Module):
    """Multiplies by 8 what was divided by 8; needs sizes that are multiples of 20."""

    size_multiple = 20

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.sizes: list[torch.Size] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(image.shape)
        return self.dropout(8 * image)


def test_the_identity_scores_as_its_input_does(root: Path) -> None:
    for score in evaluate(identity, select(["all"]), root, PROMPTIR, progress=False):
        assert score.psnr == score.input_psnr
        assert score.ssim == score.input_ssim
        assert score.gain == (None if score.name == "clean" else 0)
        assert math.isinf(score.psnr) == (score.name == "clean")


def test_scores_are_plain_means_of_the_images(root: Path) -> None:
    (score,) = evaluate(lambda x: x * 0.5, [BENCHMARKS["rain100l"]], root, PROMPTIR, progress=False)
    samples = list(BENCHMARKS["rain100l"].samples(root, crop_multiple=16))
    assert score.n == 2
    assert score.psnr == pytest.approx(sum(psnr(s.degraded / 2, s.target).item() for s in samples) / 2)
    assert score.ssim == pytest.approx(
        sum(ssim_uniform(s.degraded / 2, s.target).item() for s in samples) / 2
    )
    assert score.input_psnr == pytest.approx(sum(psnr(s.degraded, s.target).item() for s in samples) / 2)
    assert score.gain == pytest.approx(score.psnr - score.input_psnr)
    assert [image.name for image in score.images] == ["rain-0", "rain-1"]


def test_a_module_runs_in_eval_mode_padded_to_its_multiple_and_keeps_its_mode(root: Path) -> None:
    model = Brighten().train()
    (score,) = evaluate(model, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    assert model.training
    assert model.dropout.training
    assert model.sizes == [(1, 3, 40, 60)] * 2
    assert score.psnr > 30 > score.input_psnr  # with dropout on it would be below 10
    assert (score.images[0].height, score.images[0].width) == (32, 48)


def test_limit_takes_the_first_images(root: Path) -> None:
    limited = evaluate(identity, [BENCHMARKS["cbsd68-sigma25"]], root, PROMPTIR, limit=2, progress=False)[0]
    whole = evaluate(identity, [BENCHMARKS["cbsd68-sigma25"]], root, PROMPTIR, progress=False)[0]
    assert [image.psnr for image in limited.images] == [image.psnr for image in whole.images[:2]]
    assert limited.data_sha256 != whole.data_sha256


def test_the_protocol_decides_about_clamping(root: Path) -> None:
    scores = {
        name: evaluate(lambda x: x + 9, [BENCHMARKS["clean"]], root, protocol, progress=False)[0].psnr
        for name, protocol in PROTOCOLS.items()
    }
    assert scores["promptir"] == scores["moce"] > 0 > scores["instructir"]


class Doubled(nn.Module):
    """Doubles what it sees, and remembers the sizes."""

    bytes_per_pixel = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []
        self.full = 0

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[-2:]))
        if max(image.shape[-2:]) > self.full > 0:
            raise MemoryError
        return 2 * image


def test_images_go_through_whole_unless_tiles_are_asked_for(root: Path) -> None:
    names = [BENCHMARKS["lolv1"]]
    whole = Doubled()
    (expected,) = evaluate(whole, names, root, PROMPTIR, progress=False)
    assert whole.sizes == [(32, 48)] * 2
    tiled = Doubled()
    (score,) = evaluate(tiled, names, root, PROMPTIR, tile=32, progress=False)
    assert max(max(size) for size in tiled.sizes) == 32
    assert score.psnr == pytest.approx(expected.psnr, abs=1e-4)
    assert [image.tile for image in score.images] == [32, 32]
    assert [image.tile for image in expected.images] == [None, None]
    assert score.data_sha256 == expected.data_sha256


def test_an_image_that_does_not_fit_is_tiled_and_that_is_stored(root: Path) -> None:
    small = Doubled()
    small.full = 24
    (score,) = evaluate(small, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    assert [image.tile for image in score.images] == [24, 24]
    with pytest.raises(MemoryError):
        evaluate(small, [BENCHMARKS["lolv1"]], root, PROMPTIR, tile="off", progress=False)
    small.full, small.bytes_per_pixel = 0, 1e12  # so much that a look at the free memory already tells
    (score,) = evaluate(small, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    assert all(image.tile == 64 for image in score.images)


@pytest.mark.parametrize("bytes_per_pixel", [1e12, 1.0])
def test_an_image_that_does_not_fit_stays_whole_where_strips_can_have_it(
    root: Path, bytes_per_pixel: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("tiny").eval()
    (expected,) = evaluate(model, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)

    def fail(*_: object) -> Tensor:
        raise MemoryError

    # Either a look at the free memory tells, or the attempt does.
    monkeypatch.setattr(model, "forward", fail)
    model.bytes_per_pixel = bytes_per_pixel
    (score,) = evaluate(model, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    assert [image.tile for image in score.images] == [None, None]
    assert score.psnr == pytest.approx(expected.psnr, abs=1e-3)
    with pytest.raises(MemoryError):
        evaluate(model, [BENCHMARKS["lolv1"]], root, PROMPTIR, tile="off", progress=False)


def test_only_the_middle_is_measured_where_that_was_asked_for(root: Path) -> None:
    def spoil_the_border(image: Tensor) -> Tensor:
        spoilt = 1 - image
        middle(spoilt, 16).copy_(middle(image, 16))
        return spoilt

    benchmarks = photograph_benchmarks(root / "CBSD68", ["noise:0.5"], centre=16)
    in_whole, alone = evaluate(spoil_the_border, benchmarks, root, PROMPTIR, progress=False)
    for found in (in_whole, alone):
        assert found.psnr == found.input_psnr
        assert found.values("colour_shift").tolist() == found.values("input_colour_shift").tolist()
    assert in_whole.values("input_psnr").tolist() == alone.values("input_psnr").tolist()
    assert [(image.height, image.width) for image in in_whole.images] == [(32, 48)] * 6
    assert [(image.height, image.width) for image in alone.images] == [(16, 16)] * 6


def test_the_colour_shift_is_that_of_what_is_measured(root: Path) -> None:
    (score,) = evaluate(lambda x: x * 4, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    samples = list(BENCHMARKS["lolv1"].samples(root, crop_multiple=16))
    expected = [colour_shift((4 * s.degraded).clamp(0, 1), s.target).item() for s in samples]
    assert score.values("colour_shift").tolist() == pytest.approx(expected)
    assert score.mean("input_colour_shift") > score.mean("colour_shift") > 5


def test_lpips_is_measured_beside_the_rest(root: Path) -> None:
    def distance(output: Tensor, target: Tensor) -> float:
        return (output - target).abs().mean().item()

    (score,) = evaluate(
        lambda x: x * 4, [BENCHMARKS["lolv1"]], root, PROMPTIR, lpips=distance, progress=False
    )
    assert score.lpips is not None
    assert score.input_lpips is not None
    assert score.input_lpips > score.lpips > 0
    (without,) = evaluate(identity, [BENCHMARKS["lolv1"]], root, PROMPTIR, progress=False)
    assert without.lpips is without.input_lpips is None


def test_a_model_that_changes_the_size_is_refused(root: Path) -> None:
    with pytest.raises(ModelError, match="keeps the size"):
        evaluate(lambda x: x[..., 1:], [BENCHMARKS["clean"]], root, PROMPTIR, progress=False)


def test_a_model_that_gives_nan_is_refused(root: Path) -> None:
    with pytest.raises(ModelError, match="finite"):
        evaluate(lambda x: x * float("nan"), [BENCHMARKS["clean"]], root, PROMPTIR, progress=False)


def test_the_mode_comes_back_after_an_error(root: Path) -> None:
    model = nn.Conv2d(3, 1, 1).train()
    with pytest.raises(ModelError):
        evaluate(model, [BENCHMARKS["clean"]], root, PROMPTIR, progress=False)
    assert model.training


def test_a_missing_set_is_found_before_the_model_runs(root: Path) -> None:
    (root / "LOLv1-eval15").rename(root / "elsewhere")

    def never(image: Tensor) -> Tensor:
        raise AssertionError("the model ran")

    with pytest.raises(DataError, match="LOL v1"):
        evaluate(never, select(["clean", "lolv1"]), root, PROMPTIR, progress=False)
