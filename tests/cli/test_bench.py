"""`anyrestore bench`: the tables it prints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore.cli.main import build_parser
from anyrestore.image import Picture, write


def test_data_prints_crops_per_second_and_shares(command: Any, training_root: Path) -> None:
    options = ("--seconds", 0.1, "--crop", 16, "--batch", 4, "--cache-gb", 0.02)
    done = command("bench", "data", "composite", "--data", training_root, *options)
    assert (done.code, done.err) == (0, "")
    about, head, cold, warm = done.out.splitlines()
    assert about.startswith("composite, 28 files, crops of 16 px, batches of 4;")
    assert head.split() == [
        "pictures",
        "processes",
        "crops/s",
        "per",
        "core",
        *("decode", "cut", "collate", "degrade"),
    ]
    for line, state in ((cold, "cold"), (warm, "warm")):
        assert line.startswith(f"{state}      this one")
        assert line.count("%") == 4
        shares = [int(part.split("%")[0]) for part in line.split("(")[1:]]
        assert sum(shares) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fog", "--data", "."), "expected a mixture among promptir-aio3"),
        (("composite", "--data", ".", "--workers", "-1"), "not negative"),
        (("composite", "--data", ".", "--cache-gb", "inf"), "this machine's memory"),
        (("composite", "--data", ".", "--seconds", "nan"), "more than 0 seconds"),
    ],
)
def test_wrong_options_are_told(command: Any, arguments: tuple[str, ...], says: str) -> None:
    done = command("bench", "data", *arguments)
    assert done.code == 2
    assert says in done.err


def test_data_that_is_not_there_is_told(command: Any, tmp_path: Path) -> None:
    done = command("bench", "data", "composite", "--data", tmp_path)
    assert done.code != 0
    assert "BSDS500-365" in done.err


def test_tiles_are_compared(command: Any, tmp_path: Path) -> None:
    write(Picture(pixels=np.full((40, 40, 3), 50, np.uint8)), tmp_path / "in.png")
    done = command("bench", "tiles", tmp_path / "in.png", "--side", 24, "--side", 32)
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()[2:]] == [
        [side, tiles] for side in ("24", "32") for tiles in ("own", "shared")
    ]


def test_debug_is_understood_before_and_after_what_is_measured() -> None:
    parse = build_parser().parse_args
    assert parse(["bench", "tiles", "a.png", "--debug"]).debug
    assert parse(["bench", "--debug", "tiles", "a.png"]).debug
    assert not parse(["bench", "tiles", "a.png"]).debug
