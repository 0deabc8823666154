"""`anyrestore models`: the catalogue for people and for programs."""

import json
from typing import Any

from anyrestore import zoo


def test_json_has_exactly_the_documented_keys(command: Any) -> None:
    done = command("models", "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert [entry["name"] for entry in listed] == list(zoo.CATALOG)
    for entry in listed:
        assert set(entry) == {
            "name",
            "architecture",
            "parameters",
            "gmac",
            "weights",
            "license",
            "trained_on",
            "scores",
        }
        assert entry["parameters"] == zoo.CATALOG[entry["name"]].parameters


def test_the_table_names_every_model_on_a_line(command: Any) -> None:
    done = command("models")
    lines = done.out.splitlines()
    assert done.code == 0
    assert len(lines) == 1 + len(zoo.CATALOG)
    for line, entry in zip(lines[1:], zoo.CATALOG.values(), strict=True):
        assert line.startswith(entry.name)
        assert f"{entry.parameters:,}" in line
