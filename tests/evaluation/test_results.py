import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from anyrestore.errors import DataError
from anyrestore.evaluation.results import as_json, find_results, read_results
from anyrestore.evaluation.scores import ImageScore, Score
from stored_results import content_of, entries_from, entry_of, image_of, write


def test_a_file_is_read_with_every_digit(tmp_path: Path) -> None:
    images = [image_of("x", 30.123456789012345, lpips=0.25), image_of("y", None, before=None, lpips=0.5)]
    read = read_results(write(tmp_path / "r.json", content_of([entry_of("a-1", images)], limit=2)))
    assert (read.model, read.protocol, read.limit, read.folder) == ("tiny", "promptir", 2, None)
    assert read.machine == {"cpu": "abacus", "cores": "2"}
    (entry,) = read.entries
    assert (entry.name, entry.group, entry.n, entry.data_sha256) == ("a-1", "a", 2, "d" * 64)
    assert entry.values("psnr").tolist() == [30.123456789012345, math.inf]
    assert entry.mean("lpips") == 0.375
    assert [image.gain for image in entry.images] == [30.123456789012345 - 20.0, None]
    assert (entry.images[0].height, entry.images[0].width) == (24, 32)


def test_what_was_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    first = ImageScore(
        name="x",
        height=3,
        width=4,
        psnr=0.1 + 0.2,
        ssim=1 / 3,
        input_psnr=math.inf,
        input_ssim=1.0,
        seconds=0.5,
        tile=64,
        lpips=2 / 3,
        input_lpips=0.0,
        colour_shift=1 / 7,
        input_colour_shift=0.0,
    )
    images = (first, dataclasses.replace(first, name="y", psnr=math.inf, tile=None))
    told = Score(
        name="a", group="g", protocol="moce", data_sha256="1", images=images, instruction='say "please"'
    )
    scores = (told, dataclasses.replace(told, name="b", instruction=None))
    (tmp_path / "r.json").write_text(as_json(scores, model="m", weights_sha256=None, limit=2, command="c"))
    read = read_results(tmp_path / "r.json")
    assert read.entries == scores
    assert (read.model, read.protocol, read.limit, read.command) == ("m", "moce", 2, "c")
    assert [(group.name, group.entries) for group in read.groups] == [("g", ("a", "b"))]


def test_a_folder_is_read_and_knows_where_its_pictures_are(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", content_of(entries_from({"a": [1.0]})))
    assert read_results(folder).folder == folder
    assert read_results(folder / "results.json").folder == folder


def test_a_folder_of_several_stands_for_all_of_them(tmp_path: Path) -> None:
    for seed in (2, 1):
        write(tmp_path / f"seed{seed}", content_of(entries_from({"a": [1.0]}), model=f"m{seed}"))
    assert [run.model for run in find_results(tmp_path)] == ["m1", "m2"]
    write(tmp_path / "files" / "x.json", content_of(entries_from({"a": [1.0]}), model="x"))
    assert [run.model for run in find_results(tmp_path / "files")] == ["x"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="anyrestore evaluate"):
        find_results(tmp_path / "none")


def test_groups_are_those_of_the_file_and_of_the_entries(tmp_path: Path) -> None:
    entries = entries_from({"a-1": [1.0], "a-2": [2.0], "b": [3.0]})
    groups = [{"group": "a", "lines": 2}, {"group": "both", "entries": ["b", "a-1"]}, {"group": "c"}]
    read = read_results(write(tmp_path / "r.json", content_of(entries, groups=groups)))
    assert {group.name: group.entries for group in read.groups} == {
        "a": ("a-1", "a-2"),
        "both": ("b", "a-1"),
    }


def test_a_metric_that_only_some_images_have_is_not_one(tmp_path: Path) -> None:
    images = [image_of("x", 30.0, lpips=0.1), image_of("y", 30.0)]
    (entry,) = read_results(write(tmp_path / "r.json", content_of([entry_of("a", images)]))).entries
    assert "lpips" not in entry.metrics
    with pytest.raises(DataError, match="it was not measured; choose from psnr") as caught:
        entry.values("lpips")
    assert caught.value.code == "bad_results"


OLD = content_of([{"name": "a", "n": 2, "psnr": 30.0}])
del OLD["format"]
ONE = entries_from({"a": [30.0, 31.0]})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (OLD, "without per-image values; evaluate again"),
        (content_of(ONE, format=3), "expected format 2 with per-image values, got 3"),
        ([], "the file is not an object"),
        (content_of([]), "no entries"),
        (content_of(ONE, protocol=None), "no protocol"),
        (content_of(ONE, limit="all"), "limit"),
        (content_of([*ONE, *ONE]), "entry 'a' is there more than once"),
        (content_of([entry_of("a", [image_of("x", 1.0), image_of("x", 1.0)])]), "image of a 'x'"),
        (content_of([entry_of("a", [image_of("x", 30.0)], n=2)]), "says n = 2 and lists 1 images"),
        (content_of([entry_of("a", [image_of("x", 30.0)], psnr=31.0)]), "psnr = 31.0, and the mean .* 30.0"),
        (content_of([entry_of("a", [image_of("x", 30.0)], data_sha256=None)]), "a has no data_sha256"),
        (content_of([entry_of("a", [image_of("x", 30.0, ssim=None)])]), "x of a has no ssim"),
        (content_of([entry_of("a", [image_of("x", 30.0, input_ssim="good")])]), "x of a has no input_ssim"),
        (content_of([entry_of("a", [image_of("x", 30.0, width=0)])]), "x of a has no height and width"),
        (content_of([entry_of("a", [image_of("x", 30.0)], tiles={"x": 0})]), "x of a has tiles of no size"),
        (content_of([entry_of("a", [image_of("x", 30.0)], instruction=3)]), "instruction of a is no text"),
        (content_of([{**ONE[0], "images": [], "n": 0}]), "no images"),
        (content_of([entry_of("a", [image_of("x", math.nan)])]), "NaN"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_results(write(tmp_path / "r.json", content))
    assert caught.value.code == "bad_results"
    assert "r.json" in str(caught.value)


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_results(tmp_path / "r.json")
    assert caught.value.code == "bad_results"
