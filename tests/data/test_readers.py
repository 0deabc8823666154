"""Finding the pictures of every set: canonical layouts, variants found in the wild, tolerant names."""

import time
from pathlib import Path

import pytest

from anyrestore.data.catalog import CATALOG
from anyrestore.data.images import decode_picture
from anyrestore.data.readers import find_set, find_split, plain_name, read_set
from anyrestore.errors import DataError, UsageError
from layouts import make_set, write_bmp

SPLITS = [(name, split) for name, entry in CATALOG.items() for split in entry.splits]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets in one folder, in miniature."""
    root = tmp_path_factory.mktemp("everything")
    for name in CATALOG:
        make_set(name, root, size=(16, 24))
    return root


def touch(root: Path, *names: str) -> None:
    """Empty files: reading a set opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_of(listing) -> list[str]:
    return [pair.name for pair in listing.pairs]


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_canonical_layout(everything: Path, name: str, split: str) -> None:
    listing = read_set(name, everything, split=split)
    many = len(CATALOG[name].subsets) if "{subset}" in str(CATALOG[name].splits[split].places[0]) else 1
    assert len(listing.pairs) == 4 * many
    assert list(names_of(listing)) == sorted(set(names_of(listing)))
    assert not listing.unexpected
    assert all("partner" not in name for name in listing.missing)
    for pair in listing.pairs[:2]:
        target = decode_picture(pair.target)
        if pair.degraded is not None:
            assert decode_picture(pair.degraded).shape == target.shape


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("ots", 2),
        ("gopro", 2),
        ("gopro-crops", 2),
        ("cdd11", 4),
        ("outdoor-rain", 2),
        ("ixi", 2),
        ("lolv1", 4),
    ],
)
def test_pairs_of_one_scene_are_one_group(everything: Path, name: str, groups: int) -> None:
    assert len({pair.group for pair in read_set(name, everything).pairs}) == groups


def test_subsets_with_clean_pictures_of_their_own_are_groups_of_their_own(everything: Path) -> None:
    assert len({pair.group for pair in read_set("weatherbench", everything).pairs}) == 12


def test_a_subset(everything: Path) -> None:
    listing = read_set("cdd11/Haze-Rain", everything)
    assert names_of(listing) == [f"haze_rain/{i:05}" for i in range(1, 5)]
    assert {pair.target.parent.name for pair in listing.pairs} == {"clear"}
    assert len(read_set("snow100k/L", everything, split="test").pairs) == 4


VARIANTS = {
    # name, split, the halves' common beginning, degraded, clean
    "PromptIR's rain": ("rain100l", "train", "data/Train/Derain/", "rainy/rain-3.png", "gt/norain-3.png"),
    "JORDER's rain": (
        "rain100l",
        "test",
        "rain_data_test_Light/",
        "rain/X2/norain-003x2.png",
        "norain-003.png",
    ),
    "one folder of a pair": ("rain100h", "test", "rain_data_test_Heavy/", "rain-003.png", "norain-003.png"),
    "PromptIR's haze": (
        "ots",
        "train",
        "Train/Dehaze/",
        "synthetic/part2/3068_0.8_0.1.jpg",
        "original/3068.png",
    ),
    "SOTS of PromptIR": ("sots", "test", "test/dehaze/", "input/0001_0.8_0.2.jpg", "target/0001.png"),
    "SOTS, other zeros": ("sots", "test", "sots_outdoor/", "hazy/1_0.8_0.2.jpg", "GT/0001.png"),
    "AdaIR's blur": (
        "gopro",
        "train",
        "Train/Deblur/",
        "blur/GOPR0372_07_00_000047.png",
        "sharp/GOPR0372_07_00_000047.png",
    ),
    "Restormer's blur": (
        "gopro",
        "test",
        "GoPro/test/",
        "input/GOPR0384_11_00-000001.png",
        "target/GOPR0384_11_00-000001.png",
    ),
    "Restormer's crops": (
        "gopro-crops",
        "train",
        "train/GoPro/",
        "input_crops/GOPR0372_07_00-000047-1.png",
        "target_crops/GOPR0372_07_00-000047-1.png",
    ),
    "MoCE-IR's low light": ("lolv1", "train", "llie/LOLv1/Train/", "input/2.png", "target/2.png"),
    "low light, cut": ("lolv1", "train", "LOLv1-our485-288/", "low/2.webp", "high/2.webp"),
    "MoCE-IR's composites": ("cdd11", "train", "cdd11/train/", "low_haze/00001.png", "clear/00001.png"),
    "Snow100K as unpacked": (
        "snow100k",
        "test",
        "Snow100K-testset/jdway/GameSSD/overlapping/test/Snow100K-S/",
        "synthetic/a.jpg",
        "gt/a.jpg",
    ),
    "CSD as FocalNet has it": ("csd", "train", "CSD/train2500/", "Snow/1.tif", "Gt/1.tif"),
    "raindrops": ("raindrop", "train", "raindrop_data/train/", "data/0_rain.png", "gt/0_clean.png"),
    "AMIR": ("pet", "train", "All-in-One/PET/train/", "LQ/a_1.npy", "HQ/a_1.npy"),
}


@pytest.mark.parametrize("case", VARIANTS)
def test_variants_found_in_the_wild(tmp_path: Path, case: str) -> None:
    name, split, folder, degraded, target = VARIANTS[case]
    degraded, target = folder + degraded, folder + target
    touch(tmp_path, degraded, target)
    (pair,) = read_set(name, tmp_path, split=split).pairs
    assert (pair.degraded, pair.target) == (tmp_path / degraded, tmp_path / target)


def test_clean_sets_in_other_places(tmp_path: Path) -> None:
    touch(tmp_path, "BSR/BSDS500/data/images/train/100075.jpg", "BSR/BSDS500/data/images/test/2018.jpg")
    touch(tmp_path, "BSR/BSDS500/data/images/test/Thumbs.db", "WED/pristine_images/00001.bmp")
    touch(tmp_path, "CBSD68/original_png/0000.png")
    assert names_of(read_set("bsd400", tmp_path)) == ["test/2018", "train/100075"]
    assert names_of(read_set("bsd500", tmp_path, split="test")) == ["2018"]
    assert names_of(read_set("wed", tmp_path)) == ["00001"]
    assert names_of(read_set("cbsd68", tmp_path, split="test")) == ["0000"]


def test_two_sets_in_one_folder_are_told_apart_by_their_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Train/Denoise/{name}" for name in ("00001.bmp", "02018.bmp", "2092.jpg", "5096.jpg")))
    assert names_of(read_set("wed", tmp_path)) == ["00001", "02018"]
    assert names_of(read_set("bsd400", tmp_path)) == ["2092", "5096"]


def test_names_that_the_released_list_misspells_are_found_and_absent_ones_reported(tmp_path: Path) -> None:
    names = CATALOG["bsd400"].splits["train"].names
    touch(tmp_path, *(f"BSD400/a{name}.jpg" for name in names[:399]))
    listing = read_set("bsd400", tmp_path)
    assert len(listing.pairs) == 399
    assert listing.missing == names[399:]


def test_the_root_may_be_the_sets_own_folder(tmp_path: Path) -> None:
    for root in ("Rain100L", "anything"):
        touch(tmp_path / root, "input/1.png", "target/1.png")
        assert len(read_set("rain100l", tmp_path / root, split="test").pairs) == 1


def test_a_named_folder_comes_before_pictures_in_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "holiday.png", "CBSD68/original_png/0000.png")
    assert names_of(read_set("cbsd68", tmp_path, split="test")) == ["0000"]


def test_halves_without_a_partner_and_known_names_are_missing(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Rain100L/input/{i}.png" for i in range(1, 101) if i not in (3, 50)))
    touch(tmp_path, *(f"Rain100L/target/norain-{i}.png" for i in range(1, 101) if i not in (7, 50)))
    touch(tmp_path, "Rain100L/target/200.png", "Rain100L/input/200.png")
    listing = read_set("rain100l", tmp_path, split="test")
    assert len(listing.pairs) == 98
    assert listing.missing == (
        "target/7 (partner of input/7.png)",
        "input/norain-3 (partner of target/norain-3.png)",
        "50",
    )
    assert listing.unexpected == ("target/200.png",)


def test_hazy_pictures_that_a_scene_lacks_are_named(tmp_path: Path) -> None:
    variants = CATALOG["ots"].splits["train"].variants
    touch(tmp_path, "OTS/clear/0025.jpg", "OTS/clear/9999.jpg")
    touch(tmp_path, *(f"OTS/part1/0025{variant}.jpg" for variant in variants[1:]))
    listing = read_set("ots", tmp_path)
    assert len(listing.pairs) == 34
    assert listing.missing == ("part1/0025_0.8_0.04",)  # and clear pictures without hazy ones are normal


def test_a_subset_that_is_absent_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "CDD-11_train/clear/1.png", "CDD-11_train/low/1.png", "CDD-11_train/rain/2.png")
    listing = read_set("cdd11", tmp_path)
    assert names_of(listing) == ["low/1"]
    assert "haze/ (the whole subset)" in listing.missing
    assert "CDD-11_train/clear/2" not in listing.missing
    assert "clear/2 (partner of rain/2.png)" in listing.missing


def test_an_ambiguous_name_matches_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "UIEB/raw-890/007_raw.png", "UIEB/reference-890/7.png", "UIEB/reference-890/07.png")
    touch(tmp_path, "UIEB/raw-890/8.png", "UIEB/reference-890/8.png")
    listing = read_set("uieb", tmp_path)
    assert names_of(listing) == ["8"]


def test_what_is_not_a_picture_is_left_alone(tmp_path: Path) -> None:
    for name in ("1.png", "._1.png", "Thumbs.db", "readme.txt", ".hidden/2.png"):
        touch(tmp_path, f"UIEB/raw-890/{name}", f"UIEB/reference-890/{name}")
    listing = read_set("uieb", tmp_path)
    assert (names_of(listing), listing.missing, listing.unexpected) == (["1"], (), ())


def test_the_same_name_in_two_formats_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "UIEB/raw-890/1.png", "UIEB/reference-890/1.jpg", "UIEB/reference-890/1.png")
    listing = read_set("uieb", tmp_path)
    assert len(listing.pairs) == 1
    assert listing.unexpected == ("reference-890/1.png",)


def test_any_two_folders_and_any_folder(tmp_path: Path) -> None:
    touch(
        tmp_path, "mine/a/1_rain.png", "mine/b/1_clean.png", "mine/b/2.png", "photos/x/1.jpg", "photos/2.webp"
    )
    listing = read_set("pairs:mine/a|mine/b", tmp_path)
    assert names_of(listing) == ["1_rain"]
    assert listing.missing == ("mine/a/2 (partner of mine/b/2.png)",)
    assert names_of(read_set("clean:photos", tmp_path)) == ["2", "x/1"]


@pytest.mark.parametrize(
    ("name", "split", "error"),
    [
        ("nothing", "train", UsageError),
        ("cbsd68", "train", UsageError),
        ("cdd11/fog", "train", UsageError),
        ("snow100k/L", "train", UsageError),
        ("pairs:one", "train", UsageError),
        ("pairs:one|two", "train", DataError),
        ("clean:one", "train", DataError),
        ("cdd11", "train", DataError),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, split: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        read_set(name, tmp_path, split=split)
    assert str(raised.value).startswith("Expected")


def test_find_set_and_split() -> None:
    assert find_set("CDD11/low").name == "cdd11"
    entry, subset, part = find_split("weatherbench/haze", "test")
    assert (entry.name, subset, part.count) == ("weatherbench", "haze", 600)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("norain-001", "1"),
        ("rain-1", "1"),
        ("0_clean", "0"),
        ("000", "0"),
        ("norain-001x2", "1"),
        ("low00007", "7"),
        ("Img_001", "img_1"),
        ("clean", "clean"),
        ("GOPR0372_07_00-000047", "gopr0372_7_0_47"),
    ],
)
def test_plain_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_prefix_counts_only_where_the_set_has_it() -> None:
    assert plain_name("a2018") == "a2018"
    assert plain_name("a2018", ("a",)) == "2018"


def test_7213_names_take_a_second_at_most(tmp_path: Path) -> None:
    # A tenth of OTS; the whole of it takes 1.6 s on one core.
    variants = CATALOG["ots"].splits["train"].variants
    for folder in ("OTS/clear", "OTS/part1"):
        (tmp_path / folder).mkdir(parents=True)
    for scene in range(206):
        (tmp_path / f"OTS/clear/{scene:04}.jpg").touch()
        for variant in variants:
            (tmp_path / f"OTS/part1/{scene:04}{variant}.jpg").touch()
    before = time.process_time()
    listing = read_set("ots", tmp_path)
    assert time.process_time() - before < 1
    assert len(listing.pairs) == 206 * 35
    assert not listing.missing


def test_bmp_of_the_helper_is_read(tmp_path: Path) -> None:
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_bmp(tmp_path / "a.bmp", pixels)
    assert (decode_picture(tmp_path / "a.bmp").permute(1, 2, 0).numpy() == pixels).all()


def test_public_test_sets(cbsd68_root: Path, rain100l_root: Path, lolv1_root: Path) -> None:
    roots = (("cbsd68", cbsd68_root, 68), ("rain100l", rain100l_root, 100), ("lolv1", lolv1_root, 15))
    for name, root, count in roots:
        listing = read_set(name, root, split="test")
        assert (len(listing.pairs), listing.missing, listing.unexpected) == (count, (), ())
