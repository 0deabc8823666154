"""The generator: how many, of which task and level, never ambiguous, never a held-out sentence."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from anyrestore.text import prompts as module
from anyrestore.text.instructions import read_labelled
from anyrestore.text.phrases import ASIDES, PHRASES
from anyrestore.text.prompts import LEVELS, TASKS, Prompt, generate, is_ambiguous, tasks_named

HELD_OUT = Path(__file__).parent / "held_out.tsv"


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return generate(torch.Generator().manual_seed(0))


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()


def test_there_are_more_than_ten_thousand_distinct_prompts(prompts: list[Prompt]) -> None:
    assert len(prompts) == 12_600
    assert len({prompt.text.casefold() for prompt in prompts}) == len(prompts)


def test_every_task_has_every_level_alike(prompts: list[Prompt]) -> None:
    counts = Counter((prompt.task, prompt.level) for prompt in prompts)
    assert set(counts) == {(task, level) for task in TASKS for level in LEVELS}
    assert set(counts.values()) <= {257, 258}


def test_no_prompt_is_ambiguous_before_it_is_misspelt(prompts: list[Prompt]) -> None:
    assert all(tasks_named(p.text) == {p.task} for p in prompts if p.level != "sloppy")


def test_a_seed_is_the_prompts_and_another_seed_is_others() -> None:
    first, again, other = (generate(torch.Generator().manual_seed(seed), 30) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    "text",
    [
        "Make it better.",
        "make it pop",
        "Fix my photo, it's all messed up.",
        "Something is wrong with it.",
        "It is dark and blurry.",
        "Denoise my photo. I took this at night.",
        "remove the rain and the fog",
    ],
)
def test_what_names_no_task_or_two_is_ambiguous(text: str) -> None:
    assert is_ambiguous(text)


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("the colour noise", "denoise"),
        ("My picture is too dark.", "low_light"),
        ("the airport looks foggy", "dehaze"),
        ("upscale it", "super_resolution"),
    ],
)
def test_what_names_one_is_not(text: str, task: str) -> None:
    assert tasks_named(text) == {task}


def test_every_phrase_of_the_grammar_names_its_task_and_asides_name_none() -> None:
    for task, words in PHRASES.items():
        kinds = {k: v for k, v in dataclasses.asdict(words).items() if k != "clues"}
        assert [t for kind in kinds.values() for t in kind if tasks_named(t) != {task}] == []
    assert [aside for aside in ASIDES if tasks_named(aside)] == []
    assert tuple(PHRASES) == TASKS


def test_held_out_sentences_are_many_and_none_is_generated(prompts: list[Prompt]) -> None:
    held_out = read_labelled(HELD_OUT)
    assert min(Counter(task for task, _ in held_out).values()) >= 20
    assert len({text for _, text in held_out}) == len(held_out) >= 140
    pieces = [
        text
        for words in PHRASES.values()
        for k, v in dataclasses.asdict(words).items()
        if k in ("stories", "orders")
        for text in v
    ]
    generated = {plain(prompt.text) for prompt in prompts} | {plain(text) for text in pieces}
    assert [text for _, text in held_out if plain(text) in generated] == []


def test_more_than_the_grammar_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Writer, "write", lambda _self, task, _level: PHRASES[task].stories[0])
    with pytest.raises(ValueError, match="at most as many prompts as the grammar holds, came 70"):
        generate(torch.Generator().manual_seed(0), 70)
