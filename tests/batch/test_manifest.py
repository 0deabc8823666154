"""What is done is known after a kill, and nothing that is not ours is replaced."""

import json
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anyrestore import zoo
from anyrestore.batch.jobs import Job, plan_jobs
from anyrestore.batch.lines import LineFile
from anyrestore.batch.manifest import FILE, Manifest, Pending, describe_settings
from anyrestore.batch.running import Result, run_jobs
from anyrestore.cli.main import main
from anyrestore.errors import OutputError, UsageError
from anyrestore.image import Picture
from folder_runs import Halve, hashes, lines, pictures

NAMES = ["a.png", "b.jpg", "deeper/c.png"]
SETTINGS: dict[str, object] = {"model": "x", "quality": None, "tiles": (1, 2)}


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return plan_jobs([pictures(tmp_path / "in", NAMES)], tmp_path / "out", recursive=True)


def same(picture: Picture) -> Picture:
    return replace(picture)


def run(jobs: Sequence[Job], *, overwrite: bool) -> Iterator[Result]:
    return run_jobs(jobs, same, overwrite=overwrite)


def go_on(
    jobs: list[Job], *, settings: dict[str, object] = SETTINGS, **how: bool
) -> tuple[Pending, list[Result]]:
    """A whole run, or what is left of one."""
    folder = jobs[0].target.parent
    manifest = Manifest(folder, settings, restart=how.get("overwrite", False))
    try:
        pending = manifest.sort(jobs, resume=how.get("resume", True), overwrite=how.get("overwrite", False))
        return pending, list(manifest.run(pending, run))
    finally:
        manifest.close()


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.name for job in jobs]


def codes(results: Sequence[Result]) -> dict[str, str | None]:
    return {result.job.name: getattr(result.error, "code", None) for result in results}


def test_what_is_done_is_not_done_again(jobs: list[Job]) -> None:
    pending, results = go_on(jobs)
    assert (names(pending.new), pending.redo, pending.done) == (NAMES, (), ())
    assert [result.error for result in results] == [None] * 3
    pending, results = go_on(jobs)
    assert (pending.new, pending.redo, results) == ((), (), [])
    assert [job.name for job, _ in pending.done] == NAMES
    assert {job.name: sha256 for job, sha256 in pending.done} == hashes(jobs[0].target.parent)


def test_without_resume_what_exists_is_refused(jobs: list[Job]) -> None:
    go_on(jobs)
    before = hashes(jobs[0].target.parent)
    jobs[1].target.unlink()
    _, results = go_on(jobs, resume=False)
    assert codes(results) == {"a.png": "output_exists", "b.jpg": None, "deeper/c.png": "output_exists"}
    assert hashes(jobs[0].target.parent) == before
    assert len(go_on(jobs)[0].done) == 3


@pytest.mark.reliability("I65")
def test_files_that_are_not_ours_stay(jobs: list[Job]) -> None:
    theirs = jobs[0].target
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    for how in ({"resume": True}, {"resume": False}, {"resume": True}):
        _, results = go_on(jobs, **how)
        assert codes(results)["a.png"] == "output_exists"
        assert theirs.read_bytes() == b"theirs"
    jobs[1].target.write_bytes(b"retouched")  # ours once, now somebody else's
    pending, results = go_on(jobs)
    assert names(pending.new) == NAMES[:2]
    assert jobs[1].target.read_bytes() == b"retouched"
    assert (theirs.read_bytes(), len(results)) == (b"theirs", 2)
    pending, results = go_on(jobs, overwrite=True)
    assert (names(pending.redo), len(pending.done)) == (NAMES[:2], 1)
    assert [result.error for result in results] == [None] * 2
    assert len(go_on(jobs)[0].done) == 3


def test_an_input_that_changed_is_done_again(jobs: list[Job]) -> None:
    go_on(jobs)
    jobs[0].source.write_bytes(jobs[2].source.read_bytes())
    pending, (result,) = go_on(jobs)
    assert (names(pending.redo), result.error) == (["a.png"], None)
    assert jobs[0].target.read_bytes() == jobs[2].target.read_bytes()
    jobs[0].target.unlink()  # and so is one whose result is gone
    assert names(go_on(jobs)[0].new) == ["a.png"]


def test_a_sheet_belongs_to_its_result(jobs: list[Job], tmp_path: Path) -> None:
    go_on(jobs)
    both = plan_jobs([tmp_path / "in"], tmp_path / "out", recursive=True, compare=True)
    assert names(go_on(both)[0].redo) == NAMES
    assert len(go_on(both)[0].done) == 3
    sheet = both[1].sheet
    assert sheet is not None
    sheet.unlink()
    assert names(go_on(both)[0].redo) == ["b.jpg"]
    assert sheet.exists()


@pytest.mark.reliability("B10")
def test_other_settings_are_refused_with_the_reason_or_done_again(jobs: list[Job]) -> None:
    go_on(jobs)
    before = hashes(jobs[0].target.parent)
    written = (jobs[0].target.parent / FILE).read_bytes()
    other = SETTINGS | {"quality": 3}
    for resume in (True, False):
        with pytest.raises(UsageError, match="quality None, and now it is quality 3") as caught:
            go_on(jobs, settings=other, resume=resume)
        assert caught.value.code == "settings_differ"
    assert hashes(jobs[0].target.parent) == before
    assert (jobs[0].target.parent / FILE).read_bytes() == written
    # Redone; killed after the first, what is left of the old settings is not taken for done.
    manifest = Manifest(jobs[0].target.parent, other, restart=True)
    pending = manifest.sort(jobs, resume=True, overwrite=True)
    assert names(pending.redo) == NAMES
    results = manifest.run(pending, run)
    next(results)
    results.close()
    manifest.close()
    pending, _ = go_on(jobs, settings=other)
    assert (len(pending.done), names(pending.redo)) == (1, NAMES[1:])


@pytest.mark.reliability("B11")
def test_cut_at_every_byte_it_is_of_use(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for speed; no power is cut here
    go_on(jobs)
    path = jobs[0].target.parent / FILE
    whole, files = path.read_bytes(), hashes(path.parent)
    starts = [len(b"".join(whole.splitlines(keepends=True)[:n])) for n in range(1, 6)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        manifest = Manifest(path.parent, SETTINGS)
        pending = manifest.sort(jobs, resume=True)
        manifest.close()
        done = sum(length >= start for start in starts[2:])
        assert len(pending.done) == done
        if length >= starts[1]:  # planned: they are known to be ours
            assert (len(pending.redo), pending.new) == (3 - done, ())
        assert path.read_bytes().startswith(whole[: max([0, *(s for s in starts if s <= length)])])
        assert [json.loads(line) for line in path.read_bytes().splitlines()]
    assert hashes(path.parent) == files


@pytest.mark.parametrize(
    "line", [b"5", b"{}", b'"output"', b'{"planned": 3}', b"\xff\xfe", b'{"output": "a.png"}']
)
def test_a_damaged_line_is_a_missing_one(jobs: list[Job], line: bytes) -> None:
    go_on(jobs)
    path = jobs[0].target.parent / FILE
    kept = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*kept[:2], line, *kept[3:], b""]))
    pending, results = go_on(jobs)
    assert (names(pending.redo), len(pending.done)) == (["a.png"], 2)
    assert results[0].error is None


def test_a_newer_format_is_left_alone(jobs: list[Job]) -> None:
    path = jobs[0].target.parent / FILE
    path.parent.mkdir()
    path.write_text('{"anyrestore": 2, "settings": {}}\n')
    with pytest.raises(UsageError, match="newer anyrestore") as caught:
        go_on(jobs, overwrite=True)
    assert caught.value.code == "newer_format"
    assert path.read_text() == '{"anyrestore": 2, "settings": {}}\n'


def test_temporary_files_of_the_dead_go_and_those_of_the_living_stay(jobs: list[Job]) -> None:
    from anyrestore.storage import storing

    go_on(jobs)
    out = jobs[0].target.parent
    (out / ".a.png.0123456789ab.tmp").write_bytes(b"half")
    (out / "deeper" / ".c.png.0123456789ab.tmp").write_bytes(b"half")
    others = [".notes.0123456789ab.tmp", ".a.png.tmp", ".a.png.0123456789AB.tmp", "a.png.0123456789ab.tmp"]
    for name in others:
        (out / name).write_bytes(b"somebody's")
    with storing(out / "a.png", overwrite=True) as descriptor:
        os.write(descriptor, b"x")
        (living,) = [path.name for path in out.glob(".a.png.*.tmp") if path.stat().st_size == 1]
        go_on(jobs)
        left = sorted(path.name for path in out.rglob("*.tmp"))
        assert left == sorted([living, *others])
    assert not (out / living).exists()


@pytest.mark.reliability("B12")
def test_a_second_process_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "load_model", lambda _: Halve())
    source, out = pictures(tmp_path / "in", NAMES), tmp_path / "out"
    held = Manifest(out, SETTINGS)
    command = ["restore", str(source), "-o", str(out), "-r"]
    for options in ([], ["--resume"], ["--overwrite"]):
        assert main([*command, *options]) == 2
        said = capfd.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "another process" in said.err
    assert hashes(out) == {}
    held.close()
    assert main([*command, "--resume"]) == 0
    assert len(hashes(out)) == 3


@pytest.mark.parametrize("shard", [[], ["--shard", "1/1"], ["--shard", "1/2"]])
def test_results_of_a_batch_are_not_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], shard: list[str]
) -> None:
    monkeypatch.setattr(zoo, "load_model", lambda _: Halve())
    source, out = pictures(tmp_path / "in", NAMES), tmp_path / "out"
    assert main(["batch", str(source), str(out), *shard]) == 0
    before = hashes(out)
    for options in ([], ["--resume"], *([["--overwrite"]] if "1/2" in shard else [])):
        assert main(["restore", str(source), "-o", str(out), "-r", *options]) == 2
        assert "batch" in capfd.readouterr().err
    assert hashes(out) == before
    # Nor the other way round.
    assert main(["restore", str(source), "-o", str(tmp_path / "other"), "-r"]) == 0
    assert main(["batch", str(source), str(tmp_path / "other"), *shard]) == 2
    assert "command 'restore' (now 'batch')" in capfd.readouterr().err
    assert main(["batch", str(source), str(tmp_path / "other"), *shard, "--overwrite"]) == 0
    assert main(["restore", str(source), "-o", str(tmp_path / "other"), "-r", "--resume"]) == 2


def test_a_line_that_finds_no_room_leaves_no_part_of_it(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "lines", "a+")
    file.add({"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
    try:
        with pytest.raises(OutputError) as caught:
            file.add({"b": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk_full"
    file.add({"c": 3})
    assert lines(file.path) == [{"a": 1}, {"c": 3}]
    file.close()


def test_files_count_by_their_content(tmp_path: Path) -> None:
    one = tmp_path / "one.safetensors"
    one.write_bytes(b"1")
    first = describe_settings(one, {"head": one, "quality": 3})
    (tmp_path / "deeper").mkdir()
    moved = one.rename(tmp_path / "deeper" / one.name)
    assert describe_settings(moved, {"head": moved, "quality": 3}) == first
    moved.write_bytes(b"2")
    second = describe_settings(moved, {"head": moved, "quality": 3})
    assert {key for key in first if first[key] != second[key]} == {"weights", "head"}
    assert describe_settings("cea-t", {})["weights"] == zoo.catalog.CATALOG["cea-t"].sha256


@pytest.mark.reliability("B10")
def test_the_command_counts_every_option_that_it_does_not_know_to_be_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "load_model", lambda _: Halve())
    command = ["restore", str(pictures(tmp_path / "in", NAMES)), "-o", str(tmp_path / "out"), "--resume"]
    assert main(command) == 0
    changes: list[Any] = [["--quality", "5"], ["--tile", "16"], ["--keep-gps"]]
    for change in changes:
        assert main([*command, *change]) == 2
        assert change[0].strip("-").replace("-", "_") in capfd.readouterr().err
    for harmless in (["--threads", "1"], ["--max-pixels", "99999"], ["--scratch", "off"], ["-r"]):
        assert main([*command, *harmless]) == 0
    assert main([*command, "--overwrite", "--quality", "5"]) == 0
    header = lines(tmp_path / "out" / FILE)
    assert [line["settings"]["quality"] for line in header if "settings" in line] == [None, 5]
