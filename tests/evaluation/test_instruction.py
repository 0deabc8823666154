"""Models that are told what to do; a stand-in hears the words, so no extra is needed."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from anyrestore import zoo
from anyrestore.architectures.instructir import InstructIR
from anyrestore.cli.evaluate import add_parser, run
from anyrestore.errors import DataError, ModelError, UsageError
from anyrestore.evaluation import BENCHMARKS, PROTOCOLS, evaluate, instruction, runner
from anyrestore.evaluation.benchmarks import folder_benchmark
from anyrestore.evaluation.comparison import compare, summarise
from anyrestore.evaluation.instruction import Instructor, Told
from anyrestore.evaluation.page import page
from anyrestore.evaluation.results import read_results
from anyrestore.inference import restorer
from anyrestore.text import encoder
from anyrestore.text.instructions import Instructions, Meaning
from anyrestore.text.sentences import FIXED
from stored_results import content_of, entries_from, write
from told_network import told_network

PROMPTIR = PROTOCOLS["promptir"]
heard: list[Sequence[str]] = []


class Heard(Instructions):
    """Sentences of different lengths have different vectors."""

    def __init__(self, head: Path | None = None) -> None:
        self.given = head

    def __call__(self, sentences: Sequence[str]) -> Meaning:
        heard.append(sentences)
        vectors = torch.stack([torch.eye(256)[len(sentence)] for sentence in sentences])
        return Meaning(vectors, torch.zeros(len(sentences), 7))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> InstructIR:
    monkeypatch.setattr(instruction, "Instructions", Heard)
    heard.clear()
    return told_network()


@pytest.fixture
def weights(model: InstructIR, tmp_path: Path) -> Path:
    zoo.save_weights(model, tmp_path / "told.safetensors", dtype=torch.float32)
    return tmp_path / "told.safetensors"


def call(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return run(parser.parse_args(["evaluate", *map(str, words)]))


def test_every_benchmark_has_something_to_say(model: InstructIR) -> None:
    sentences = Instructor(model, list(BENCHMARKS.values())).sentences
    assert set(sentences) == set(BENCHMARKS)
    assert len(heard) == 1, "each sentence is encoded once"
    assert len(heard[0]) == len(set(heard[0]))
    for name, task in (
        ("cbsd68-sigma25", "denoise"),
        ("rain100l", "derain"),
        ("sots", "dehaze"),
        ("lolv1", "low_light"),
        ("gopro", "deblur"),
    ):
        assert sentences[name] == FIXED[task]
    both = sentences["cdd11-low_rain"]
    assert "dark" in both
    assert "rain" in both


def test_each_benchmark_is_told_its_own_sentence_and_stores_it(model: InstructIR, root: Path) -> None:
    names = [BENCHMARKS["rain100l"], BENCHMARKS["lolv1"]]
    rain, dark = evaluate(model, names, root, PROMPTIR, progress=False)
    assert (rain.instruction, dark.instruction) == (FIXED["derain"], FIXED["low_light"])
    both = evaluate(model, names, root, PROMPTIR, instruction=FIXED["low_light"], progress=False)
    assert [score.instruction for score in both] == [FIXED["low_light"]] * 2
    assert both[0].psnr != rain.psnr
    assert both[1].psnr == dark.psnr
    by_hand = next(iter(BENCHMARKS["lolv1"].samples(root, crop_multiple=16)))
    with torch.inference_mode():
        vector = torch.eye(256)[len(FIXED["low_light"])][None]
        output = PROMPTIR.prepare(model(by_hand.degraded, vector), by_hand.target)
    assert dark.images[0].psnr == PROMPTIR.psnr(output, by_hand.target)


def test_tiles_hear_it_too(model: InstructIR, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dark = [BENCHMARKS["lolv1"]]
    (score,) = evaluate(model, dark, root, PROMPTIR, tile=32, limit=1, progress=False)
    assert score.images[0].tile == 32
    monkeypatch.setattr(restorer, "Instructions", Heard)
    by_hand = restorer.Restorer(model, device="cpu", tile=32, instruction=FIXED["low_light"])
    sample = next(iter(dark[0].samples(root, crop_multiple=16)))
    output = PROMPTIR.prepare(by_hand(sample.degraded), sample.target)
    assert score.psnr == PROMPTIR.psnr(output, sample.target)


def test_a_told_network_is_a_restorer_of_its_own(model: InstructIR) -> None:
    told = Told(model, torch.ones(1, 256))
    assert not instruction.takes_instruction(told)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(told(image), model(image, torch.ones(1, 256)))
        assert not torch.equal(told(image), model(image))
    with pytest.raises(AssertionError):
        next(iter(runner.iterate(model, [], Path(), PROMPTIR)))


def test_the_command_says_what_was_told_and_other_words_are_another_run(
    weights: Path, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", weights, "--benchmark", "rain100l,lolv1", "--root", root, "--limit", "1")
    assert call(*words, "--out", tmp_path / "own") == 0
    assert f'told "{FIXED["derain"]}": rain100l' in capfd.readouterr().out
    assert call(*words, "--out", tmp_path / "own") == 0, "it goes on with the same words"
    said = ("--instruction", "too dark")
    with pytest.raises(DataError, match="with the instruction 'too dark', and it was with 'Remove") as caught:
        call(*words, "--out", tmp_path / "own", *said)
    assert caught.value.code == "run_differs"
    assert "goes on" not in capfd.readouterr().err.splitlines()[-1]
    assert call(*words, "--out", tmp_path / "dark", *said) == 0
    content = json.loads((tmp_path / "dark" / "results.json").read_text())
    assert [entry["instruction"] for entry in content["entries"]] == ["too dark"] * 2
    assert "--instruction 'too dark'" in content["command"]
    with pytest.raises(DataError, match=r"with instruction_head [0-9a-f]{64}, and it was with None"):
        call(*words, "--out", tmp_path / "dark", *said, "--instruction-head", weights)
    own, dark = (read_results(tmp_path / name) for name in ("own", "dark"))
    assert own.entry("lolv1").instruction == FIXED["low_light"]
    assert "too dark" in page([dark], resamples=5)
    for refused in (
        lambda: compare([own], [dark]),
        lambda: summarise([own, dark]),
        lambda: page([own, dark]),
    ):
        with pytest.raises(UsageError, match="instructions of rain100l differ") as error:
            refused()
        assert error.value.code == "results_differ"


def test_a_model_that_is_told_stands_beside_one_that_is_not(tmp_path: Path) -> None:
    told, silent = entries_from({"a": [1.0, 2.0]}), entries_from({"a": [3.0, 4.0]})
    told[0]["instruction"] = "too dark"
    a, b = (
        read_results(write(tmp_path / f"{i}", content_of(entries)))
        for i, entries in enumerate((told, silent))
    )
    assert compare([a], [b]).lines[0].n == 2


def test_a_model_that_takes_none_is_not_told(root: Path) -> None:
    for name in ("identity", "cea-t"):
        with pytest.raises(UsageError, match="finds out by itself"):
            call("--model", name, "--benchmark", "lolv1", "--root", root, "--instruction", "too dark")


def test_a_folder_of_ones_own_needs_words(model: InstructIR, root: Path) -> None:
    own = [folder_benchmark(root / "LOLv1-eval15")]
    with pytest.raises(UsageError, match="--instruction for LOLv1-eval15"):
        evaluate(model, own, root, PROMPTIR, progress=False)
    (score,) = evaluate(model, own, root, PROMPTIR, instruction="too dark", limit=1, progress=False)
    assert score.instruction == "too dark"


def test_without_the_encoder_nothing_is_begun(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModelError(name, code="no_encoder")

    monkeypatch.setattr(encoder, "_import", missing)
    weights = tmp_path / "told.safetensors"
    zoo.save_weights(zoo.create_model("instructir-tiny"), weights)
    with pytest.raises(ModelError) as caught:
        call("--model", weights, "--benchmark", "lolv1", "--root", root, "--out", tmp_path / "out")
    assert caught.value.code == "no_encoder"
    assert not (tmp_path / "out").exists()


def test_a_head_that_does_not_fit_is_refused(model: InstructIR) -> None:
    model.instruction_width = 128
    with pytest.raises(ModelError, match="instructions of 128 numbers, the text head gives 256"):
        Instructor(model, [BENCHMARKS["lolv1"]])
