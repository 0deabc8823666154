import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyrestore.data.catalog import CATALOG
from anyrestore.errors import DataError, UsageError
from anyrestore.evaluation.benchmarks import (
    BENCHMARKS,
    COLLECTIONS,
    DEFAULT,
    Benchmark,
    centre_crop,
    check_present,
    folder_benchmark,
    middle,
    photograph_benchmarks,
    select,
)
from anyrestore.metrics import psnr
from layouts import make_set

OURS = [b for b in BENCHMARKS.values() if b.recipe is not None]
STRENGTHS = [BENCHMARKS[name] for name in COLLECTIONS["strengths"]]
OTHERS = [b for b in BENCHMARKS.values() if b.name not in DEFAULT and b not in STRENGTHS]

# Of the first three samples of each, from the reader that the benchmarks had of their own.
DIGESTS = {"cbsd68-sigma25": "f2e5ca871665d541", "rain100l": "482da547595a22f0", "lolv1": "36e2c1d9e7ab47f5"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every set of the catalogue in miniature: three pictures of 35 x 50 pixels in each part."""
    root = tmp_path_factory.mktemp("sets")
    for name in CATALOG:
        make_set(name, root, count=3, size=(35, 50))
    return root


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


@pytest.mark.parametrize("benchmark", [BENCHMARKS[name] for name in DEFAULT], ids=DEFAULT)
def test_every_benchmark_gives_pairs_in_range_cropped_and_repeatable(
    benchmark: Benchmark, root: Path
) -> None:
    first = list(benchmark.samples(root, crop_multiple=16))
    again = list(benchmark.samples(root, crop_multiple=16))
    whole = {"cbsd68": 6, "rain100l": 2, "lolv1": 2}[benchmark.source]
    assert len(first) == whole // (3 if benchmark.recipe else 1)
    for sample, repeated in zip(first, again, strict=True):
        assert sample.degraded.shape == sample.target.shape == (1, 3, 32, 48)
        assert sample.degraded.dtype == sample.target.dtype == torch.float32
        assert sample.degraded.min() >= 0
        assert sample.degraded.max() <= 1
        assert torch.equal(sample.degraded, sample.target) == (benchmark.name == "clean")
        torch.testing.assert_close(sample.degraded, repeated.degraded, rtol=0, atol=0)
        torch.testing.assert_close(sample.degraded * 255, (sample.degraded * 255).round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("benchmark", OTHERS, ids=[b.name for b in OTHERS])
def test_the_other_sets_are_read_through_the_data_room(benchmark: Benchmark, sets: Path) -> None:
    samples = list(benchmark.samples(sets, crop_multiple=16))
    assert len(samples) == 3
    size = (1, 3, 35, 50) if benchmark.group == "cdd11" else (1, 3, 32, 48)  # CDD-11 is measured whole
    for sample in samples:
        assert sample.degraded.shape == sample.target.shape == size
        assert sample.degraded.dtype == sample.target.dtype == torch.float32
        assert sample.degraded.max() <= 1
        assert not torch.equal(sample.degraded, sample.target)
        # A subset is the entry; its name does not belong into the image's.
        assert benchmark.source.partition("/")[2] not in sample.name.split("/") or "/" not in benchmark.source
    assert len({sample.name for sample in samples}) == 3


def test_what_was_measured_before_the_data_room_read_it_has_not_changed(
    cbsd68_root: Path, rain100l_root: Path, lolv1_root: Path
) -> None:
    digests = dict[str, str]()
    for name in DIGESTS:
        digest = hashlib.sha256()
        for sample in BENCHMARKS[name].samples(cbsd68_root, crop_multiple=16, limit=3):
            digest.update(sample.degraded.numpy().tobytes() + sample.target.numpy().tobytes())
        digests[name] = digest.hexdigest()[:16]
    assert rain100l_root == lolv1_root == cbsd68_root
    assert digests == DIGESTS


def test_collections_name_benchmarks_in_the_papers_order() -> None:
    assert all(name in BENCHMARKS for names in COLLECTIONS.values() for name in names)
    assert [len(COLLECTIONS[name]) for name in ("aio3", "aio5", "cdd11", "allweather")] == [5, 5, 11, 4]
    assert COLLECTIONS["cdd11"] == tuple(b.name for b in BENCHMARKS.values() if b.group == "cdd11")
    assert {b.name for b in select(["aio5"])} == set(COLLECTIONS["aio5"])


def test_the_like_of_cdd11_has_its_categories_in_its_order() -> None:
    like = [sorted(BENCHMARKS[name].faults) for name in COLLECTIONS["cdd11-like"]]
    assert like == [sorted(BENCHMARKS[name].faults) for name in COLLECTIONS["cdd11"]]
    assert {b.name for b in select(["cdd11-like"])} == set(COLLECTIONS["cdd11-like"])
    assert [len(COLLECTIONS[f"cdd11-like-{part}"]) for part in ("single", "double", "triple")] == [4, 5, 2]


def test_a_strength_is_worse_than_the_one_before_and_of_the_same_draws(root: Path) -> None:
    kinds = {b.group for b in STRENGTHS} - {"strengths-clean"}
    assert len(kinds) == 6
    for kind in kinds:
        values = [input_psnr(b.name, root) for b in STRENGTHS if b.group == kind]
        assert len(values) == (7 if kind == "strengths-noise" else 6)
        assert values == sorted(values, reverse=True), kind
    weak, strong = (
        next(BENCHMARKS[f"strengths-noise-{sigma}"].samples(root, crop_multiple=16)) for sigma in (5, 15)
    )
    uncut = (strong.target > 0.3) & (strong.target < 0.7)
    draws = [(half.degraded - half.target)[uncut] for half in (weak, strong)]
    assert torch.corrcoef(torch.stack(draws))[0, 1] > 0.98  # truncation is what differs


def test_a_folder_of_photographs_is_degraded_whole(root: Path) -> None:
    (root / "mine" / "below").mkdir(parents=True)
    for i, name in enumerate(("a.png", "below/b.png")):
        (root / "CBSD68" / f"{i:04}.png").rename(root / "mine" / name)
    first, second = select([str(root / "mine")], recipes=["noise:0.5", " haze:0.50 + jpeg:0.3"])
    assert (first.name, second.name) == ("mine-noise0.5", "mine-haze0.5+jpeg0.3")
    assert (second.recipe, second.faults) == ("haze:0.5+jpeg:0.3", ("haze", "jpeg"))
    check_present([first, second], Path("nowhere"))
    samples = list(second.samples(Path("nowhere"), crop_multiple=1))
    assert [sample.name for sample in samples] == ["a", "below/b"]
    assert samples[0].degraded.shape == samples[0].target.shape == (1, 3, 35, 50)
    assert psnr(samples[0].degraded, samples[0].target) < 30


def test_the_centre_is_the_same_pixels_in_the_whole_and_alone(root: Path) -> None:
    in_whole, alone = photograph_benchmarks(root / "CBSD68", ["haze:0.5"], centre=16)
    assert (in_whole.name, alone.name) == ("CBSD68-haze0.5-in-whole", "CBSD68-haze0.5-alone")
    (seen, cut), *_ = zip(
        in_whole.samples(root, crop_multiple=1), alone.samples(root, crop_multiple=1), strict=True
    )
    assert (seen.degraded.shape, seen.measured) == ((1, 3, 35, 50), 16)
    assert torch.equal(cut.degraded, middle(seen.degraded, 16))
    assert torch.equal(cut.target, seen.target[..., 9:25, 17:33])
    (large, _) = photograph_benchmarks(root / "CBSD68", ["haze:0.5"], centre=36)
    with pytest.raises(UsageError, match="at least 16 pixels in the middle"):
        photograph_benchmarks(root / "CBSD68", ["haze:0.5"], centre=15)
    with pytest.raises(DataError, match="to have 36 pixels a side"):
        next(large.samples(root, crop_multiple=1))


def test_what_cannot_be_degraded_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="clean photographs beside --degrade, got none"):
        select(["lolv1"], recipes=["noise:0.5"])
    with pytest.raises(DataError, match=r"holds low and high; leave --degrade out, or name .*high"):
        select([str(root / "LOLv1-eval15")], recipes=["noise:0.5"])
    with pytest.raises(UsageError, match="unknown degradation 'fog'"):
        select([str(root / "CBSD68")], recipes=["fog:0.5"])
    with pytest.raises(DataError, match="say with --degrade"):
        select([str(root / "CBSD68")])


def test_a_partial_copy_is_told(sets: Path) -> None:
    notes = check_present(select(["aio3", "cdd11-triple"]), sets)
    assert any(note.startswith("sots has 3 of 500 pictures here") for note in notes)
    assert any(note.startswith("cdd11 low_haze_rain low_haze_snow has 3 of 200") for note in notes)


def test_missing_sets_say_how_to_get_them(root: Path) -> None:
    with pytest.raises(DataError, match=r"SOTS.*anyrestore data list sots gopro.*--benchmark cbsd68,lolv1"):
        check_present(select(["aio5"]), root)
    with pytest.raises(DataError, match=r"CDD-11 \(low, haze\) in .*data list cdd11"):
        check_present(select(["cdd11-low", "cdd11-haze"]), root)
    with pytest.raises(DataError, match=r"cannot be read here: save every slice as \.npy"):
        check_present(select(["amir"]), root)
    with pytest.raises(DataError, match="folder of the test sets at"):
        check_present(select(["cbsd68"]), root / "nowhere")


def test_a_folder_of_ones_own_is_a_benchmark(root: Path, sets: Path) -> None:
    (own,) = select([str(root / "LOLv1-eval15")])
    check_present([own], Path("nowhere"))
    samples = list(own.samples(Path("nowhere"), crop_multiple=16))
    assert own.name == own.group == "LOLv1-eval15"
    expected = list(BENCHMARKS["lolv1"].samples(root, crop_multiple=16))
    for sample, other in zip(samples, expected, strict=True):
        assert sample.name == other.name
        torch.testing.assert_close(sample.degraded, other.degraded, rtol=0, atol=0)


def test_folders_that_cannot_be_benchmarks_are_refused(root: Path) -> None:
    (root / "Rain100L" / "GT").mkdir()
    with pytest.raises(DataError, match=r"one of clean ones \(target, .*found GT, input, target; rename"):
        folder_benchmark(root / "Rain100L")
    with pytest.raises(DataError, match="found no folders"):
        folder_benchmark(root / "CBSD68")
    (root / "rain100l").mkdir()
    for half in ("input", "target"):
        (root / "rain100l" / half).mkdir()
    with pytest.raises(UsageError, match="rain100l twice"):
        select([str(root / "rain100l")])


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
    assert [b.name for b in select(["all"])] == list(DEFAULT)
    assert [b.name for b in BENCHMARKS.values()][: len(DEFAULT)] == list(DEFAULT)
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
    with pytest.raises(DataError, match=r"target/rain-1 \(partner of input/rain-1\.png\)"):
        list(BENCHMARKS["rain100l"].samples(root, crop_multiple=16))


def test_partners_of_different_sizes_are_refused(root: Path) -> None:
    Image.new("RGB", (64, 64)).save(root / "LOLv1-eval15" / "high" / "1.png")
    with pytest.raises(DataError, match="one size"):
        list(BENCHMARKS["lolv1"].samples(root, crop_multiple=16))


def test_an_empty_folder_and_a_tiny_picture_are_refused(root: Path) -> None:
    for path in (root / "CBSD68").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"Expected CBSD68 \(test\) in"):
        list(BENCHMARKS["clean"].samples(root, crop_multiple=16))
    Image.new("RGB", (15, 64)).save(root / "CBSD68" / "0000.png")
    with pytest.raises(DataError, match="at least 16 pixels"):
        list(BENCHMARKS["clean"].samples(root, crop_multiple=16))
