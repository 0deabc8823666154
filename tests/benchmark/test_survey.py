"""Surveys of tiny models with a clock that counts, and what is reported of them."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch

from anyrestore.benchmark import Plan, Survey, cost_plot, cost_report, count_macs, count_traffic, survey
from anyrestore.benchmark.memory import Load
from anyrestore.benchmark.published import PUBLISHED
from anyrestore.errors import ModelError, UsageError
from anyrestore.zoo import CATALOG, create_model

MODELS = ("tiny", "moce-tiny")


@pytest.fixture(autouse=True, scope="module")
def small_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(survey.REFERENCES, "cpu", (16, 4096))
        yield


def surveyed(**changes: Any) -> Survey:
    """Of 32 x 32 pixels, three runs; every look at the clock is a second later than the last."""
    plan = {"models": MODELS, "sizes": (32,), "device": "cpu", "repeats": 3, "warmup": 1, "threads": 1}
    seconds = itertools.count()
    return Survey(
        Plan(**(plan | changes)), clock=lambda: float(next(seconds)), fresh_peak=lambda name, _: len(name)
    )


@pytest.fixture(scope="module")
def done() -> Survey:
    """A finished one, for tests that only look at it."""
    made = surveyed(sizes=(32, 40))
    made.run()
    return made


def test_rows_hold_counts_memory_and_times(done: Survey) -> None:
    assert [(row.model, row.size) for row in done.rows] == [(m, s) for s in (32, 40) for m in MODELS]
    for row in done.rows:
        model = create_model(row.model)
        assert row.parameters == CATALOG[row.model].parameters
        assert row.macs == count_macs(model, row.size, row.size)
        assert row.traffic == count_traffic(model, row.size, row.size)
        assert row.estimate == model.bytes_per_pixel * row.size**2
        assert row.peak == len(row.model)
        assert row.timing.seconds == [1.0] * 3
        assert row.flops == 2 * row.macs
        assert row.traffic_rate == row.traffic
        assert row.note is None
    for size in (32, 40):
        reference = done.references[size]
        assert reference.flops == 2 * 16**3
        assert reference.copy_rate == 2 * 4096


def test_experts_that_ran_are_told(done: Survey) -> None:
    tiny, moce = done.rows[:2]
    assert tiny.experts == {}
    gates = create_model("moce-tiny").config.decoder
    assert sum(moce.experts.values()) == sum(gates)
    assert set(moce.experts) <= {1, 2, 3}


def test_experts_are_numbered_from_one() -> None:
    gates = {"a": torch.tensor([[0.0, 0.6], [0.7, 0.0]]), "b": torch.tensor([[0.0, 0.5], [0.0, 0.5]])}
    assert survey._experts(gates) == {1: 1, 2: 3}


def test_a_batch_counts_in_rates_and_in_the_estimate() -> None:
    made = surveyed(models=("tiny",), batch=2)
    made.run()
    (row,) = made.rows
    assert row.flops == 2 * 2 * row.macs
    assert row.estimate == 2 * create_model("tiny").bytes_per_pixel * 32**2


def test_sizes_are_rounded_up_as_pictures_are_padded() -> None:
    made = surveyed(models=("tiny",), sizes=(33,))
    made.run()
    assert (made.rows[0].size, made.rows[0].side) == (33, 40)
    assert made.rows[0].macs == count_macs(create_model("tiny"), 40, 40)
    assert "33 (run at 40)" in cost_report.as_table(made)


def test_what_would_not_fit_is_not_run() -> None:
    model = create_model("tiny")
    made = surveyed(models=("tiny", "nafnet-tiny"), budget=int(model.bytes_per_pixel * 32**2) - 1)
    made.run()
    tiny, nafnet = made.rows
    needed = round(model.bytes_per_pixel * 32**2) / 1e9
    assert tiny.note.startswith(f"too large, the planner expects {needed:.3g} GB and may use ")
    assert tiny.timing.runs == 0
    assert tiny.peak is None
    assert tiny.macs > 0
    assert nafnet.timing.runs == 3  # its 640 bytes a pixel fit where the other's 1,280 do not
    assert "tiny at 32: too large" in cost_report.as_table(made)
    assert json.loads(cost_report.as_json(made, ""))["rows"][0]["milliseconds"]["median"] is None


def test_a_model_whose_process_ran_out_of_memory_is_left_out() -> None:
    made = surveyed()
    made._fresh_peak = lambda name, _: None if name == "tiny" else 1
    made.run()
    assert [(row.note, row.timing.runs) for row in made.rows] == [("memory ran out", 0), (None, 3)]


def test_memory_that_runs_out_in_the_first_pass_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = surveyed(peak=False)

    class Hungry(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if image.is_meta:
                return image
            raise MemoryError

    monkeypatch.setattr(
        survey, "load", lambda name, *_, **__: Hungry() if name == "tiny" else create_model(name).eval()
    )
    made.run()
    assert [(row.note, row.timing.runs) for row in made.rows] == [("memory ran out", 0), (None, 3)]


def test_peaks_are_left_out_when_asked() -> None:
    made = surveyed(models=("tiny",), peak=False)
    made.run()
    assert made.rows[0].peak is None
    assert made.rows[0].timing.runs == 3


def test_the_child_is_told_all_that_changes_the_pass() -> None:
    told: list[Load] = []
    made = surveyed(models=("tiny",), batch=2, precision="bfloat16", channels_last=True, seed=5)
    made._fresh_peak = lambda _, what: told.append(what) or 1
    made.run()
    assert told == [Load(size=32, batch=2, precision="bfloat16", channels_last=True, threads=1, seed=5)]


def test_an_unknown_model_is_told_before_anything_is_measured() -> None:
    made = surveyed(models=("tiny", "nothing"))
    with pytest.raises(ModelError, match="nothing"):
        made.run()
    assert made.rows == []


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    made = surveyed(models=("tiny",), threads=2)
    made._fresh_peak = lambda *_: seen.append(torch.get_num_threads()) or 1
    made.run()
    assert seen == [2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": ()},
        {"models": ("tiny", "tiny")},
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (32, 32)},
        {"precision": "int8"},
        {"batch": 0},
        {"warmup": 0},
        {"seconds": float("nan")},
        {"seconds": 0.0},
    ],
)
def test_plans_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Plan(**wrong)


def test_defaults_on_a_cpu_and_all_models_of_full_size() -> None:
    made = Survey(Plan(device="cpu"))
    assert (made.warmup, made.repeats, made.seconds) == (1, 100, 6.0)
    assert {"cea-s", "promptir", "instructir"} < set(made.plan.models)
    assert not [name for name in made.plan.models if "tiny" in name]


def test_the_table_has_shares_and_the_machine(done: Survey) -> None:
    lines = cost_report.as_table(done).splitlines()
    assert lines[0].startswith(
        "cpu, 1 thread, batch 1, float32; warm-up rounds 1, at most 3 runs or about 6 s"
    )
    assert lines[1].split()[:4] == ["model", "size", "params", "M"]
    row = done.rows[0]
    cells = lines[2].split()
    assert cells[:4] == ["tiny", "32", "0.20", f"{row.macs / 1e9:.2f}"]
    assert cells[5:10] == ["1000", "1000", "to", "1000", "3"]
    assert cells[11] == f"{2 * row.macs / (2 * 16**3):.0%}"
    assert cells[13] == f"{row.traffic / (2 * 4096):.0%}"
    assert any("product of 16 x 16 matrices" in line and "at 40" in line for line in lines)
    assert any("moce-tiny at 32" in line and "x expert" in line for line in lines)
    assert not any("Published" in line for line in lines)


def test_json_is_complete_and_strict(done: Survey) -> None:
    found = json.loads(cost_report.as_json(done, "the command"))
    assert found["format"] == 1
    assert found["command"] == "the command"
    assert found["machine"]["cores"] >= 1
    assert found["settings"]["threads"] == 1
    (first, *_), (reference, *_) = found["rows"], found["references"]
    assert first["milliseconds"] == {"median": 1000.0, "lower_quartile": 1000.0, "upper_quartile": 1000.0}
    assert first["share_of_product"] == pytest.approx(first["flops"] / reference["product_flops"])
    assert first["share_of_copy"] == pytest.approx(first["traffic_rate"] / reference["copy_bytes_per_second"])
    assert first["seconds"] == [1.0] * 3


def test_published_figures_stand_beside_what_was_measured(
    done: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {cost.model for cost in PUBLISHED} <= set(CATALOG)
    monkeypatch.setattr(done.rows[0], "model", "cea-s")
    text = cost_report.as_table(done)
    assert "Published, on another machine (one NVIDIA RTX 4090, 100 warm-ups, 1,000 runs)" in text
    assert "29.92 ± 0.25  arXiv 2605.06127, table 3" in text
    assert "PromptIR" not in text


@pytest.mark.parametrize("cost", PUBLISHED, ids=lambda cost: cost.model)
def test_published_counts_are_those_of_the_zoo_within_three_percent(cost: Any) -> None:
    entry = CATALOG[cost.model]
    assert cost.parameters == pytest.approx(entry.parameters, rel=0.01)
    assert cost.gmac == pytest.approx(entry.gmac, rel=0.03)


def test_markdown_goes_into_its_place(done: Survey) -> None:
    report = cost_report.as_markdown(done, "anyrestore bench cost tiny")
    assert "\nanyrestore bench cost tiny\n" in report
    rows = [line for line in report.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(done.rows)
    assert len({line.count("|") for line in rows}) == 1
    new = cost_report.into(None, report)
    page = f"# Cost\n\n{cost_report.into(None, 'old')}\nafter\n"
    assert cost_report.into(page, report) == f"# Cost\n\n{new}\nafter\n"
    with pytest.raises(UsageError, match="expected a Markdown file with the lines"):
        cost_report.into("something else\n", report)


def test_plots_name_axes_models_and_sizes(done: Survey) -> None:
    pytest.importorskip("matplotlib")
    svg = cost_plot.plot(done, ".svg")
    ET.parse(io.BytesIO(svg))
    # matplotlib draws letters as paths and says in a comment what they spell.
    for text in ("side of the picture (pixels)", "latency of a batch of 1 (ms)", *MODELS, "32", "40"):
        assert f"<!-- {text} -->".encode() in svg
    assert cost_plot.plot(done, ".PNG").startswith(b"\x89PNG")


def test_plots_need_times_and_a_known_format(done: Survey) -> None:
    with pytest.raises(UsageError, match="times to plot"):
        cost_plot.plot(surveyed(), ".svg")
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        cost_plot.check_plot(Path("plot.jpg"))


def test_a_missing_matplotlib_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(cost_plot.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"anyrestore\[figures\]") as caught:
        cost_plot.check_plot(Path("plot.svg"))
    assert caught.value.code == "no_figures"
