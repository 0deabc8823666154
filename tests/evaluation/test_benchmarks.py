from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyrestore.errors import DataError, UsageError
from anyrestore.evaluation.benchmarks import BENCHMARKS, Benchmark, centre_crop, check_present, select
from anyrestore.metrics import psnr

OURS = [b for b in BENCHMARKS.values() if b.recipe is not None]


def input_psnr(name: str, root: Path) -> float:
    values = [
        psnr(sample.degraded, sample.target).item()
        for sample in BENCHMARKS[name].samples(root, crop_multiple=16)
    ]
    return sum(values) / len(values)


@pytest.mark.parametrize(("sigma", "expected"), [(15, 24.8330), (25, 20.5383), (50, 15.0042)])
def test_the_noisy_inputs_are_the_published_ones(cbsd68_root: Path, sigma: int, expected: float) -> None:
    assert round(input_psnr(f"cbsd68-sigma{sigma}", cbsd68_root), 4) == expected


def test_the_rainy_inputs_are_the_published_ones(rain100l_root: Path) -> None:
    assert round(input_psnr("rain100l", rain100l_root), 2) == 25.52


def test_the_dark_inputs_are_the_published_ones(lolv1_root: Path) -> None:
    assert round(input_psnr("lolv1", lolv1_root), 2) == 7.77


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_benchmark_gives_pairs_in_range_cropped_and_repeatable(
    benchmark: Benchmark, root: Path
) -> None:
    first = list(benchmark.samples(root, crop_multiple=16))
    again = list(benchmark.samples(root, crop_multiple=16))
    assert len(first) == {"CBSD68": 6, "Rain100L": 2, "LOLv1-eval15": 2}[benchmark.folder] // (
        3 if benchmark.recipe else 1
    )
    for sample, repeated in zip(first, again, strict=True):
        assert sample.degraded.shape == sample.target.shape == (1, 3, 32, 48)
        assert sample.degraded.dtype == sample.target.dtype == torch.float32
        assert sample.degraded.min() >= 0
        assert sample.degraded.max() <= 1
        assert torch.equal(sample.degraded, sample.target) == (benchmark.name == "clean")
        torch.testing.assert_close(sample.degraded, repeated.degraded, rtol=0, atol=0)
        torch.testing.assert_close(sample.degraded * 255, (sample.degraded * 255).round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["cbsd68-sigma25", OURS[-1].name])
def test_a_sample_does_not_depend_on_the_limit_nor_on_the_global_random_state(name: str, root: Path) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    everything = list(BENCHMARKS[name].samples(root, crop_multiple=16))
    limited = list(BENCHMARKS[name].samples(root, crop_multiple=16, limit=1))
    assert len(limited) == 1
    torch.testing.assert_close(limited[0].degraded, everything[0].degraded, rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_noise_is_cut_and_truncated_to_8_bits(root: Path) -> None:
    for sample in BENCHMARKS["cbsd68-sigma50"].samples(root, crop_multiple=16, limit=1):
        clean = (sample.target[0] * 255).round().permute(1, 2, 0).numpy()
        noise = np.random.RandomState(0).randn(32, 48, 3) * 50.0
        expected = np.floor(np.clip(clean + noise, 0, 255))
        np.testing.assert_allclose(sample.degraded[0].permute(1, 2, 0).numpy() * 255, expected, atol=1e-4)


def test_the_mixtures_are_of_two_and_three_and_ten_or_more() -> None:
    kinds = [b.recipe.count("+") + 1 for b in OURS if b.group == "mixture" and b.recipe]
    assert len(kinds) >= 10
    assert set(kinds) == {2, 3}


def test_centre_crop_keeps_the_middle() -> None:
    image = torch.arange(35 * 50.0).view(1, 1, 35, 50)
    assert torch.equal(centre_crop(image, 16), image[..., 1:33, 1:49])
    assert torch.equal(centre_crop(image, 1), image)


def test_select_takes_all_groups_and_lines_in_table_order() -> None:
    assert [b.name for b in select(["all"])] == list(BENCHMARKS)
    assert [b.name for b in select(["lolv1", "cbsd68"])] == [
        "cbsd68-sigma15",
        "cbsd68-sigma25",
        "cbsd68-sigma50",
        "lolv1",
    ]
    assert [b.name for b in select(["cbsd68-sigma25", "cbsd68-sigma25"])] == ["cbsd68-sigma25"]
    with pytest.raises(UsageError, match="choose from all, cbsd68, rain100l"):
        select(["bsd100"])


def test_missing_sets_are_all_named_before_anything_runs(root: Path) -> None:
    (root / "Rain100L").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"Expected Rain100L in .*--benchmark cbsd68,clean,lolv1"):
        check_present(select(["all"]), root)
    check_present(select(["cbsd68"]), root)


def test_a_picture_without_a_partner_is_named(root: Path) -> None:
    (root / "Rain100L" / "target" / "rain-1.png").unlink()
    with pytest.raises(DataError, match="called rain-1 in"):
        list(BENCHMARKS["rain100l"].samples(root, crop_multiple=16))


def test_partners_of_different_sizes_are_refused(root: Path) -> None:
    Image.new("RGB", (64, 64)).save(root / "LOLv1-eval15" / "high" / "1.png")
    with pytest.raises(DataError, match="one size"):
        list(BENCHMARKS["lolv1"].samples(root, crop_multiple=16))


def test_an_empty_folder_and_a_tiny_picture_are_refused(root: Path) -> None:
    for path in (root / "CBSD68").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="found none"):
        list(BENCHMARKS["clean"].samples(root, crop_multiple=16))
    Image.new("RGB", (15, 64)).save(root / "CBSD68" / "0000.png")
    with pytest.raises(DataError, match="at least 16 pixels"):
        list(BENCHMARKS["clean"].samples(root, crop_multiple=16))
