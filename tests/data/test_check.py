"""Is a copy the right one: counts, names, pixels, input PSNR; on miniatures, and on the public test sets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from anyrestore.data.check import check_set, fingerprint_set, load_fingerprints
from anyrestore.data.readers import read_set
from anyrestore.errors import DataError, UsageError
from anyrestore.image import Picture, read, write
from layouts import make_set


@pytest.fixture(scope="module")
def small_rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rain100L with all of its 100 + 100 pairs, each a few pixels."""
    root = tmp_path_factory.mktemp("rain")
    make_set("rain100l", root, count=100, size=(16, 17))
    shutil.rmtree(root / "RainTrainL")
    return root


@pytest.fixture
def rain(small_rain: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(small_rain, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def known(small_rain: Path) -> dict[str, dict[str, str]]:
    return fingerprint_set("rain100l", small_rain, "test")


def test_a_whole_copy(rain: Path, known: dict[str, dict[str, str]]) -> None:
    report = check_set("rain100l", rain, "test", fingerprints=known)
    assert (report.found, report.expected, report.folder) == (100, 100, str(rain / "Rain100L"))
    assert not (report.missing)
    assert not (report.renamed)
    assert not (report.unexpected)
    assert not (report.altered)
    # Every pixel is right, but the mean is not Rain100L's: somebody's fingerprints, not the set's.
    assert report.verdict == "incomplete"
    (measured,) = report.measured
    psnr = np.mean(
        [
            peak_signal_noise_ratio(read(pair.target).pixels[:, :16], read(pair.degraded).pixels[:, :16])
            for pair in read_set("rain100l", rain, split="test").pairs
            if pair.degraded
        ]
    )
    assert measured.psnr == pytest.approx(psnr, abs=1e-9)
    assert (measured.expected, measured.pictures, measured.of) == (25.52, 100, 100)


def test_three_files_removed_and_two_renamed_are_all_named(
    rain: Path, known: dict[str, dict[str, str]]
) -> None:
    folder = rain / "Rain100L"
    for name in ("input/3.png", "target/5.png", "input/77.png"):
        (folder / name).unlink()
    (folder / "input/8.png").rename(folder / "input/eight.png")
    (folder / "target/9.png").rename(folder / "target/3000.png")
    report = check_set("rain100l", rain, "test", fingerprints=known)
    assert report.verdict == "incomplete"
    assert report.missing == ("input/3", "input/77", "target/5")
    assert report.renamed == (("input/eight.png", "input/8"), ("target/3000.png", "target/9"))
    assert not report.altered
    assert not report.unexpected
    json.dumps(report.to_json())


def test_other_formats_and_names_of_the_same_pixels(rain: Path, known: dict[str, dict[str, str]]) -> None:
    folder = rain / "Rain100L"
    for i in range(1, 101):
        png = folder / f"target/{i}.png"
        write(Picture(pixels=read(png).pixels), folder / f"target/norain-{i:03}.webp")
        png.unlink()
    report = check_set("rain100l", rain, "test", fingerprints=known)
    assert not (report.missing)
    assert not (report.renamed)
    assert not (report.unexpected)
    assert not (report.altered)


def test_changed_and_broken_and_strange_pictures(rain: Path, known: dict[str, dict[str, str]]) -> None:
    folder = rain / "Rain100L"
    pixels = read(folder / "target/1.png").pixels.copy()
    pixels[0, 0, 0] ^= 1
    write(Picture(pixels=pixels), folder / "target/1.png", overwrite=True)
    (folder / "input/2.png").write_bytes(b"nothing")
    shutil.copy(folder / "input/4.png", folder / "input/4 copy.png")
    write(Picture(pixels=pixels), folder / "input/holiday.png")
    report = check_set("rain100l", rain, "test", fingerprints=known)
    assert report.verdict == "incomplete"
    assert set(report.altered) == {"input/2.png", "target/1.png"}
    assert set(report.unexpected) == {"input/4 copy.png", "input/holiday.png"}
    assert not report.missing
    assert not report.renamed


def test_other_pictures_under_the_right_names_are_not_the_set(rain: Path) -> None:
    report = check_set("rain100l", rain, "test")  # with the fingerprints that come with the package
    assert report.verdict == "not this set"
    assert any("pixel by pixel" in note for note in report.notes)


def test_noise_levels_of_clean_sets(tmp_path: Path) -> None:
    make_set("cbsd68", tmp_path, count=3, size=(40, 50))
    known = fingerprint_set("cbsd68", tmp_path, "test")
    before = check_set("cbsd68", tmp_path, fingerprints=known).measured
    assert [m.what for m in before] == ["noise of sigma 15", "noise of sigma 25", "noise of sigma 50"]
    assert before[0].psnr > before[1].psnr > before[2].psnr > 10
    # The noise is drawn in the order of the right names, also when a picture has another one.
    (tmp_path / "CBSD68/0000.png").rename(tmp_path / "CBSD68/zz.png")
    report = check_set("cbsd68", tmp_path, fingerprints=known)
    assert report.renamed == (("zz.png", "0000"),)
    assert report.measured == before


def test_sets_without_fingerprints(tmp_path: Path) -> None:
    make_set("kodak24", tmp_path, count=24, size=(512, 768))
    assert check_set("kodak24", tmp_path).verdict == "the right copy"
    (tmp_path / "Kodak24/kodim07.png").rename(tmp_path / "Kodak24/lighthouse.png")
    report = check_set("kodak24", tmp_path)
    assert report.verdict == "incomplete"
    assert report.missing == ("kodim07",)
    assert report.unexpected == ("lighthouse.png",)
    write(Picture(pixels=np.zeros((512, 512, 3), np.uint8)), tmp_path / "Kodak24/kodim07.png")
    report = check_set("kodak24", tmp_path)
    assert report.verdict == "not this set"
    assert any("512 x 512" in note for note in report.notes)


def test_a_copy_with_too_few_too_many_and_unreadable_pictures(tmp_path: Path) -> None:
    make_set("raindrop", tmp_path, count=58, size=(8, 8))
    report = check_set("raindrop", tmp_path, "train")
    assert (report.verdict, report.found, report.expected) == ("incomplete", 58, 861)
    assert check_set("raindrop", tmp_path, "test").verdict == "the right copy"
    (tmp_path / "RainDrop/test_a/data/9_rain.png").write_bytes(b"no")
    report = check_set("raindrop", tmp_path, "test")
    assert report.verdict == "incomplete"
    assert report.altered == ("test_a/data/9_rain.png (cannot be read)",)
    make_set("raindrop", tmp_path / "more", count=59, size=(8, 8))
    assert check_set("raindrop", tmp_path / "more", "test").verdict == "not this set"


def test_large_sets_are_sampled_and_it_is_said(tmp_path: Path) -> None:
    make_set("sots", tmp_path, count=12, size=(16, 16))
    report = check_set("sots", tmp_path, sample=5)
    assert [(m.pictures, m.of) for m in report.measured] == [(5, 12)]
    assert any("sample of 5" in note for note in report.notes)
    assert report.measured == check_set("sots", tmp_path, sample=5).measured


def test_without_a_published_count_nothing_is_confirmed(tmp_path: Path) -> None:
    make_set("pet", tmp_path)
    assert check_set("pet", tmp_path, "train").verdict == "unconfirmed"


def test_a_subset(tmp_path: Path) -> None:
    make_set("cdd11", tmp_path, count=2)
    report = check_set("cdd11/haze", tmp_path, "train")
    assert (report.found, report.expected, report.verdict) == (2, 1183, "not this set")  # 48 x 64 pixels


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        check_set("lolv1", tmp_path)
    with pytest.raises(UsageError):
        check_set("nothing", tmp_path)


def test_fingerprints_in_the_package() -> None:
    known = load_fingerprints()
    count = {name: {half: len(of) for half, of in splits["test"].items()} for name, splits in known.items()}
    assert count == {
        "cbsd68": {"target": 68},
        "rain100l": {"degraded": 100, "target": 100},
        "lolv1": {"degraded": 15, "target": 15},
    }


PUBLIC = {
    "cbsd68": ("0003", "0017", "0060", "0001", "0040"),
    "rain100l": ("input/3", "target/5", "target/77", "input/8", "target/9"),
    "lolv1": ("low/1", "high/22", "high/780", "low/23", "high/55"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_copy_is_right_and_all_damage_is_named(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(f"{name}_root")
    report = check_set(name, root, "test")
    assert report.verdict == "the right copy"
    assert not (report.missing)
    assert not (report.renamed)
    assert not (report.unexpected)
    assert not (report.altered)

    source = Path(report.folder)
    shutil.copytree(source, tmp_path / source.name)
    files = {
        p.relative_to(source).with_suffix("").as_posix(): p.relative_to(source) for p in source.rglob("*.*")
    }
    removed, renamed = PUBLIC[name][:3], PUBLIC[name][3:]
    for gone in removed:
        (tmp_path / source.name / files[gone]).unlink()
    for number, moved in enumerate(renamed):
        path = tmp_path / source.name / files[moved]
        path.rename(path.with_stem(f"holiday {number}"))
    report = check_set(name, tmp_path, "test")
    assert report.verdict == "incomplete"
    assert set(report.missing) == set(removed)
    assert {right for _, right in report.renamed} == set(renamed)
