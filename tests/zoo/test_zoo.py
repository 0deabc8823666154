"""The catalogue's numbers, counted again; weights files, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anyrestore.benchmark.cost import count_macs, count_parameters
from anyrestore.errors import ModelError
from anyrestore.zoo import CATALOG, create_model, default_model, load_model, load_weights, save_weights


@pytest.mark.parametrize("name", CATALOG)
def test_the_catalogue_states_what_is_counted(name: str) -> None:
    entry = CATALOG[name]
    with torch.device("meta"):
        model = create_model(name)
    assert entry.name == name
    assert count_parameters(model) == entry.parameters
    assert round(count_macs(model) / 1e9, 3) == entry.gmac


@pytest.mark.parametrize("name", [e.name for e in CATALOG.values() if e.published_parameters])
def test_counts_are_within_2_percent_of_the_papers_parameters_and_5_of_its_gmac(name: str) -> None:
    entry = CATALOG[name]
    assert entry.published_parameters is not None
    assert abs(entry.parameters / entry.published_parameters - 1) < 0.02
    if entry.published_gmac is not None:
        assert abs(entry.gmac / entry.published_gmac - 1) < 0.05


def test_the_table_of_the_documentation_is_the_catalogue() -> None:
    """Rows are | preset | parameters | published | public code | G | published G |."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 6 and row[0] in CATALOG}

    def number(cell: str) -> float | None:
        """Without thousands' commas, the unit and the letter of a footnote."""
        words = cell.replace(",", "").split()
        return float(words[0]) * (1e6 if "M" in words else 1) if words else None

    with_counts = {e.name for e in CATALOG.values() if e.published_parameters or e.public_parameters}
    assert with_counts <= set(table)
    for name, (parameters, published, public, gmac, published_gmac) in table.items():
        entry = CATALOG[name]
        assert number(parameters) == entry.parameters
        assert number(published) == pytest.approx(entry.published_parameters)
        assert number(public) == entry.public_parameters
        assert number(gmac) == round(entry.gmac, 2)
        assert number(published_gmac) == entry.published_gmac


@pytest.mark.parametrize("name", [e.name for e in CATALOG.values() if e.weights])
def test_shipped_weights_load_and_are_described(name: str) -> None:
    entry, model = CATALOG[name], load_model(name)
    assert count_parameters(model) == entry.parameters
    assert not model.training
    assert entry.license
    assert entry.trained_on
    assert entry.scores
    assert entry.sha256


def test_the_default_model_ships() -> None:
    assert CATALOG[default_model("cpu")].weights
    assert CATALOG[default_model("cuda")].weights


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    model = create_model("tiny", rank=2).eval()
    save_weights(model, tmp_path / "w.safetensors", dtype=torch.float32)
    again = load_weights(tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert again.config == model.config
    assert torch.equal(again(x), model(x))


def test_half_precision_weights_are_half_the_size_and_nearly_the_same(tmp_path: Path) -> None:
    model = create_model("tiny").eval()
    save_weights(model, tmp_path / "full.safetensors", dtype=torch.float32)
    save_weights(model, tmp_path / "half.safetensors")
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(load_weights(tmp_path / "half.safetensors")(x), model(x), rtol=0, atol=5e-3)


def test_weights_that_half_precision_cannot_hold_are_not_stored(tmp_path: Path) -> None:
    model = create_model("tiny")
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = 1e5
    with pytest.raises(ModelError, match="store float32"):
        save_weights(model, tmp_path / "w.safetensors")
    assert not any(tmp_path.iterdir())
    save_weights(model, tmp_path / "w.safetensors", dtype=torch.float32)


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_weights(create_model("tiny"), path)
    load_weights(path, sha256=digest)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not the ones that were released"):
        load_weights(path, sha256=digest)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ModelError, match="cea-t, cea-s"):
        load_model("nonsense")
    with pytest.raises(ModelError, match="no option depth"):
        create_model("tiny", depth=3)
    with pytest.raises(ModelError, match="no cea network"):
        create_model("tiny", width=10**9)
    with pytest.raises(ModelError, match="no weights ship for cea"):
        load_model("cea")


def test_bad_weights_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_weights(create_model("tiny"), good)
    data = good.read_bytes()
    tensors = load_file(good)
    header = {
        "anyrestore": json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][
            "anyrestore"
        ]
    }
    first = next(iter(tensors))

    def refused(content: bytes | None, match: str, **changed: object) -> None:
        path = tmp_path / "bad.safetensors"
        if content is None:
            metadata = {
                "anyrestore": json.dumps(json.loads(header["anyrestore"]) | changed.pop("header", {}))
            }  # type: ignore[operator]
            save_file(changed.pop("tensors", tensors), path, metadata=metadata)  # type: ignore[arg-type]
        else:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=match):
            load_weights(path)

    refused(b"", "found something else")
    refused(b"\x80\x02pickle", "nothing of it was run")
    refused(b"\xff" * 100, "found something else")
    refused((500_000).to_bytes(8, "little") + b'{"a":' + b"[" * 500_000, "found something else")
    refused(data[: len(data) // 2], "damaged")
    refused(None, "of a newer format", header={"format": 99})
    refused(None, "architecture among", header={"architecture": "../../evil"})
    refused(None, "no cea network", header={"config": {"width": 10**9}})
    terabytes = {"width": 4096, "encoder": [200, 200, 200]}
    refused(None, "do not fit", header={"config": terabytes})
    refused(None, "do not fit", tensors={k: v for k, v in tensors.items() if k != first})
    refused(None, "do not fit", tensors=tensors | {"extra": torch.zeros(1)})
    refused(None, "its checksum", tensors=tensors | {first: tensors[first] + 1})
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(tmp_path / "missing.safetensors")
