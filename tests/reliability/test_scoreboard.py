"""The scoreboard itself: in a small suite of its own, with and without several processes."""

import json
import re
from pathlib import Path

import pytest

from reliability.scoreboard import FLOORS, TABLE, Scoreboard, promised

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.reliability("I1", "M1")
def test_good(): pass

@pytest.mark.reliability("I1")
@pytest.mark.parametrize("n", [0, 1])
def test_better(n): pass

@pytest.mark.reliability("I2")
@pytest.mark.parametrize("n", [0, 1])
def test_half(n): assert n == 0

@pytest.mark.reliability("B1")
def test_later(): pytest.skip("no mount here")

@pytest.mark.reliability("B2")
@pytest.mark.xfail(reason="not yet")
def test_expected(): assert False

@pytest.fixture
def broken(): raise RuntimeError("no")

@pytest.mark.reliability("I3")
def test_never(broken): pass

def test_other(): pass
"""
ROWS = ["I1", "I2", "I3", "I4", "B1", "B2", "M1", "S1"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from reliability.scoreboard import Scoreboard
        def pytest_configure(config):
            config.addinivalue_line("markers", "reliability(*rows): rows")
            config.pluginmanager.register(Scoreboard(Path("score.json"), {ROWS!r}))
    """)
    return pytester


@pytest.mark.parametrize("processes", [[], ["-n", "2"]])
def test_every_way_to_miss_a_row_is_named(suite: pytest.Pytester, processes: list[str]) -> None:
    suite.makepyfile(TESTS)
    result = suite.runpytest_subprocess("-m", "reliability", *processes)
    result.stdout.fnmatch_lines(
        [
            "RELIABILITY I 1/4",
            "  I2 not met: failed: *test_half?1?*",
            "  I3 not met: failed: *test_never*",
            "  I4 not met: no test",
            "RELIABILITY B 0/2",
            "  B1 not met: skipped: no mount here",
            "  B2 not met: skipped: not yet",
            "RELIABILITY M 1/1",
            "RELIABILITY S 0/1",
            "  S1 not met: no test",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    score = json.loads((suite.path / "score.json").read_text())
    assert {name: (section["met"], section["rows"]) for name, section in score.items()} == {
        "I": (1, 4),
        "B": (0, 2),
        "M": (1, 1),
        "S": (0, 1),
    }
    assert score["B"]["not_met"]["B1"] == "skipped: no mount here"


@pytest.mark.parametrize(("marked", "code"), [(ROWS, 0), (ROWS[:-1], 1)])
def test_below_a_floor_the_run_fails_though_no_test_did(
    suite: pytest.Pytester, marked: list[str], code: int
) -> None:
    suite.makepyfile(f"import pytest\n@pytest.mark.reliability(*{marked!r})\ndef test_all(): pass\n")
    assert suite.runpytest_subprocess("-m", "reliability").ret == code


@pytest.mark.parametrize("processes", [[], ["-n", "2"]])
def test_a_row_that_is_not_promised_is_a_mistake(suite: pytest.Pytester, processes: list[str]) -> None:
    marks = ", ".join(map(repr, [*ROWS, "I99"]))
    suite.makepyfile(f"import pytest\n@pytest.mark.reliability({marks})\ndef test_it(): pass\n")
    result = suite.runpytest_subprocess(*processes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["  I99 marks a test and is not in docs/reliability.md"])


def test_no_test_of_this_suite_is_marked_with_a_row_that_is_not_promised() -> None:
    """Found here, as most runs count no rows."""
    marks = "".join(
        found
        for path in Path(__file__).parents[1].rglob("test_*.py")
        if path.name != Path(__file__).name
        for found in re.findall(r"mark\.reliability\([^)]*\)", path.read_text(encoding="utf-8"))
    )
    rows = set(re.findall(r"\b[A-Z]\d+\b", marks))
    assert len(rows) > 50
    assert rows <= set(promised(TABLE.read_text(encoding="utf-8")))


def test_the_page_names_every_row_once() -> None:
    rows = promised(TABLE.read_text(encoding="utf-8"))
    assert len(rows) == len(set(rows))
    board = Scoreboard(Path("unused"), rows)
    counted = {name: section["rows"] for name, section in board.summary().items()}
    assert counted == {"I": 61, "B": 15, "M": 12, "S": 30}
    assert set(FLOORS) == {row[0] for row in rows}
