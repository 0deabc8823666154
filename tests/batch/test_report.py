"""Each input has a line, whatever became of it; one bad file does not stop the rest."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image, zoo
from anyrestore.batch.jobs import Job
from anyrestore.batch.report import Report
from anyrestore.batch.running import Result
from anyrestore.cli import follow
from anyrestore.cli.main import main
from anyrestore.errors import InputError, OutputError, UsageError
from folder_runs import Halve, hashes, lines, pictures

KEYS = {
    "input": str,
    "output": str | None,
    "status": str,
    "code": str | None,
    "message": str | None,
    "seconds": float | None,
    "width": int | None,
    "height": int | None,
    "sha256": str | None,
    "warnings": list,
}


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "load_model", lambda _: Halve())


def checked(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A report, after its schema has been looked at."""
    for line in told:
        assert list(line) == list(KEYS)
        assert all(isinstance(line[key], kind) for key, kind in KEYS.items())  # type: ignore[arg-type]
        done = line["status"] == "done"
        assert line["status"] in ("done", "skipped", "failed")
        assert (line["code"] is None) == (line["message"] is None) == done
        assert (line["width"] is not None) == (line["height"] is not None) == done
        assert not done or hashlib.sha256(Path(line["output"]).read_bytes()).hexdigest() == line["sha256"]
    return told


def png(side: int = 40) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return image.encode(image.Picture(pixels=noise), "png")


def jpeg() -> bytes:
    return image.encode(image.Picture(pixels=np.full((40, 40, 3), 90, np.uint8)), "jpeg")


def wide_png() -> bytes:
    """One whose header speaks of 60,000 x 60,000 pixels."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    return png()[:12] + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cut.png": ("truncated", lambda: png()[:-900]),
    "cut.jpg": ("truncated", lambda: jpeg()[:-200]),
    "damaged.png": ("corrupt", lambda: png()[:200] + b"\0\1\2\3" + png()[204:]),
    "empty.png": ("empty_file", lambda: b""),
    "random.jpg": ("not_an_image", lambda: bytes(range(7, 39))),
    "text.png": ("not_an_image", lambda: b"this is no picture\n"),
    "page.png": ("not_an_image", lambda: b"<!doctype html><html></html>"),
    "archive.png": ("not_an_image", lambda: b"PK\3\4" + bytes(60)),
    "paper.tiff": ("unsupported_format", lambda: b"%PDF-1.7\n" + bytes(60)),
    "program.webp": ("not_an_image", lambda: b"\x7fELF" + bytes(60)),
    "wide.png": ("too_many_pixels", wide_png),
    "header.png": ("truncated", lambda: png()[:20]),
}


@pytest.mark.reliability("B4", "B15")
def test_bad_files_among_a_hundred(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    special = 4
    good = [f"{'deeper/' * (i % 2)}{i:02}.png" for i in range(100 - len(BAD) - special)]
    source = pictures(tmp_path / "in", good)
    for name, (_, make) in BAD.items():
        (source / name).write_bytes(make())
    (source / "alpha.jpg").symlink_to("nowhere")
    (source / "twice.png").symlink_to("00.png")
    os.mkfifo(source / "pipe.png")
    (source / "away.png").symlink_to(__file__)
    report = tmp_path / "report.jsonl"
    command = ["restore", str(source), "-o", str(tmp_path / "out"), "-r", "--report", str(report)]
    assert main(command) == 1
    told = checked(lines(report))
    assert len(told) == 100
    by_name = {str(Path(line["input"]).relative_to(source)): line for line in told}
    assert {name for name, line in by_name.items() if line["status"] == "done"} == set(good)
    assert sorted(hashes(tmp_path / "out")) == sorted(good)
    said = capfd.readouterr().err
    for name in BAD:
        assert by_name[name]["status"] == "failed"
        assert f"{name}: " in said
    assert {name: by_name[name]["code"] for name in BAD} == {name: code for name, (code, _) in BAD.items()}
    skipped = {name: line["code"] for name, line in by_name.items() if line["status"] == "skipped"}
    assert skipped == {
        "alpha.jpg": "link_broken",
        "away.png": "link_outside",
        "pipe.png": "not_a_regular_file",
        "twice.png": "duplicate",
    }
    # Again, with what is done left alone, on stdout, with nothing else there.
    capfd.readouterr()
    assert main([*command[:-1], "-", "--resume"]) == 1
    told = checked([json.loads(line) for line in capfd.readouterr().out.splitlines()])
    assert len(told) == 100
    assert [line["status"] for line in told].count("done") == 0
    assert [line["code"] for line in told].count("already_done") == len(good)


@pytest.mark.reliability("B5")
def test_all_bad_is_three_and_none_found_is_two(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", ["a.png"])
    for name, (_, make) in BAD.items():
        (source / name).write_bytes(make())
    command = ["restore", str(source), "-o", str(tmp_path / "out"), "--resume"]
    (source / "a.png").rename(tmp_path / "a.png")
    assert main(command) == 3
    (tmp_path / "a.png").rename(source / "a.png")
    assert main(command) == 1
    assert main(command) == 1  # a.png counts, although it was done before
    for name in BAD:
        (source / name).unlink()
    assert main(command) == 0
    (source / "a.png").rename(source / "a.txt")
    assert main(command) == 2


@pytest.mark.reliability("I63")
def test_odd_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ["caf\u00e9.png", "cafe\u0301.png", "\U0001f600.png", "new\nline.png", "a\tb.png", "\x1b[31m.png"]
    names += [
        '"quoted".png',
        "'single'.png",
        "-rf.png",
        "--help.png",
        ".dot.png",
        " spaces .png",
        "a.b.c.png",
    ]
    names += ["x" * 251 + ".png", os.fsdecode(b"not-utf8-\xff.png"), "$(ls).png", "*?.png", "\\back.png"]
    names += ["\u202egnp.png", "CON.PNG"]
    assert len(names) == 20
    source = pictures(tmp_path / "in", names)
    report = tmp_path / "report.jsonl"
    command = ["restore", str(source), "-o", str(tmp_path / "out"), "--report", str(report)]
    assert main(command) == 0
    said = capfd.readouterr()
    assert (said.err, said.out.count("\n")) == ("", 20)
    assert said.out.replace("\n", "").isprintable()
    told = checked(lines(report))
    assert sorted(line["input"] for line in told) == sorted(str(source / name) for name in names)
    assert sorted(hashes(tmp_path / "out")) == sorted(names)
    assert main([*command, "--resume"]) == 0
    assert {line["code"] for line in checked(lines(report))} == {"already_done"}


@pytest.mark.reliability("I65")
def test_results_that_exist(tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in", ["a.png", "b.png"]), tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"old")
    report = tmp_path / "report.jsonl"
    command = ["restore", str(source), "-o", str(out), "--report", str(report)]
    assert main(command) == 4
    assert [line["code"] for line in checked(lines(report))] == ["output_exists", None]
    assert main([*command, "--skip-existing"]) == 0
    assert [line["status"] for line in checked(lines(report))] == ["skipped"] * 2
    assert (out / "a.png").read_bytes() == b"old"
    assert main([*command, "--overwrite"]) == 0
    assert [line["status"] for line in checked(lines(report))] == ["done"] * 2
    assert (out / "a.png").read_bytes() != b"old"


@pytest.mark.reliability("I68")
@pytest.mark.parametrize("to", ["in/a.png", "in/link.png", "in/hard.png", "in", "in/../in"])
def test_an_input_is_never_replaced(tmp_path: Path, to: str) -> None:
    """It is refused before anything is written, so a kill has nothing to strike."""
    source = pictures(tmp_path / "in", ["a.png"])
    (source / "link.png").symlink_to("a.png")
    os.link(source / "a.png", source / "hard.png")
    before = hashes(source)
    assert main(["restore", str(source / "a.png"), "-o", str(tmp_path / to), "--overwrite"]) == 2
    assert main(["restore", str(source), "-o", str(source), "-r", "--overwrite"]) == 2
    assert hashes(source) == before
    assert sorted(path.name for path in source.iterdir()) == ["a.png", "hard.png", "link.png"]


def test_a_report_is_not_written_over_a_picture_nor_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named like a picture"):
        Report(str(tmp_path / "a.PNG"))
    with pytest.raises(OutputError):
        Report(str(tmp_path / "none" / "r.jsonl"))
    if Path("/dev/full").exists():
        full = Report("/dev/full")
        with pytest.raises(OutputError) as caught:
            full.add(source=Path("a"), target=None, status="skipped", code="x", message="y")
        assert caught.value.code == "disk_full"
        full.close()


def test_only_a_folder_can_be_gone_on_with(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "in", ["a.png"])
    assert main(["restore", str(source / "a.png"), "-o", str(tmp_path / "b.png"), "--resume"]) == 2
    assert "--resume" in capfd.readouterr().err


def test_the_bar_counts_bytes_and_says_how_many_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bar = follow.tqdm
    monkeypatch.setattr(
        follow, "tqdm", lambda **how: bar(**(how | {"disable": False, "delay": 0, "mininterval": 0}))
    )
    follow.tqdm.external_write_mode = bar.external_write_mode  # type: ignore[attr-defined]
    jobs = [Job(source=tmp_path / name, target=tmp_path / "out" / name) for name in ("a.png", "b.png")]
    for job, size in zip(jobs, (3000, 1000), strict=True):
        job.source.write_bytes(bytes(size))

    def results() -> Any:
        for job in jobs:
            time.sleep(0.01)
            yield Result(job=job, seconds=0.1, error=InputError("no", code="corrupt"))

    assert follow.Follower(debug=False).follow(results(), jobs) == 3
    said = capfd.readouterr().err
    assert "3.00k/4.00k" in said
    assert "1 of 2 pictures" in said
