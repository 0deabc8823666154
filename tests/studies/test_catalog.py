"""Every study resolves at both budgets, and its variants differ in the studied fields and in nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrestore.errors import UsageError
from anyrestore.evaluation.published import published
from anyrestore.studies import toys
from anyrestore.studies.budgets import find_photographs, group_of, run_of, small_steps
from anyrestore.studies.catalog import STUDIES, Study, find_study
from anyrestore.training.recipes import RECIPES
from anyrestore.zoo import create_model

TRAINED = [study for study in STUDIES.values() if study.recipe is not None]
BUDGETS: list[Any] = ["small", "paper"]


def differences(one: Any, other: Any, path: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return {d for key in keys for d in differences(one.get(key), other.get(key), f"{path}.{key}")}
    return set() if one == other else {path}


def parameters(study: Study, budget: Any) -> dict[str, int]:
    found = {}
    for variant in study.trained:
        model = run_of(study, variant, budget).model
        with torch.device("meta"):
            network = create_model(model.name, **model.options)
        found[variant.name] = sum(p.numel() for p in network.parameters())
    return found


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("study", TRAINED, ids=lambda study: study.name)
def test_variants_differ_in_the_studied_fields_only(study: Study, budget: Any) -> None:
    runs = {variant.name: run_of(study, variant, budget, seed=3) for variant in study.trained}
    reference = runs[study.reference.name].to_json()
    assert reference["seed"] == 3
    for variant in study.trained[1:]:
        allowed = {".name", *(f".model.options.{field}" for field in study.studied)}
        allowed |= {f".loss.auxiliary.{name}" for name in variant.auxiliary}
        found = differences(reference, runs[variant.name].to_json())
        assert ".name" in found
        assert len(found) > 1, f"{variant.name} is the reference"
        if budget in variant.networks:  # another network as a whole
            found = {path for path in found if not path.startswith(".model.")}
        assert found <= allowed
    models = [str(run.model) for run in runs.values()]
    assert len(set(models)) == len(models)


@pytest.mark.parametrize("study", TRAINED, ids=lambda study: study.name)
def test_the_papers_budget_is_its_recipe(study: Study) -> None:
    base = RECIPES[study.recipe or ""]().to_json()
    run = run_of(study, study.reference, "paper").to_json()
    fields = {*study.common, *study.studied}
    assert differences(base, run) <= {".name", *(f".model.options.{field}" for field in fields)}


@pytest.mark.parametrize(
    "name", ["cea-factors", "cea-generator", "cea-ranknorm", "cea-targets", "exda-value"]
)
def test_the_first_row_of_the_default_is_the_default(name: str) -> None:
    study = STUDIES[name]
    base = RECIPES[study.recipe or ""]()
    assert run_of(study, study.reference, "paper").model == base.model


def test_parameters_of_the_rank_study_are_the_published_ones() -> None:
    assert parameters(STUDIES["cea-rank"], "paper") == {"r8": 9_711_526, "r4": 9_708_198, "r16": 9_718_182}


@pytest.mark.parametrize("study", TRAINED, ids=lambda study: study.name)
def test_small_networks_are_matched(study: Study) -> None:
    # Where a part is left out there are fewer parameters; most without AnyIR's gated branch (10 %).
    counts = parameters(study, "small")
    assert max(counts.values()) < 1.15 * min(counts.values())


def test_networks_have_equally_many_parameters() -> None:
    study = STUDIES["networks"]
    for budget, of_moce in (("small", 1.01), ("paper", 1.19)):  # as published, MoCE-IR-S is 18 % larger
        counts = parameters(study, budget)
        whole = counts.pop("cea")
        assert whole == {"small": 4_079_401, "paper": 9_711_526}[budget]
        assert 0.95 * whole < counts.pop("backbone") < whole
        assert counts.pop("moce") < of_moce * whole
        assert counts.pop("restormer") == pytest.approx(whole, rel=0.01)
        assert not counts


@pytest.mark.parametrize("study", TRAINED, ids=lambda study: study.name)
def test_small_is_short(study: Study) -> None:
    turns = -(-len(study.trained) // 2)
    assert small_steps(study) >= 500
    assert small_steps(study) * turns <= 3500


def test_mixtures_stand_for_the_papers_benchmarks() -> None:
    composites = run_of(STUDIES["cea-rank"], STUDIES["cea-rank"].reference, "small").mixture
    published = run_of(STUDIES["cea-rank"], STUDIES["cea-rank"].reference, "paper").mixture
    assert [part.task for part in composites.parts] == [part.task for part in published.parts]
    groups = [group_of(part.task) for part in composites.parts]
    assert {name: groups.count(name) for name in groups} == {"single": 4, "double": 5, "triple": 2}
    three = run_of(STUDIES["anyir-fusion"], STUDIES["anyir-fusion"].reference, "small").mixture
    published = run_of(STUDIES["anyir-fusion"], STUDIES["anyir-fusion"].reference, "paper").mixture
    assert [part.task for part in three.parts] == [part.task for part in published.parts]


def test_published_numbers_as_printed() -> None:
    def of(name: str) -> dict[str, tuple[float, float | None]]:
        variants = STUDIES[name].variants
        return {v.name: (v.published.psnr, v.published.ssim) for v in variants if v.published is not None}

    assert of("cea-factors") == {
        "dynamic-dense": (29.79, 0.886),
        "dynamic-top2": (29.20, 0.882),
        "static-dense": (29.01, 0.881),
        "static-top2": (28.77, 0.879),
    }
    assert of("cea-rank") == {"r8": (29.79, 0.886), "r4": (29.40, 0.884), "r16": (29.70, 0.885)}
    assert of("exda-tokens") == {
        "s2": (32.71, 0.919),
        "s1": (32.45, None),
        "s4": (32.52, None),
        "s8": (32.40, None),
    }
    assert of("anyir-components")["half"] == (30.85, None)
    assert of("moce-experts") == {}


def test_rows_of_the_whole_model_are_those_of_the_papers_tables() -> None:
    def printed(collection: str, method: str) -> tuple[float, float] | None:
        (row,) = [row for row in published(collection) if row.method == method]
        return row.average

    whole = {
        study.name: (study.reference.published.psnr, study.reference.published.ssim)
        for study in STUDIES.values()
        if study.reference.published is not None
    }
    assert {pair for name, pair in whole.items() if name.startswith("cea")} == {printed("cdd11", "CEA-IR-S")}
    for name in ("anyir-shares", "anyir-fusion"):
        assert whole[name] == printed("aio3", "AnyIR-T")


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_the_page_has_the_published_numbers(study: Study) -> None:
    page = (Path(__file__).parents[2] / "docs/studies.md").read_text(encoding="utf-8")
    (line,) = [
        line
        for line in page.split("### What the papers published")[1].splitlines()
        if f"`{study.name}`" in line and line.startswith("|")
    ]
    told = {variant.published.psnr for variant in study.variants if variant.published is not None}
    assert {float(number) for number in re.findall(r"\b\d\d\.\d\d\b", line)} == told


def test_groups_agree_with_the_published_average() -> None:
    # An average over eleven kinds: 4 single, 5 double, 2 triple.
    for study in STUDIES.values():
        for variant in study.variants:
            if variant.published is not None and variant.published.groups:
                groups = {name: psnr for name, (psnr, _) in variant.published.groups.items()}
                mean = (4 * groups["single"] + 5 * groups["double"] + 2 * groups["triple"]) / 11
                assert mean == pytest.approx(variant.published.psnr, abs=0.03), variant.name


def test_photographs_are_found(tmp_path: Any) -> None:
    assert find_photographs(None) == find_photographs(tmp_path) == (".",)
    (tmp_path / "SunHays80").mkdir()
    assert find_photographs(tmp_path) == ("SunHays80",)


def test_settings_change_all_variants() -> None:
    study = STUDIES["cea-rank"]
    runs = [run_of(study, variant, "small", settings=["steps=7"]) for variant in study.trained]
    assert [run.steps for run in runs] == [7, 7, 7]


def test_sentences() -> None:
    with pytest.raises(UsageError, match="came 'cea-ranks'"):
        find_study("cea-ranks")
    study = STUDIES["exda-toys"]
    with pytest.raises(UsageError, match="no recipe for its toys"):
        run_of(study, study.reference, "paper")


def test_toys_are_matched() -> None:
    def count(name: str) -> int:
        variant = next(v for v in STUDIES["exda-toys"].variants if v.name == name)
        return sum(p.numel() for p in toys.ToyNetwork(**variant.options).parameters())

    assert count("linear-matched") == count("nonlinear")
    assert count("linear-matched-whole") == count("nonlinear-whole")
    assert count("linear") < count("nonlinear")
