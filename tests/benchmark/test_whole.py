"""`bench whole`: the planner's promise, seen from outside the process that has to keep it."""

from __future__ import annotations

import math
import re

import pytest

from anyrestore.benchmark.whole import WholeRow, as_table, measure_whole
from anyrestore.cli.main import main


def test_a_picture_within_a_limit_and_refused_below_one() -> None:
    (free, small) = measure_whole(["tiny"], [], [0.05], [None, 1 << 20], plain=True)
    assert (free.way, free.picture, free.note) == ("strips", "274x183", "")
    assert 0 < free.restore < free.whole
    assert free.plain is not None
    assert free.plain > 0
    assert free.difference is not None
    assert free.difference < 1e-5
    assert 0 < free.over < free.peak
    assert (small.way, small.kept) == ("refused", True)
    assert math.isnan(small.restore)
    assert "memory limit" in small.note


def test_the_table_says_who_went_above_a_limit() -> None:
    within = WholeRow(model="m", picture="3x2", pixels=6, limit=2 << 20, way="strips", peak=1 << 20)
    above = WholeRow(model="m", picture="3x2", pixels=6, limit=1 << 20, way="whole", peak=2 << 20)
    *_, last, count = as_table([within, above]).splitlines()
    assert last.endswith("ABOVE ITS LIMIT")
    assert count == "within the limit: 1 of 2"


@pytest.mark.parametrize(
    ("option", "value"), [("--megapixels", "big"), ("--megapixels", "0"), ("--limit", "1,much")]
)
def test_sizes_that_are_none(option: str, value: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "whole", option, value]) == 2
    assert re.search(r"expected (numbers|a size)", capfd.readouterr().err)
