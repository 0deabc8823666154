"""Names are settled before any work; one bad file does not stop the rest."""

import gc
import os
import socket
import time
import unicodedata
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anyrestore import image
from anyrestore.batch import jobs as planning
from anyrestore.batch import running
from anyrestore.batch.jobs import Job, check_places, plan, plan_jobs
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


def test_recursive_keeps_the_tree(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = plan([folder], out, recursive=True)
    assert [job.name for job in found.jobs] == ["C.PNG", "a.png", "b.jpg", "deeper/d.png"]
    assert [job.target for job in found.jobs] == [out / job.name for job in found.jobs]
    assert (found.folder, found.many, found.refused) == (out, True, ())
    with pytest.raises(UsageError, match="both become"):
        plan([folder, folder / ".." / "in"], out, recursive=True)


def codes(found: planning.Plan, folder: Path) -> dict[str, str]:
    return {str(one.source.relative_to(folder)): one.error.code for one in found.refused}


@pytest.mark.reliability("I61")
def test_links_are_judged_and_each_file_is_done_once(folder: Path, tmp_path: Path) -> None:
    image.write(Picture(pixels=PIXELS), tmp_path / "far.png")
    (tmp_path / "far").mkdir()
    (folder / "data").write_bytes((folder / "a.png").read_bytes())
    links = {
        "0.png": "a.png",
        "away.png": "../far.png",
        "dangling.png": "nowhere",
        "deeper/back.png": "../b.jpg",
        "deeper/data.png": "../data",
        "deeper/twice.png": "../data",
        "far": "../far",
        "loop": ".",
        "notes": "notes.txt",
        "self.png": "self.png",
        "deeper/up": "../..",
    }
    for name, leads_to in links.items():
        (folder / name).symlink_to(leads_to)
    began = time.monotonic()
    found = plan([folder], tmp_path / "out", recursive=True)
    assert time.monotonic() - began < 2
    names = ["C.PNG", "a.png", "b.jpg", "deeper/d.png", "deeper/data.png"]
    assert [job.name for job in found.jobs] == names
    assert codes(found, folder) == {
        "0.png": "duplicate",
        "away.png": "link_outside",
        "dangling.png": "link_broken",
        "deeper/back.png": "duplicate",
        "deeper/twice.png": "duplicate",
        "deeper/up": "link_outside",
        "far": "link_outside",
        "loop": "duplicate",
        "self.png": "link_broken",
    }
    assert not any(one.failed for one in found.refused)
    # What is named itself is followed.
    assert len(plan([folder / "away.png"], f"{tmp_path}/out/").jobs) == 1


@pytest.mark.reliability("I62")
def test_what_is_no_regular_file_is_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "null.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket.png"))
        began = time.monotonic()
        found = plan([folder], tmp_path / "out")
        results = list(run_jobs(found.jobs, brighter))
        assert time.monotonic() - began < 1
    assert [result.error for result in results] == [None] * 3
    assert codes(found, folder) == {
        "folder.png": "not_a_regular_file",
        "null.png": "link_outside",
        "pipe.png": "not_a_regular_file",
        "socket.png": "not_a_regular_file",
    }
    for name in ("pipe.png", "null.png"):  # named themselves they are refused by reading
        (result,) = run_jobs(plan_jobs([folder / name], f"{tmp_path}/out/"), must_not_run)
        assert isinstance(result.error, InputError)
        assert result.error.code == "not_a_regular_file"


@pytest.mark.reliability("I69")
def test_names_that_a_file_system_takes_for_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [("A.PNG", "a.png"), ("caf\u00e9.png", "cafe\u0301.png")]
    for twin in twins:
        for name in twin:
            image.write(Picture(pixels=PIXELS), folder / name, overwrite=True)
    if len(plan_jobs([folder], tmp_path / "out")) < 6:
        pytest.skip("the file system of the tests takes them for one, too")
    jobs = plan_jobs([folder], tmp_path / "out")
    check_places(jobs)  # it is tried, and they are two
    assert [result.error for result in run_jobs(jobs, brighter)] == [None] * 6
    assert len(list((tmp_path / "out").iterdir())) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    # One that does not tell case, or spellings, finds the other name of each file.
    exists = os.path.lexists

    def lexists(path: Path) -> bool:
        plain = [unicodedata.normalize("NFC", one.name).casefold() for one in Path(path).parent.glob(".*")]
        return exists(path) or unicodedata.normalize("NFC", Path(path).name).casefold() in plain

    monkeypatch.setattr(planning.os.path, "lexists", lexists)
    for twin in twins:
        with pytest.raises(UsageError, match="would both become"):
            check_places(plan_jobs([folder / name for name in twin], tmp_path / "new"))
    check_places(plan_jobs([folder / "A.PNG", folder / "C.PNG"], tmp_path / "new"))


@pytest.mark.reliability("I69")
def test_one_name_for_a_file_and_a_folder(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "a.png"
    other.mkdir(parents=True)
    image.write(Picture(pixels=PIXELS), other / "x.png")
    with pytest.raises(UsageError, match="needs as a folder"):
        plan([folder, other.parent], tmp_path / "out", recursive=True)


@pytest.mark.reliability("I71")
def test_results_are_never_inputs(folder: Path, tmp_path: Path) -> None:
    out = folder / "deeper" / "out"
    for _ in range(2):
        found = plan([folder], out, recursive=True)
        assert [job.name for job in found.jobs] == ["C.PNG", "a.png", "b.jpg", "deeper/d.png"]
        assert [one.error for one in run_jobs(found.jobs, brighter, overwrite=True)] == [None] * 4
    # Nor those of another run, which has left its manifest.
    (out / ".anyrestore.jsonl").touch()
    (folder / "link.png").symlink_to("deeper/out/a.png")
    found = plan([folder], tmp_path / "out", recursive=True)
    assert len(found.jobs) == 4 + 1
    assert codes(found, folder) == {"deeper/out": "output_folder"}
    assert len(plan([folder], out, recursive=True).jobs) == 4
    # A folder that is named itself is what is wanted.
    assert len(plan([out], tmp_path / "out", recursive=True).jobs) == 4


def test_a_folder_that_cannot_be_read_counts_as_failed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def forbidden(path: Path) -> object:
        if Path(path).name == "deeper":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(planning.os, "scandir", forbidden)  # (root reads every folder)
    found = plan([folder], tmp_path / "out", recursive=True)
    assert codes(found, folder) == {"deeper": "permission"}
    assert found.refused[0].failed
    with pytest.raises(InputError, match="cannot be read"):
        plan([folder / "deeper"], tmp_path / "out")


def test_all_are_restored_and_a_bad_one_does_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    (folder / "worse.png").write_bytes(b"")
    results = list(run_jobs(plan_jobs([folder], tmp_path / "out"), brighter))
    assert [result.job.source.name for result in results] == [
        "C.PNG",
        "a.png",
        "b.jpg",
        "bad.png",
        "worse.png",
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
