"""`anyrestore data`: lists, checks and prepares; the page in docs shows what it prints."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from anyrestore.cli import data
from anyrestore.cli.terminal import complain, describe, exit_code
from anyrestore.data.catalog import CATALOG
from anyrestore.errors import AnyRestoreError
from layouts import make_set

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def verb(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the verb on its own: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        data.add_parser(parser.add_subparsers())
        args = parser.parse_args(["data", *(str(argument) for argument in arguments)])
        try:
            code = data.run(args)
        except AnyRestoreError as error:
            complain(describe(error))
            code = exit_code(error)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


Verb = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("arguments", [("list",), ("list", "--layout")])
def test_the_page_shows_what_list_prints(verb: Verb, arguments: tuple[str, ...]) -> None:
    code, out, _ = verb(*arguments)
    assert code == 0
    assert f"```\n$ anyrestore data {' '.join(arguments)}\n{out}```" in DOCS.read_text()


def test_list_names_every_set(verb: Verb) -> None:
    _, out, _ = verb("list")
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(CATALOG)
    listed = json.loads(verb("list", "--json")[1])
    assert [entry["name"] for entry in listed] == list(CATALOG)
    assert listed[0]["splits"] == {"train": 400}
    code, out, _ = verb("list", "CDD11")
    assert code == 0
    assert "cdd11/low_haze_rain" in out


def test_check_says_what_is_wrong(verb: Verb, tmp_path: Path) -> None:
    make_set("raindrop", tmp_path, count=58, size=(16, 16))
    for part in ("train", "test_b"):
        shutil.rmtree(tmp_path / "RainDrop" / part)
    code, out, _ = verb("check", "raindrop", "--root", tmp_path, "--json", tmp_path / "report.json")
    assert code == 0
    assert out.startswith("raindrop (test): the right copy; 58 of 58 in ")
    (report,) = json.loads((tmp_path / "report.json").read_text())["reports"]
    assert report["verdict"] == "the right copy"

    (tmp_path / "RainDrop/test_a/gt/7_clean.png").unlink()
    code, out, _ = verb("check", "raindrop", "--root", tmp_path)
    assert code == 1
    assert "incomplete; 57 of 58" in out
    assert "missing (1): test_a/gt/7_rain (partner of test_a/data/7_rain.png)" in out


def test_check_of_several_sets(verb: Verb, tmp_path: Path) -> None:
    code, out, err = verb("check", "lolv1", "uieb", "--root", tmp_path)
    assert (code, out) == (3, "")
    assert "lolv1" in err
    assert "uieb" in err
    make_set("raindrop", tmp_path, count=58, size=(16, 16))
    assert verb("check", "raindrop", "--split", "test", "--root", tmp_path)[0] == 0
    assert verb("check", "raindrop", "uieb", "--split", "train", "--root", tmp_path)[0] == 1


def test_check_of_all_that_is_there(verb: Verb, tmp_path: Path) -> None:
    assert verb("check", "all", "--root", tmp_path)[0] == 3
    make_set("raindrop", tmp_path, count=58, size=(16, 16))
    (tmp_path / "holiday.png").write_bytes((tmp_path / "RainDrop/test_a/gt/1_clean.png").read_bytes())
    code, out, err = verb("check", "all", "--root", tmp_path, "--split", "test")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == ["raindrop"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list", "nothing"), 2),
        (("check", "nothing", "--root", "."), 2),
        (("check", "cbsd68", "--root", ".", "--split", "train"), 2),
        (("check", "cbsd68", "--root", "/nothing"), 2),
        (("check", "cbsd68", "--root", ".", "--json", "/nothing/a.json"), 4),
        (("prepare", "nothing", "--root", "."), 2),
        (("prepare", "cbsd68", "--root", "/nothing"), 2),
    ],
)
def test_what_cannot_be_done(verb: Verb, arguments: tuple[str, ...], code: int) -> None:
    came, out, err = verb(*arguments)
    assert (came, out) == (code, "")
    assert "xpected" in err


def test_prepare(verb: Verb, tmp_path: Path) -> None:
    code, out, _ = verb("prepare", "ots", "--root", tmp_path)
    assert code == 1
    assert "OTS/part*/ with OTS/clear/" in out
    assert "anyrestore data check ots" in out
    make_set("gopro", tmp_path, count=1, size=(512, 600))
    code, out, _ = verb("prepare", "gopro-crops", "--root", tmp_path)
    assert code == 0
    assert "4 new files, 0 were there" in out


def test_many_names_are_cut_short(tmp_path: Path) -> None:
    from anyrestore.data.check import check_set

    make_set("bsd400", tmp_path)
    lines = data.describe(check_set("bsd400", tmp_path))
    assert any(line.startswith("  missing (396): ") and line.endswith(", and 376 more") for line in lines)
