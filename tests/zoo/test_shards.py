"""Weights in shards: Hugging Face's layout, the same network back, and nothing that was changed passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from anyrestore import Restorer
from anyrestore.errors import ModelError, OutputError
from anyrestore.zoo import called, crops_seen, is_file, load_model, save_weights, shard_weights
from anyrestore.zoo import load_file as load_weights_file
from anyrestore.zoo.shards import INDEX

# What makes and loads networks is run under the checks of shapes in test_zoo.py.
pytestmark = pytest.mark.usefixtures("unchecked")

MOST = 160_000
"""Bytes: the largest tensor of the tiny network has 147,456."""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.safetensors"
    save_weights(tiny_models.moved(tiny_models.make("tiny")), path, notes="told", crops={64: 7, 128: 5})
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    shard_weights(whole, folder, "weights", most=MOST)
    return folder


def same(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)


def test_the_layout_is_hugging_faces(folder: Path, whole: Path) -> None:
    index = json.loads((folder / f"weights{INDEX}").read_text())
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    count = len(names)
    assert count > 1
    assert names == [f"weights-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    assert all((folder / name).stat().st_size <= MOST for name in names)
    tensors = load_file(whole)
    assert index["metadata"]["total_size"] == sum(2 * tensor.numel() for tensor in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()
    for name in names:
        held = load_file(folder / name)
        assert held.keys() == {key for key, file in index["weight_map"].items() if file == name}
        assert all(torch.equal(value, tensors[key]) for key, value in held.items())
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert index["metadata"]["anyrestore"]["shards"][name] == digest


def test_the_network_comes_back_by_index_and_by_folder(folder: Path, whole: Path) -> None:
    index = folder / f"weights{INDEX}"
    for name in (index, str(index), folder, str(folder)):
        assert is_file(name)
        assert same(load_model(name), load_model(whole))
        assert crops_seen(name) == {64: 7, 128: 5}
    assert same(Restorer(str(folder)).model, load_model(whole))
    assert same(Restorer.from_pretrained(folder).model, load_model(whole))
    assert (called(index), called(folder), called(whole), called("cea-t")) == (
        *("weights", "parts", "whole", "cea-t"),
    )
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    assert load_weights_file(index)[1] == load_weights_file(folder)[1] == digest


def test_a_folder_of_several_stands_for_its_best(folder: Path, whole: Path) -> None:
    shard_weights(whole, folder, "other", most=MOST)
    with pytest.raises(ModelError, match=r"holds those of other\.safe.*, weights\.safe.*name one") as caught:
        load_model(folder)
    assert caught.value.code == "bad_weights"
    save_weights(tiny_models.make("tiny"), whole, crops={64: 1})
    shard_weights(whole, folder, "best", most=MOST)
    assert crops_seen(folder) == {64: 1}
    assert same(load_model(folder), load_model(whole))


def test_shards_of_an_earlier_time_go(folder: Path, whole: Path) -> None:
    (folder / "weights.txt").write_text("a note")
    written = shard_weights(whole, folder, "weights", most=10 * MOST)
    assert len(written) == 2
    assert sorted(folder.iterdir()) == sorted([*written, folder / "weights.txt"])


def test_one_tensor_larger_than_a_shard_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="expected shards of at most 5,000 bytes, but one") as caught:
        shard_weights(whole, tmp_path, "weights", most=5_000)
    assert caught.value.code == "output_unsupported"
    assert not list(tmp_path.glob("weights*"))


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = tiny_models.make("tiny")
    with torch.no_grad():
        next(model.parameters()).flatten()[0] = 1e5
    path = tmp_path / "large.safetensors"
    save_weights(model, path, dtype=torch.float32)
    with pytest.raises(ModelError, match=r"expected weights that torch\.float16 can hold.*train on from"):
        shard_weights(path, tmp_path, "weights", most=MOST)


def first(folder: Path) -> Path:
    return min(folder.glob("*-00001-of-*"))


def flip(folder: Path) -> None:
    data = bytearray(first(folder).read_bytes())
    data[-1] ^= 1
    first(folder).write_bytes(data)


def of_another_export(folder: Path) -> None:
    """Sound by itself, the same tensors, other numbers."""
    kept = {path: path.read_bytes() for path in folder.iterdir() if path != first(folder)}
    save_weights(tiny_models.make("tiny"), folder / "a.safetensors", notes="told", crops={64: 7, 128: 5})
    shard_weights(folder / "a.safetensors", folder, "weights", most=MOST)
    for path, data in kept.items():
        path.write_bytes(data)


def of_more_crops(folder: Path) -> None:
    save_weights(tiny_models.make("tiny"), folder / "a.safetensors", notes="told", crops={64: 8})
    index = (folder / f"weights{INDEX}").read_bytes()
    shard_weights(folder / "a.safetensors", folder, "weights", most=MOST)
    (folder / f"weights{INDEX}").write_bytes(index)


def indexed(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / f"weights{INDEX}"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (flip, "is not the shard that weights"),
    "of another export": (of_another_export, "is not the shard that weights"),
    "of other words": (of_more_crops, "is not the shard that weights"),
    "one missing": (lambda folder: first(folder).unlink(), "one cannot be read: No such file"),
    "no shard": (lambda folder: first(folder).write_bytes(b"x" * 99), "is not the shard that weights"),
    "no index": (lambda folder: (folder / f"weights{INDEX}").write_text("[]"), "expected the index of"),
    "another's index": (
        lambda folder: indexed(folder, lambda c: c["metadata"].pop("anyrestore")),
        "expected the index of",
    ),
    "a shard elsewhere": (
        lambda folder: indexed(
            folder, lambda c: c["metadata"]["anyrestore"]["shards"].update({"../a.safetensors": "0"})
        ),
        "expected the index of",
    ),
    "a tensor in no shard": (
        lambda folder: indexed(folder, lambda c: c["weight_map"].update({"x": first(folder).name})),
        "is not the shard that weights",
    ),
    "newer": (
        lambda folder: indexed(folder, lambda c: c["metadata"]["anyrestore"].update(format=9)),
        "needs a",
    ),
    "negative crops": (
        lambda folder: indexed(folder, lambda c: c["metadata"]["anyrestore"].update(crops={"64": -1})),
        "found something else",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_was_changed_is_refused(folder: Path, case: str) -> None:
    change, sentence = WRONG[case]
    change(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(folder)
    assert caught.value.code == "bad_weights"


def test_a_single_shard_says_what_it_is(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"is one of several shards; give their index"):
        load_model(first(folder))


def test_what_says_nothing_of_crops(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_weights(tiny_models.make("tiny"), path)
    for name in (path, tmp_path / "missing.safetensors", "no-model", tmp_path):
        assert crops_seen(name) is None
