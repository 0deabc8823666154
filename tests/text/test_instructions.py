"""The head: training, file, held-out sentences."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anyrestore.errors import ModelError, UsageError
from anyrestore.text import instructions as module
from anyrestore.text.encoder import SentenceEncoder
from anyrestore.text.instructions import (
    HeadTraining,
    InstructionHead,
    Instructions,
    load_head,
    main,
    make_head,
    read_labelled,
    save_head,
    train_head,
    worst_confusions,
)
from anyrestore.text.prompts import TASKS

HELD_OUT = Path(__file__).parent / "held_out.tsv"


def clusters(seed: int = 0, count: int = 700) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors around a direction a task."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(len(TASKS), 384)
    tasks = torch.arange(count) % len(TASKS)
    vectors = centres[tasks] + 0.03 * torch.randn(count, 384, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=1), tasks


def test_training_tells_tasks_apart_in_seconds_and_is_one_seed() -> None:
    sentences, tasks = clusters()
    before, state = time.perf_counter(), torch.get_rng_state()
    made = [train_head(sentences, tasks, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert time.perf_counter() - before < 30
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
    unseen, right = clusters(seed=1)
    meaning = made[0](unseen)
    assert (meaning.logits.argmax(dim=1) == right).float().mean() > 0.98
    torch.testing.assert_close(meaning.vectors.norm(dim=1), torch.ones(len(unseen)))
    first, again, other = (m.projection.weight for m in made)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_head_goes_through_its_file(tmp_path: Path) -> None:
    head = train_head(*clusters(count=70), torch.Generator().manual_seed(0), how=HeadTraining(epochs=1))
    save_head(head, tmp_path / "head.safetensors")
    back = load_head(tmp_path / "head.safetensors")
    sentences, _ = clusters(seed=2, count=7)
    torch.testing.assert_close(back(sentences).logits, head(sentences).logits, rtol=2e-3, atol=2e-3)
    assert back.encoder == "minilm"


def test_the_head_that_ships_is_small_and_fits() -> None:
    file = Path(module.__file__).parent / "files" / "minilm.safetensors"
    assert file.stat().st_size < 1_000_000
    head = load_head()
    assert (head.encoder, head.projection.in_features, head.projection.out_features) == ("minilm", 384, 256)


@pytest.mark.parametrize("kind", ["missing", "junk", "network", "tasks", "not finite"])
def test_other_files_are_refused_with_a_sentence(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "head.safetensors"
    if kind == "junk":
        path.write_bytes(b"junk" * 100)
    elif kind == "network":
        save_file({"a": torch.zeros(1)}, path, metadata={"anyrestore": '{"architecture": "cea"}'})
    elif kind == "tasks":
        monkeypatch.setattr(module, "TASKS", ("a", "b"))
        save_head(InstructionHead(tasks=2), path)
        monkeypatch.undo()
    elif kind == "not finite":
        head = InstructionHead()
        with torch.no_grad():
            head.projection.weight[0, 0] = float("nan")
        save_head(head, path)
    with pytest.raises(ModelError, match="expected an instruction head in"):
        load_head(path)


def test_encoder_and_head_must_belong_together(encoder: SentenceEncoder) -> None:
    with pytest.raises(ModelError, match="the head belongs to bge-micro-v2, the encoder is minilm"):
        Instructions(InstructionHead("bge-micro-v2"), encoder)


def test_an_instruction_without_words_is_refused(instructions: Instructions) -> None:
    with pytest.raises(UsageError, match="expected words, came none"):
        instructions(["  "])


def test_held_out_sentences_are_understood(instructions: Instructions) -> None:
    """At least 95 % of sentences written by hand, which share no sentence with the generator."""
    share, found = worst_confusions(instructions, read_labelled(HELD_OUT))
    worst = "\n".join(f"{c.margin:+.2f} {c.task} / {c.taken_for}: {c.text}" for c in found[:10])
    assert share >= 0.95, worst


def test_two_wishes_are_both_heard(instructions: Instructions) -> None:
    heard = instructions.understand("it is too dark and there is rain on it")
    assert set(list(heard)[:2]) == {"low_light", "derain"}
    assert sum(heard.values()) == pytest.approx(1)


def test_the_prompts_train_a_head_again(encoder: SentenceEncoder) -> None:
    """With a tenth of the prompts; what ships was trained on all of them."""
    head = make_head(encoder, per_task=140)
    share, _ = worst_confusions(Instructions(head, encoder), read_labelled(HELD_OUT))
    assert share > 0.8


def test_the_command_lists_the_worst(instructions: Instructions, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--confusions", str(HELD_OUT)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("154 sentences, 9")
    margins = [float(line.split()[0]) for line in lines[1:11]]
    assert margins == sorted(margins)


def test_a_file_of_something_else_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.tsv").write_text("dance\tplain\tMake it dance.\n")
    assert main(["--confusions", str(tmp_path / "bad.tsv")]) == 2
    assert capsys.readouterr().err.startswith("error: expected a task of denoise, ")
    (tmp_path / "empty.tsv").touch()
    assert main(["--confusions", str(tmp_path / "empty.tsv")]) == 2
    assert "came none" in capsys.readouterr().err
