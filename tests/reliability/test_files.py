"""Files and folders as they come, through the command: rows I60 to I70 and B3 of docs/reliability.md."""

import itertools
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pictures
from anyrestore import image, zoo
from anyrestore.errors import InputError
from anyrestore.image import Picture
from reliability import corpus
from reliability.conftest import Command, Identity
from reliability.corpus import FULL, RGB

GOOD = pictures.png(RGB)


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder of its own, in a process that permissions bind: root they do not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    effective = os.geteuid()
    if effective == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(effective)
    shutil.rmtree(folder)


@pytest.mark.reliability("I60")
def test_a_file_without_permission_fails_alone(command: Command, ordinary_user: Path) -> None:
    (ordinary_user / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (ordinary_user / "in" / name).write_bytes(GOOD)
    (ordinary_user / "in" / "b.png").chmod(0)
    with pytest.raises(InputError) as caught:
        image.read(ordinary_user / "in" / "b.png")
    assert caught.value.code == "permission"
    done = command(ordinary_user / "in", "-o", ordinary_user / "out")
    assert done.code == 1
    assert "may not be read (permission denied)" in done.err
    assert sorted(path.name for path in (ordinary_user / "out").glob("*.png")) == ["a.png", "c.png"]


@pytest.mark.reliability("I62")
def test_what_is_no_regular_file_never_blocks(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.png").write_bytes(GOOD)
    (source / "folder.png").mkdir()
    os.mkfifo(source / "pipe.png")
    (source / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "s.png"))
        start = time.monotonic()
        done = command(source, "-o", tmp_path / "out")
        assert (
            time.monotonic() - start < 10
        )  # (blocking would last for ever; the reader's second: test_image)
    assert done.code == 0  # skipped, each with a sentence
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]
    for name in ("folder.png", "pipe.png", "zero.png", "s.png"):
        with pytest.raises(InputError) as caught:
            image.read(source / name)
        assert caught.value.code == "not_a_regular_file"
        assert name in done.err


NAMES = [
    "e\u0301.png",
    "\u00e9.png",
    "\N{FROG FACE}.png",
    "new\nline.png",
    "tab\t.png",
    'quote".png',
    "apostrophe'.png",
    "back\\slash.png",
    "-rf.png",
    "--help.png",
    ".dot.png",
    " space .png",
    "n" * 251 + ".png",
    "\u00e9" * 125 + ".png",
    os.fsdecode(b"bad\xff.png"),
    "$(touch x).png",
    "%s%n.png",
    "*.png",
    "\u202egnp.png",
    "two.dots.png",
]


@pytest.mark.reliability("I63")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names(command: Command, tmp_path: Path, name: str) -> None:
    assert len(set(NAMES)) == 20
    image.write(Picture(pixels=RGB), tmp_path / name)
    for code in (0, 4):  # the second time its result is there already
        done = command(tmp_path / name, "-o", f"{tmp_path}/out/")
        assert done.code == code
        assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
        said = done.out + done.err
        assert said.count("\n") == 1
        assert said.removesuffix("\n").isprintable()
        json.dumps(said).encode("utf-8")  # no lone surrogate
    assert np.array_equal(image.read(tmp_path / "out" / name).pixels, RGB)


@pytest.mark.reliability("I64")
def test_names_and_paths_that_are_too_long(command: Command, tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 25)
    fits = tmp_path / ("n" * 251 + ".png")
    fits.write_bytes(GOOD)
    before = sorted(tmp_path.rglob("*"))
    cases = [
        [tmp_path / deep / "x.png", "-o", tmp_path / "out.png"],
        [fits, "-o", tmp_path / deep / "x.png"],
        [fits],  # NAME.restored.png is longer than a name may be
        [fits, "-o", tmp_path / ("m" * 252 + ".png")],
    ]
    for arguments in cases:
        done = command(*arguments)
        assert done.code in (3, 4)
        assert (done.out, done.err.count("\n")) == ("", 1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.reliability("I67")
def test_a_read_only_folder_is_found_before_the_model_runs(
    command: Command, ordinary_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_self: Identity, _picture: torch.Tensor) -> torch.Tensor:
        pytest.fail("the model ran")

    monkeypatch.setattr(Identity, "forward", never)
    (ordinary_user / "a.png").write_bytes(GOOD)
    (ordinary_user / "locked").mkdir(mode=0o555)
    for output in ("locked/", "locked/a.png", "locked/deeper/"):
        start = time.process_time()
        done = command(ordinary_user / "a.png", "-o", f"{ordinary_user}/{output}")
        assert done.code == 4
        assert time.process_time() - start < 2
    assert list((ordinary_user / "locked").iterdir()) == []


@pytest.mark.reliability("I69")
def test_two_inputs_of_one_name_are_refused_before_the_start(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "load_model", lambda _: pytest.fail("work began"))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(GOOD)
    inputs = (tmp_path / "one" / "a.png", tmp_path / "two" / "a.png")
    assert command(*inputs, "-o", f"{tmp_path}/out/").code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.reliability("I70")
def test_inputs_that_vanish_or_change_fail_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (source / name).write_bytes(GOOD)

    def meanwhile(_: object) -> Identity:
        (source / "b.png").unlink()
        (source / "c.png").write_bytes(GOOD[:-40])
        return Identity()

    monkeypatch.setattr(zoo, "load_model", meanwhile)  # between the plan and the first picture
    done = command(source, "-o", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (1, 2)
    assert "does not exist" in done.err
    assert "cut short" in done.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "d.png"]


def test_full_counts_are_asked_for_by_the_environment() -> None:
    assert bool(os.environ.get("ANYRESTORE_FULL")) == corpus.FULL
    assert len(corpus.some(range(100), 5)) == (100 if corpus.FULL else 5)


@pytest.mark.reliability("B3")
def test_no_reader_ever_sees_a_part_of_a_file(tmp_path: Path) -> None:
    """One thread stores two pictures in turn, another reads what is there; its folder holds nothing else."""
    target = tmp_path / "a.png"
    pictures = [Picture(pixels=np.full((40, 60, 3), value, np.uint8)) for value in (0, 255)]
    image.write(pictures[0], target)
    stop = threading.Event()

    def store() -> None:
        for picture in itertools.cycle(pictures):
            image.write(picture, target, overwrite=True)
            if stop.is_set():
                return

    writer = threading.Thread(target=store)
    writer.start()
    seen = set[int]()
    try:
        for _ in range(20_000 if FULL else 300):
            pixels = image.read(target).pixels
            assert pixels.shape == (40, 60, 3)
            assert pixels.min() == pixels.max()
            seen.add(int(pixels[0, 0, 0]))
    finally:
        stop.set()
        writer.join()
    assert seen == {0, 255}
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
