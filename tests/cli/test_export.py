"""`anyrestore export`, and restoring with what it wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore import Restorer, backends, image, zoo
from anyrestore.cli.main import main
from anyrestore.errors import ModelError
from anyrestore.image import Picture
from graph_process import ENGINES, command, need, process, strict_command
from tiny_models import make, moved

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    need("onnx", *ENGINES)
    with process(os.fspath(tmp_path_factory.mktemp("cache"))) as pool:
        yield lambda *arguments: pool.submit(command, *arguments).result()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The command, with a largest loss of int8 that nothing keeps."""
    need("onnx", *ENGINES)
    with process(os.fspath(tmp_path_factory.mktemp("cache"))) as pool:
        yield lambda *arguments: pool.submit(strict_command, *arguments).result()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    zoo.save_weights(moved(make("tiny")), path, dtype=torch.float32)
    return path


@pytest.fixture(scope="module")
def exported(run: Run, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("exported") / "mine.onnx"
    code, out, err = run("export", "--weights", weights, "-o", path)
    assert (code, err) == (0, "")
    return path, out


def test_one_file_that_says_what_it_is(exported: tuple[Path, str], weights: Path) -> None:
    import hashlib

    import onnx

    path, out = exported
    assert [other.name for other in path.parent.iterdir()] == ["mine.onnx"]
    assert "mine: at most" in out
    assert "OpenVINO" in out
    assert "multiples of 8" in out
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    given, restored = (
        value.type.tensor_type.shape.dim for value in (model.graph.input[0], model.graph.output[0])
    )
    assert [d.dim_param or d.dim_value for d in given] == ["batch", 3, "height", "width"]
    assert [bool(d.dim_param) for d in restored] == [True, False, True, True]
    about = json.loads(model.metadata_props[0].value)
    assert (about["name"], about["size_multiple"], about["precision"]) == ("mine", 8, "float32")
    assert about["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert about["version"] == model.producer_version


@pytest.mark.parametrize("option", ["--weights", "--model"])
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
def test_what_was_exported_restores(
    option: str,
    backend: str,
    *,
    run: Run,
    exported: tuple[Path, str],
    weights: Path,
    tmp_path: Path,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (23, 37, 3), np.uint16)
    image.write(Picture(pixels=pixels), tmp_path / "a.png")
    code, _, err = run(
        "restore", tmp_path / "a.png", option, exported[0], "-o", tmp_path / "b.png", "--backend", backend
    )
    assert (code, err) == (0, "")
    expected = Restorer(weights, device="cpu")(pixels).astype(int)
    assert np.abs(image.read(tmp_path / "b.png").pixels.astype(int) - expected).max() <= 7  # 1e-4 of 65,535


def test_what_is_not_ours_is_refused(exported: tuple[Path, str], tmp_path: Path) -> None:
    import onnx

    plain = onnx.load(exported[0])
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    newer = onnx.load(exported[0])
    newer.metadata_props[0].value = newer.metadata_props[0].value.replace('"format": 1', '"format": 2')
    onnx.save(newer, tmp_path / "newer.onnx")
    outside = onnx.load(exported[0])
    onnx.save(outside, tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0)
    (tmp_path / "text.onnx").write_text("not a graph")
    for name, word in (
        ("plain", "found something else"),
        ("newer", "needs anyrestore >= "),
        ("outside", "in another file"),
        ("text", "found something else"),
        ("none", "cannot be read"),
    ):
        with pytest.raises(ModelError, match=word) as raised:
            backends.load_model(tmp_path / f"{name}.onnx")
        assert raised.value.code == "bad_weights"


def test_no_graph_of_a_graph_and_no_other_backend(
    run: Run, exported: tuple[Path, str], tmp_path: Path
) -> None:
    code, _, err = run("export", "--model", exported[0], "-o", tmp_path / "again.onnx")
    assert code == 2
    assert "exported file already" in err
    code, _, err = run(
        "restore", exported[0], "--model", exported[0], "--backend", "compile", "-o", tmp_path / "x.png"
    )
    assert code == 2
    assert "not by compile" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-o", "a.pt"], "ends in .onnx"),
        (["-o", "a.onnx", "--int8"], "go together"),
        (["-o", "a.onnx", "--calibrate", "."], "go together"),
        (["-o", "a.onnx", "--force"], "belong to --int8"),
        (["-o", "a.onnx", "--all"], "belong to --int8"),
        (["-o", "a.onnx", "--model", "cea-t", "--weights", "w.safetensors"], "not both"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *arguments]) == 2
    assert word in capfd.readouterr().err


def test_int8_that_loses_too_much_is_not_written(strict: Run, weights: Path, tmp_path: Path) -> None:
    import onnx

    draw = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        pixels = draw.integers(0, 256, (64, 64, 3), np.uint8)
        image.write(Picture(pixels=pixels), tmp_path / "pictures" / f"{i}.png")
    arguments = ("export", "--weights", weights, "--int8", "--all", "--calibrate", tmp_path / "pictures")
    code, out, err = strict(*arguments, "-o", tmp_path / "a.onnx")
    assert code == 2
    assert "2 held-out crops" in out
    assert "nothing was written" in err
    assert not (tmp_path / "a.onnx").exists()
    code, _, _ = strict(*arguments, "-o", tmp_path / "a.onnx", "--force")
    assert code == 0
    assert json.loads(onnx.load(tmp_path / "a.onnx").metadata_props[0].value)["precision"] == "int8"
