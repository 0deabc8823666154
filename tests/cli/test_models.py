"""`anyrestore models`: the catalogue for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from anyrestore import zoo
from anyrestore.zoo.catalog import ARCHITECTURES

KEYS = {
    *("name", "architecture", "parameters", "gmac", "weights", "license", "trained_on", "scores"),
    *("published_parameters", "published_gmac", "public_parameters", "paper"),
}


def test_json_has_exactly_the_documented_keys(command: Any) -> None:
    done = command("models", "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert [entry["name"] for entry in listed] == list(zoo.CATALOG)
    for entry in listed:
        assert set(entry) == KEYS
        assert entry["parameters"] == zoo.CATALOG[entry["name"]].parameters
        assert set(entry["paper"]) == {"name", "title", "year", "arxiv"}


def test_the_table_names_every_model_once_below_its_paper(command: Any) -> None:
    done = command("models")
    lines = done.out.splitlines()
    assert done.code == 0
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.out
    paper, name = None, ""
    rows = dict[str, str]()
    for line in lines[2:]:
        if line.startswith("    "):
            assert zoo.CATALOG[name].weights
            rows[name] += line
        elif line.startswith("  "):
            name = line.split()[0]
            assert name not in rows
            rows[name] = line
            assert paper is not None
            assert paper == ARCHITECTURES[zoo.CATALOG[name].architecture].paper.name
            assert line.split()[1] == f"{zoo.CATALOG[name].parameters / 1e6:.2f}"
        elif line:
            paper = line.split(" (")[0]
    for entry in zoo.CATALOG.values():
        tiny = entry.name.endswith("tiny")
        assert (entry.name in rows) != tiny
        assert entry.name in done.out
    assert rows["promptir"].split()[1:6] == ["35.38", "35.59", "-0.60", "%", "132.23"]
    assert rows["cea-t"].split()[2:4] == ["-", "-"]
    assert rows["cea-t"].endswith("with weights (Apache-2.0), best on cbsd68-sigma15: 32.00 dB")
    assert "weights" not in rows["restormer"]
    starts = {line.index("%") for line in rows.values() if "%" in line}
    assert len(starts) == 1  # aligned


@pytest.mark.parametrize("name", zoo.CATALOG)
def test_one_model_is_shown_in_full(name: str, command: Any) -> None:
    entry, done = zoo.CATALOG[name], command("models", name)
    paper = ARCHITECTURES[entry.architecture].paper
    assert (done.code, done.err) == (0, "")
    assert f"{name}: {paper.name}" in done.out
    assert f"{entry.parameters:,}" in done.out
    assert f"{entry.gmac:.3f}" in done.out
    assert "  width" in done.out
    assert max(len(line) for line in done.out.splitlines() if "SHA-256" not in line) <= 80
    assert ("SHA-256" in done.out) == (entry.weights is not None)
    for score in entry.scores.values():
        assert f"{score:.2f}" in done.out


def test_one_model_for_programs_has_its_configuration(command: Any) -> None:
    done = command("models", "moce-s", "--json")
    found = json.loads(done.out)
    assert set(found) == KEYS | {"config"}
    assert found["config"]["width"] == 32
    assert found["public_parameters"] == found["parameters"]


def test_a_model_that_is_not_there_is_a_sentence(command: Any) -> None:
    done = command("models", "nonsense")
    assert (done.code, done.out) == (2, "")
    assert "expected a model among cea-t" in done.err


def test_a_weights_file_says_what_it_is(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    zoo.save_weights(zoo.create_model("tiny"), path, notes="of a test", crops={64: 24_800, 128: 7_600})
    done = command("models", path)
    assert (done.code, done.err) == (0, "")
    assert "weights of cea" in done.out
    assert "crops seen      32,400 (24,800 of 64 px, 7,600 of 128 px)" in done.out
    assert "of a test" in done.out
    assert json.loads(command("models", path, "--json").out)["crops"] == {"64": 24_800, "128": 7_600}
    missing = command("models", tmp_path / "none.safetensors")
    assert (missing.code, missing.out) == (2, "")
    assert "they cannot be read: No such file" in missing.err
