"""`anyrestore explain`: sheets, plots, numbers, and one sentence for what cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import zoo
from anyrestore.cli.main import main
from anyrestore.image import Picture, write


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    pytest.importorskip("sklearn", reason="clusters need scikit-learn")


def save(path: Path, seed: int = 0, side: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    write(Picture(pixels=pixels), path)
    return path


def explain(*arguments: object) -> int:
    return main(["explain", *(str(argument) for argument in arguments)])


def test_a_sheet_and_its_numbers(drawing: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture, out, numbers = save(tmp_path / "in.png", side=40), tmp_path / "out.pdf", tmp_path / "out.json"
    options = ("--model", "moce-tiny", "--random", "--max-side", 32, "-o", out, "--json", numbers)
    assert explain(picture, *options) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "experts: 3 of 3 places"
    assert said[-1] == str(out)
    assert out.read_bytes().startswith(b"%PDF")
    found = json.loads(numbers.read_text())
    assert (found["format"], found["model"], found["trained"]) == (1, "moce-tiny", False)
    assert (found["height"], found["width"]) == (32, 32)
    assert found["fitted"] == "middle 32 x 32 of 40 x 40 pixels"
    experts = [view for view in found["views"] if view["look"] == "experts"]
    assert [view["place"] for view in experts] == ["decoder.0.0", "decoder.1.0", "decoder.2.0"]
    assert sum(experts[0]["values"]) == pytest.approx(1)
    # The same again needs leave.
    assert explain(picture, *options) == 4
    assert "exists" in capfd.readouterr().err
    assert explain(picture, *options, "--overwrite") == 0


def test_trained_weights_from_a_file(drawing: None, tmp_path: Path) -> None:
    weights, numbers = tmp_path / "mine.safetensors", tmp_path / "out.json"
    zoo.save_weights(zoo.create_model("exda-tiny"), weights)
    done = explain(
        save(tmp_path / "in.png"),
        "--model",
        weights,
        "-o",
        tmp_path / "out.svg",
        "--json",
        numbers,
        "--look",
        "tokens",
    )
    assert done == 0
    found = json.loads(numbers.read_text())
    assert found["trained"] is True
    assert {view["look"] for view in found["views"]} == {"tokens"}


def test_random_weights_are_the_seeds(drawing: None, tmp_path: Path) -> None:
    picture = save(tmp_path / "in.png")

    def numbers(seed: int) -> Any:
        file = tmp_path / "n.json"
        options = ("--random", "--seed", seed, "--look", "spectra", "--overwrite", "--json", file)
        assert explain(picture, "--model", "tiny", "-o", tmp_path / "o.png", *options) == 0
        return json.loads(file.read_text())["views"]

    assert numbers(1) == numbers(1) != numbers(2)


def test_embeddings_of_degraded_pictures(
    drawing: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        save(tmp_path / "clean" / f"{i}.png", seed=i)
    numbers, out = tmp_path / "n.json", tmp_path / "o.png"
    options = ("--model", "tiny", "--random", "--method", "pca", "--limit", 3, "-o", out, "--json", numbers)
    recipes = ("--degrade", "low_light:1,haze:1,clean")
    assert explain("--embeddings", tmp_path / "clean", *recipes, *options) == 0
    said = capfd.readouterr().out.splitlines()
    found = json.loads(numbers.read_text())
    assert said[0] == "9 pictures, 3 labels, embeddings of 56 numbers"
    assert said[2] == f"NMI {found['nmi']:.4f}  ARI {found['ari']:.4f}"
    assert found["labels"] == {"low_light:1": 3, "haze:1": 3, "clean": 3}
    assert "contexts" in found["embedding"]
    assert [point["label"] for point in found["points"]][::3] == list(found["labels"])
    metrics = pytest.importorskip("sklearn.metrics")
    labels, clusters = ([point[key] for point in found["points"]] for key in ("label", "cluster"))
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(labels, clusters))
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters))
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "either a picture or --embeddings"),
        (("in.png", "--embeddings", "."), "either a picture or --embeddings"),
        (("in.png", "--degrade", "noise:1"), "belong to --embeddings"),
        (("--embeddings", ".", "--look", "tokens"), "belong to a picture"),
        (("in.png", "--json", "o.png"), "same file"),
        (("in.png", "--look", "auras"), "expected one of routing"),
        (("in.png", "--instruction", "too dark"), "takes none"),
    ],
)
@pytest.mark.usefixtures("drawing")
def test_wrong_options_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in.png")
    assert explain(*arguments, "--model", "tiny", "--random", "-o", "o.png") == 2
    assert says in capfd.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_models_without_weights_are_told(
    drawing: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture, out = save(tmp_path / "in.png"), tmp_path / "o.png"
    assert explain(picture, "--model", "exda-t", "-o", out) == 2
    assert "--random shows it untrained" in capfd.readouterr().err
    assert explain(picture, "--model", "a.safetensors", "--random", "-o", out) == 2
    assert "not a file" in capfd.readouterr().err
    assert explain(picture, "--model", "tiny", "--random", "-o", tmp_path / "o.jpg") == 2
    assert ".svg" in capfd.readouterr().err


def test_without_matplotlib_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = save(tmp_path / "in.png")
    assert explain(picture, "--model", "tiny", "--random", "-o", tmp_path / "o.png") == 2
    (sentence,) = capfd.readouterr().err.splitlines()
    assert 'install "anyrestore[figures]"' in sentence
