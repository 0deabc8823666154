"""Counting the promises of docs/reliability.md: which of them the tests of this run have shown.

`pytest -m reliability --scoreboard=FILE` prints a line per section, names each row that is not met with the
reason, writes FILE as JSON, and fails below the floors. Rows travel in the reports' user properties, so that
tests may run in other processes (pytest-xdist).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "reliability.md"
FLOORS = {"I": 0.95, "B": 0.95, "M": 1.0, "S": 0.95}
_PROPERTY = "reliability"


def promised(table: str) -> list[str]:
    """The rows of the page, in its order."""
    return re.findall(r"^\| ([IBMS]\d+) \|", table, re.MULTILINE)


@dataclass
class Row:
    """What became of the tests that are marked with one row."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        """Why the row is not met; None if it is."""
        if self.failed:
            return f"failed: {', '.join(dict.fromkeys(self.failed))}"
        if self.skipped:
            return f"skipped: {'; '.join(dict.fromkeys(self.skipped))}"
        return None if self.passed else "no test"


class Scoreboard:
    """The plugin; registered by tests/conftest.py when the option is given."""

    def __init__(self, target: Path, rows: Iterable[str]) -> None:
        self.target = target
        self.rows = {row: Row() for row in rows}
        self.strangers = set[str]()  # what marks a test and stands nowhere on the page

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Write the rows of each test where its reports carry them."""
        for item in items:
            named = {row for mark in item.iter_markers("reliability") for row in mark.args}
            item.user_properties += [(_PROPERTY, row) for row in sorted(named)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test's call, or the setup or teardown that failed or skipped it."""
        for name, row in report.user_properties:
            if name != _PROPERTY:
                continue
            if row not in self.rows:
                self.strangers.add(str(row))
            elif report.failed:
                self.rows[str(row)].failed.append(report.nodeid)
            elif report.skipped:
                self.rows[str(row)].skipped.append(_reason(report))
            elif report.when == "call":
                self.rows[str(row)].passed += 1

    def summary(self) -> dict[str, dict[str, object]]:
        """A section's met rows, all its rows, its floor, and what is not met."""
        found = dict[str, dict[str, object]]()
        for section, floor in FLOORS.items():
            rows = {name: row for name, row in self.rows.items() if name[0] == section}
            missing = {name: row.problem for name, row in rows.items() if row.problem is not None}
            met = len(rows) - len(missing)
            found[section] = {
                "met": met,
                "rows": len(rows),
                "floor": floor,
                "enough": met >= floor * len(rows),
                "not_met": missing,
            }
        return found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file, and fail below a floor, or for a row that nobody promised."""
        if hasattr(session.config, "workerinput"):
            return  # one process among several of pytest-xdist: it has seen its own tests only
        summary = self.summary()
        self.target.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        good = all(section["enough"] for section in summary.values()) and not self.strangers
        if session.exitstatus == pytest.ExitCode.OK and not good:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The lines that people and scripts read."""
        for section, score in self.summary().items():
            terminalreporter.write_line(f"RELIABILITY {section} {score['met']}/{score['rows']}")
            assert isinstance(score["not_met"], dict)
            for row, problem in score["not_met"].items():
                terminalreporter.write_line(f"  {row} not met: {problem}")
        for row in sorted(self.strangers):
            terminalreporter.write_line(f"  {row} marks a test and is not in docs/reliability.md")


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "") or "skipped")
