"""A generator of prompts: tasks x language levels x phrasing, with the ambiguous ones left out.

InstructIR (arXiv 2401.16468, section 3.1) had GPT-4 write more than 10,000 prompts for seven tasks, at
several levels of language, and took out the ambiguous ones. Here a small grammar puts the words of `phrases`
together; a typist with a seed adds the mistakes. A prompt is *ambiguous* when, before any typing mistake, it
holds the clues of no task ("Make it better.") or of two ("Denoise my photo. I took this at night.").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from anyrestore.text.phrases import ASIDES, PHRASES

#: The order of the classification head's outputs.
TASKS: tuple[str, ...] = ("denoise", "deblur", "dehaze", "derain", "low_light", "super_resolution", "retouch")
LEVELS = ("plain", "polite", "casual", "technical", "story", "short", "sloppy")


def _choices(text: str) -> tuple[str, ...]:
    """What stands between the bars; line ends do not count."""
    return tuple(" ".join(part.split()) if part.strip() else "" for part in text.split("|"))


_PICTURES = _choices("""
    this picture | my picture | the photo | my photo | this photo | this image | the image | this
    shot | the photograph | it | this portrait | this landscape | the attached picture | my old
    photograph | this scan | this frame
""")
_SHORT = _choices("""
    photo | pic | image | picture | shot | img | selfie | video frame | scan
""")
_REMOVE = _choices("""
    remove | get rid of | take out | eliminate | erase | reduce | clear away | delete | do something
    about
""")
_POLITE = _choices("""
    Could you please {}? | Would you {}, please? | Please {}. | I would appreciate it if you could
    {}. | Would it be possible to {}? | I would like you to {}. | Kindly {}. | Would you mind
    helping me to {}? | I would be very thankful if you could {}. | May I ask you to {}? | If it is
    not too much trouble, {}.
""")
_CASUAL = _choices("""
    {} pls | hey can you {} | {} thx | yo {} | can u {} | just {} | need you to {} | help me {} | {}
    asap | pls {}!! | {} if u can | any chance to {}?
""")
_GRUMBLES = _choices("""
    ugh {} | {}, help | sorry but {} | {} :( | why is it that {} | omg {} | so {} lol | {}, can you
    fix that | {} and i hate it
""")
_TECHNICAL = _choices("""
    {}. | {} | Please {}. | Task: {}. | {}, keep the fine detail. | {} without artefacts. | We need
    to {}.
""")
_WHERE = _choices("""
     |  |  over the whole frame |  in the background |  in the foreground |  of the subject |  in
    the left half
""")
_PLEAS = _choices("""
     | Please help. | Can this be saved? | What can you do? | Please repair that. | Can you fix
    this?
""")
_SLANG = {
    "picture": "pic",
    "photo": "foto",
    "image": "img",
    "please": "plz",
    "you": "u",
    "the": "teh",
    "because": "cuz",
    "with": "w",
    "too": "to",
    "and": "n",
    "very": "rly",
    "photograph": "pic",
    "colour": "colr",
}


@dataclass(frozen=True)
class Prompt:
    """A sentence and what it asks for."""

    text: str
    task: str
    level: str


def tasks_named(text: str) -> frozenset[str]:
    """The tasks whose clues the text holds.

    A phrase of the grammar was judged when it was written and counts for its task only, whatever words are in
    it ("the colour noise"); the rest of the text is searched for single clues.
    """
    named = set[str]()
    for task in TASKS:
        text, times = _whole(task).subn(" ", text)
        named |= {task} if times else set()
    return frozenset(named | {task for task in TASKS if _clues(task).search(text)})


def is_ambiguous(text: str) -> bool:
    """Whether the text gives away no task, or more than one."""
    return len(tasks_named(text)) != 1


def generate(generator: torch.Generator, per_task: int = 1800) -> list[Prompt]:
    """Distinct, unambiguous prompts: ``per_task`` of every task, every level alike.

    Args:
        generator: what every choice is drawn from, on the CPU.
        per_task: prompts a task; the default makes 12,600 in all.

    Raises:
        ValueError: the grammar does not hold so many.
    """
    writer, prompts, seen = _Writer(generator), list[Prompt](), set[str]()
    for task in TASKS:
        for i, level in enumerate(LEVELS):
            wanted = (i + 1) * per_task // len(LEVELS) - i * per_task // len(LEVELS)
            for _ in range(100 * wanted):
                if wanted == 0:
                    break
                text = writer.write(task, level)
                if tasks_named(text) != frozenset((task,)):
                    continue
                text = writer.misspell(text) if level == "sloppy" else text
                if text.casefold() not in seen:
                    seen.add(text.casefold())
                    prompts.append(Prompt(text, task, level))
                    wanted -= 1
            if wanted:
                raise ValueError(f"expected at most as many prompts as the grammar holds, came {per_task}")
    return prompts


class _Writer:
    """Sentences from a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def write(self, task: str, level: str) -> str:
        """One sentence or two; nobody has yet asked whether they are ambiguous."""
        match level:
            case "polite":
                text = self._one(_POLITE).format(self._action(task))
            case "casual":
                text = self._casual(task)
            case "technical":
                order, form = self._one(PHRASES[task].orders), self._one(_TECHNICAL)
                order = f"{order} {self._one(_WHERE)}".strip()
                text = form.format(order if form.startswith("{}") else _lower(order))
                text = f"{text} {self._one(PHRASES[task].orders)}." if self._chance(0.3) else text
            case "story":
                text = f"{self._one(PHRASES[task].stories)} {self._one(_PLEAS)}".strip()
                text = f"{text} {_upper(self._action(task))}." if self._chance(0.25) else text
            case "short":
                return self._short(task)
            case "sloppy":
                text = (self._casual, self._plain, self._short)[self._number(3)](task)
            case _:
                text = self._plain(task)
        aside = self._one(ASIDES)
        if self._chance(0.04):
            return aside  # what is left out again
        if self._chance(0.04):  # and two tasks at once, likewise
            return f"{text} {self._one(PHRASES[self._one(TASKS)].stories)}"
        if level in ("plain", "polite", "story") and self._chance(0.2):
            return f"{aside} {text}" if self._chance(0.5) else f"{text} {aside}"
        return text

    def misspell(self, text: str) -> str:
        """Type it in haste: lower case, few stops, short forms, and a slip in every third long word."""
        words = list[str]()
        for word in text.lower().replace(",", "").rstrip(".?").split():
            written = _SLANG[word] if word in _SLANG and self._chance(0.6) else word
            words.append(self._slip(written) if len(written) > 3 and self._chance(0.4) else written)
        return " ".join(words)

    def _plain(self, task: str) -> str:
        words, picture = PHRASES[task], self._one(_PICTURES)
        match self._number(5):
            case 0:
                return f"{_upper(picture)} is {self._one(words.looks)}."
            case 1:
                defect = self._one(words.defects)
                return self._one(
                    (f"There is {defect} in {picture}.", f"I do not like {defect} in {picture}.")
                )
            case 2:
                return f"I want to {self._action(task)}."
            case 3:
                look, goal = self._one(words.looks), self._one(words.goals)
                return f"{_upper(picture)} is {look}, make it {goal}."
            case _:
                return f"{_upper(self._action(task))}."

    def _short(self, task: str) -> str:
        """A few words, no sentence."""
        words, picture = PHRASES[task], self._one(_SHORT)
        match self._number(4):
            case 0:
                return f"{picture} {self._one(words.looks)}"
            case 1:
                return f"{self._one(words.verbs)} {picture}"
            case 2:
                return f"{picture} {self._one(words.goals)}"
            case _:
                action = self._one(("no", "without", "less", "remove", "fix"))
                return f"{picture}: {action} {self._one(words.defects)}"

    def _casual(self, task: str) -> str:
        action = self._action(task)
        if self._chance(0.6):
            return self._one(_CASUAL).format(action)
        words, picture = PHRASES[task], self._one(_PICTURES)
        complaint = self._one(
            (
                f"{picture} is {self._one(words.looks)}",
                f"{picture} is way {self._one(words.looks)}",
                f"look at {self._one(words.defects)}",
                self._one(words.stories).rstrip(".").lower(),
            )
        )
        return self._one(_GRUMBLES).format(complaint)

    def _action(self, task: str) -> str:
        """What to do, as an infinitive: "remove the grain from my photo"."""
        words, picture = PHRASES[task], self._one(_PICTURES)
        match self._number(3):
            case 0:
                return f"{self._one(words.verbs)} {picture}"
            case 1:
                place = self._one((f" from {picture}", f" in {picture}", ""))
                return f"{self._one(_REMOVE)} {self._one(words.defects)}{place}"
            case _:
                return f"make {picture} {self._one(words.goals)}"

    def _slip(self, word: str) -> str:
        """Swap, drop, double or replace a letter inside the word."""
        at = 1 + self._number(len(word) - 2)
        match self._number(4):
            case 0:
                return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            case 1:
                return word[:at] + word[at + 1 :]
            case 2:
                return word[:at] + word[at] + word[at:]
            case _:
                vowels = "aeiou"
                return word[:at] + (self._one(vowels) if word[at] in vowels else word[at]) + word[at + 1 :]

    def _number(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._generator))

    def _chance(self, probability: float) -> bool:
        return float(torch.rand((), generator=self._generator)) < probability

    def _one(self, choices: Sequence[str]) -> str:
        return choices[self._number(len(choices))]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    """Without the capital of a sentence's beginning; abbreviations keep theirs."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


@cache
def _whole(task: str) -> re.Pattern[str]:
    """Whatever the grammar takes from a task's phrases, longest first."""
    words = PHRASES[task]
    parts = (*words.verbs, *words.defects, *words.looks, *words.goals, *words.stories, *words.orders)
    longest = sorted((part.rstrip(".") for part in parts), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest)) + r")\b", re.IGNORECASE)


@cache
def _clues(task: str) -> re.Pattern[str]:
    """Short clues are whole words ("air", not "aircraft"); longer ones begin a word ("blur", "blurred")."""
    clues = (re.escape(word) + (r"\b" if len(word) <= 3 else "") for word in PHRASES[task].clues)
    return re.compile(r"\b(?:" + "|".join(clues) + ")", re.IGNORECASE)
