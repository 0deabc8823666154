"""`bench train`: the ladder on the smallest network, what fits into a time, what is told."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from anyrestore.benchmark import survey
from anyrestore.errors import UsageError
from anyrestore.training import speed, speed_report
from anyrestore.training.run import Model, Phase, Run

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(survey.REFERENCES, "cpu", (16, 4096))
    monkeypatch.setitem(speed._WINDOW, "cpu", 1e-6)  # a step a window


def phases(run: Run, *phases: Phase) -> Run:
    return dataclasses.replace(run, phases=phases)


def test_the_main_phase_is_that_of_most_crops(miniature: Run) -> None:
    short, long = Phase(until=0.3, crop=16, batch=32), Phase(until=1.0, crop=24, batch=8)
    assert speed.main_phase(phases(miniature, short, long)) == short
    in_epochs = dataclasses.replace(phases(miniature, short, long), steps=None, epochs=1.0)
    assert speed.main_phase(in_epochs) == long  # there the shares are of the crops


def test_what_fits_into_a_time_counts_larger_crops_by_their_pixels(miniature: Run) -> None:
    run = phases(miniature, Phase(until=0.5, crop=16, batch=8), Phase(until=1.0, crop=32, batch=4))
    # A pair of steps: 8 crops, and 4 that cost four times as much.
    steps, crops = speed.steps_within(run, seconds=24, rate=100)
    assert steps == 2 * 100
    assert crops == 100 * 12


def test_rows_with_data_and_what_to_paste(small_machine: None, miniature: Run, training_root: Path) -> None:
    ladder = speed.Ladder(
        miniature, training_root, device="cpu", cache_bytes=1 << 20, compiled=False, seconds=1e-3
    )
    ladder.measure()
    names = ["fp32", "bf16", "+ channels_last", "+ compile", "+ fused optimiser", "+ feed"]
    assert [rung.name for rung in ladder.rungs] == names
    timed = [rung for rung in ladder.rungs if rung.name != "+ compile"]
    assert ladder.rungs[3].note == "left out"
    assert all(rung.timing.runs == 5 and rung.rate > 0 and rung.peak for rung in timed)
    assert [rung.switches.compiled for rung in timed] == [False] * 5
    assert [rung.switches.fused for rung in timed] == [False, False, False, True, True]
    assert ladder.run.phases[0].crop == 16  # the first phase has 16 crops, the second 10
    costs = {rung.cost.flops for rung in timed if rung.cost is not None and not rung.fed}
    assert len(costs) == 1  # counted by shape, so the same in every precision
    text = speed_report.as_table(ladder)
    assert text.count("\n") == 1 + len(names) + 1 + 1
    assert "+ compile: left out" in text
    # The best row is the third; the feed made the last two rows' difference.
    for rung, seconds in zip(timed, (4.0, 3.0, 1.0, 2.0, 2.5), strict=True):
        rung.crops, rung.timing.seconds = 1, [seconds]
    line = speed_report.schedule_line(ladder, dataclasses.replace(miniature, epochs=None), 60)
    assert line is not None
    assert line.startswith("60 minutes at 0.7 crops/s (+ channels_last and the feed)")
    assert line.endswith(": --set steps=564 --set precision=bf16 --channels-last")


def test_a_compiler_that_fails_or_is_missing_is_told_and_the_rest_is_measured(
    small_machine: None, miniature: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed.shutil, "which", lambda name: None)
    assert "there is none" in (speed.Ladder(miniature, device="cpu")._no_compiler() or "")
    monkeypatch.setattr(speed.shutil, "which", lambda name: f"/usr/bin/{name}")

    class Failing(speed.Stepper):
        def __init__(self, *args: Any, compiled: bool, **more: Any) -> None:
            super().__init__(*args, **more)
            self.fails = compiled

        def advance(self, raw: Any, **more: Any) -> None:
            if self.fails:
                raise RuntimeError("backend=inductor raised\nand more")
            super().advance(raw, **more)

    monkeypatch.setattr(speed, "Stepper", Failing)
    ladder = speed.Ladder(miniature, device="cpu", seconds=1e-3)
    ladder.measure()
    assert ladder.rungs[3].note == "not measured: backend=inductor raised"
    assert not ladder.rungs[4].switches.compiled
    assert ladder.rungs[4].rate > 0


def test_steps_that_are_not_finite_are_told(
    small_machine: None, miniature: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrestore.training import stepping

    real = stepping.image_losses
    monkeypatch.setattr(stepping, "image_losses", lambda *args: real(*args) * math.nan)
    monkeypatch.setattr(speed.Ladder, "_plan", lambda self: iter([("fp32", speed.Switches(), False)]))
    ladder = speed.Ladder(miniature, device="cpu", compiled=False, seconds=1e-3)
    ladder.measure()
    assert "not finite" in (ladder.rungs[0].note or "")


def test_what_cannot_be_measured_is_refused(miniature: Run) -> None:
    with pytest.raises(UsageError, match="more than 0 seconds"):
        speed.Ladder(miniature, device="cpu", seconds=0)
    unknown = dataclasses.replace(miniature, model=Model(name="another"))
    with pytest.raises(UsageError, match="has no network"):
        speed.Ladder(unknown, device="cpu")
