"""Names are settled before any work; one bad file does not stop the rest."""

import gc
import os
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anyrestore import image
from anyrestore.batch import running
from anyrestore.batch.jobs import Job, check_places, plan_jobs
from anyrestore.batch.running import run_jobs
from anyrestore.errors import AnyRestoreError, InputError, OutputError, UsageError
from anyrestore.image import Picture

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


def brighter(picture: Picture) -> Picture:
    top = np.iinfo(picture.pixels.dtype).max
    return replace(picture, pixels=top - (top - picture.pixels) // 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/ with a.png, b.jpg, C.PNG and things that are no pictures of their own."""
    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "C.PNG", "deeper/d.png"):
        image.write(Picture(pixels=PIXELS), source / name)
    (source / "notes.txt").write_text("hello")
    (source / "._a.png").write_bytes(b"left by another system")
    return source


def names(jobs: list[Job]) -> list[tuple[str, str]]:
    return [(job.source.name, str(job.target)) for job in jobs]


def test_a_folder_gives_its_pictures_by_name_directly_within(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert names(plan_jobs([folder], out)) == [(n, str(out / n)) for n in ("C.PNG", "a.png", "b.jpg")]
    assert not out.exists()


def test_one_file_to_a_file_to_a_folder_or_beside(folder: Path, tmp_path: Path) -> None:
    a = folder / "a.png"
    assert plan_jobs([a], tmp_path / "x.tiff")[0].target == tmp_path / "x.tiff"
    assert plan_jobs([a], f"{tmp_path}/new.d/")[0].target == tmp_path / "new.d" / "a.png"
    assert plan_jobs([a], tmp_path / "new")[0].target == tmp_path / "new" / "a.png"
    assert plan_jobs([a], tmp_path)[0].target == tmp_path / "a.png"
    assert plan_jobs([a], None)[0].target == folder / "a.restored.png"
    assert plan_jobs([a], tmp_path / "x.tiff", compare=True)[0].sheet == tmp_path / "x.compare.png"


def test_a_file_named_twice_is_done_once(folder: Path, tmp_path: Path) -> None:
    assert len(plan_jobs([folder / "a.png", folder], tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("inputs", "output", "pattern"),
    [
        (["a.png", "b.jpg"], "one.png", "need a folder"),
        (["a.png", "b.jpg"], None, "need a folder"),
        (["."], None, "need a folder"),
        (["a.png"], "x.bmp", "no known format"),
        (["a.png"], "in/a.png", "is an input"),
        (["."], "in", "is an input"),
        (["a.png"], "in/link.png", "is an input"),
        (["a.png"], "in/hard.png", "is an input"),
        (["a.png", "deeper/a.png"], "out", "both become"),
        (["a.png", "a.jpg"], "out", "both become"),
        (["empty"], "out", "no pictures"),
    ],
)
def test_names_that_do_not_work_out(
    folder: Path, tmp_path: Path, inputs: list[str], output: str | None, pattern: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "link.png").symlink_to("a.png")
    os.link(folder / "a.png", folder / "hard.png")
    with pytest.raises(UsageError, match=pattern):
        # Sheets of a.png and a.jpg would have the same name.
        plan_jobs([folder / name for name in inputs], output and tmp_path / output, compare="a.jpg" in inputs)


def test_places_are_checked_without_being_made(folder: Path, tmp_path: Path) -> None:
    check_places(plan_jobs([folder], tmp_path / "x" / "y"))
    assert not (tmp_path / "x").exists()
    for output in (folder / "notes.txt" / "out", folder / "notes.txt" / "sub" / "out"):
        with pytest.raises(OutputError, match="not a folder") as caught:
            check_places(plan_jobs([folder], output))
        assert caught.value.code == "output_unwritable"


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="no /proc, a folder in which even root cannot write"
)
def test_a_folder_that_cannot_be_written_to(folder: Path) -> None:
    with pytest.raises(OutputError, match="cannot write") as caught:
        check_places(plan_jobs([folder], "/proc/anyrestore-test"))
    assert caught.value.code == "output_unwritable"


def test_a_file_needs_its_folder_to_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        plan_jobs([folder / "a.png"], tmp_path / "none" / "a.png")


def test_all_are_restored_and_a_bad_one_does_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    (folder / "folder.png").mkdir()
    results = list(run_jobs(plan_jobs([folder], tmp_path / "out"), brighter))
    assert [result.job.source.name for result in results] == [
        "C.PNG",
        "a.png",
        "b.jpg",
        "bad.png",
        "folder.png",
    ]
    errors = [result.error for result in results]
    assert errors[:3] == [None] * 3
    assert all(isinstance(error, InputError) for error in errors[3:])
    assert (results[0].width, results[0].height) == (17, 12)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["C.PNG", "a.png", "b.jpg"]
    assert np.array_equal(
        image.read(tmp_path / "out" / "a.png").pixels, brighter(Picture(pixels=PIXELS)).pixels
    )


def test_nothing_is_made_where_nothing_can_be_restored(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    (result,) = run_jobs(plan_jobs([folder / "bad.png"], f"{tmp_path}/out/"), brighter)
    assert result.error is not None
    assert not (tmp_path / "out").exists()


def test_a_result_that_exists_is_kept_and_not_computed(folder: Path, tmp_path: Path) -> None:
    jobs = plan_jobs([folder / "a.png"], tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"old")
    (result,) = run_jobs(jobs, must_not_run)
    assert isinstance(result.error, OutputError)
    assert result.error.code == "output_exists"
    assert (tmp_path / "a.png").read_bytes() == b"old"
    (result,) = run_jobs(jobs, brighter, overwrite=True)
    assert result.error is None
    assert image.read(tmp_path / "a.png").pixels.shape == PIXELS.shape


def test_a_file_without_a_suffix_cannot_keep_its_format(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").rename(folder / "plain")
    (result,) = run_jobs(plan_jobs([folder / "plain"], f"{tmp_path}/out/"), must_not_run)
    assert isinstance(result.error, InputError)
    assert result.error.code == "unsupported_format"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("torch"), OSError(5, "Input/output error")])
def test_unforeseen_errors_stay_with_their_file(folder: Path, tmp_path: Path, error: Exception) -> None:
    def fails_once(picture: Picture) -> Picture:
        if not (tmp_path / "out").exists():
            (tmp_path / "out").mkdir()
            raise error
        return picture

    results = list(run_jobs(plan_jobs([folder], tmp_path / "out"), fails_once))
    # Where memory ran out it is tried again at the end, when nothing else takes any.
    expected = None if isinstance(error, MemoryError) else error
    assert [result.error for result in results] == [expected, None, None]


def test_a_full_disk_ends_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full", code="disk_full")

    monkeypatch.setattr(image, "write", full)
    results = list(run_jobs(plan_jobs([folder], tmp_path / "out"), brighter))
    assert len(results) == 1
    assert isinstance(results[0].error, AnyRestoreError)


def test_nothing_holds_a_picture_when_its_turn_is_over(folder: Path, tmp_path: Path) -> None:
    seen = list[weakref.ref[Picture]]()

    def restore(picture: Picture) -> Picture:
        copy = replace(picture)
        seen.extend((weakref.ref(picture), weakref.ref(copy)))
        if len(seen) == 4:
            raise InputError("no", code="bad_array")
        return copy

    results = run_jobs(plan_jobs([folder], tmp_path / "out"), restore)
    done = [next(results) for _ in range(3)]
    gc.collect()
    assert not [ref for ref in seen if ref() is not None]
    assert [result.error is None for result in done] == [True, False, True]
    assert list(results) == []


def test_the_sheet_shows_before_and_after(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_BAND", 5)  # several, and one that is cut off
    alpha = np.full(PIXELS.shape[:2], 65535, np.uint16)
    grey = Picture(pixels=PIXELS[..., 0].astype(np.uint16) * 257, alpha=alpha)
    for name, picture in (("rgb.png", Picture(pixels=PIXELS)), ("grey.png", grey)):
        image.write(picture, folder / name)
        (result,) = run_jobs(plan_jobs([folder / name], tmp_path / name, compare=True), brighter)
        assert result.error is None
        sheet = image.read(tmp_path / name.replace(".png", ".compare.png"))
        left = PIXELS if name == "rgb.png" else PIXELS[..., 0]
        assert sheet.pixels.dtype == np.uint8
        assert sheet.alpha is None
        assert np.array_equal(sheet.pixels[:, : left.shape[1]], left)
        assert sheet.pixels.shape[1] == 2 * left.shape[1] + 4
        assert (sheet.pixels[:, left.shape[1] : left.shape[1] + 4] == 255).all()
        assert sheet.pixels[:, -left.shape[1] :].mean() > left.mean()


def must_not_run(picture: Picture) -> Picture:
    raise AssertionError("the model ran")
