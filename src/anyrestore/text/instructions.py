"""Instructions: a sentence -> the vector that conditions the image network, and the task it asks for.

InstructIR (arXiv 2401.16468, sections 3.2 and 4.1): a frozen sentence encoder, a trained projection
384 -> 256 whose output is divided by its l2 norm, and a linear classification head over the tasks on top of
it, trained with cross-entropy. Both are 200 kB together and ship with this package; they are trained on
the prompts of `prompts` in seconds on a CPU, from one seed (the vectors of the prompts take a minute or two):

    python -m anyrestore.text.instructions --train head.safetensors
    python -m anyrestore.text.instructions --confusions tests/text/held_out.tsv

Open in the paper: how the text part is trained. Here it is trained alone and then frozen, with label
smoothing and a little noise on the sentence vectors, so that phrasings beside the generator's land near them.

Unusual: a head belongs to one encoder, and an image network to the head that it was trained with. The head's
file names its encoder; which head an image network needs is for whoever brings the weights to know.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore import tensorfile
from anyrestore.errors import AnyRestoreError, ModelError, UsageError
from anyrestore.provenance import versions
from anyrestore.storage import store_bytes
from anyrestore.text.encoder import ENCODERS, SentenceEncoder, Sentences, load_encoder
from anyrestore.text.prompts import TASKS, generate

Labels = Int[Tensor, "b"]

WIDTH = 256
"""Of the vectors that condition the image network."""
FORMAT = 1
SEED = 0

_FILE_LIMIT = 64 << 20
"""Bytes; a head has some hundred thousand."""

_SHIPPED = "minilm.safetensors"
_SHIPPED_SHA256 = "8800057c2b9a7bf87feee517ee2c46ced65e7b3737fd4bf4f186b4e543b0554a"
_FIELDS = {"format", "version", "kind", "encoder", "tasks", "sha256"}


class Meaning(NamedTuple):
    """What a head makes of sentences."""

    vectors: Float[Tensor, "b c"]  # of length 1
    logits: Float[Tensor, "b k"]  # one a task, in the order of TASKS


class InstructionHead(nn.Module):
    """Projection, l2 norm, and a linear classification of the result.

    Args:
        encoder: the name of the encoder whose vectors it takes.
        sentence_width: numbers in such a vector.
        width: of the projection.
        tasks: how many classes.
    """

    def __init__(
        self, encoder: str = "minilm", sentence_width: int = 384, width: int = WIDTH, tasks: int = len(TASKS)
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(sentence_width, width)
        self.classifier = nn.Linear(width, tasks)

    def forward(self, sentences: Sentences) -> Meaning:
        """Vectors and logits of sentence vectors."""
        vectors = F.normalize(self.projection(sentences), dim=-1)
        return Meaning(vectors, self.classifier(vectors))


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How a head is trained; the defaults made the one that ships."""

    epochs: int = 20
    batch: int = 256
    lr: float = 5e-3
    weight_decay: float = 0.01
    smoothing: float = 0.05
    noise: float = 0.03  # standard deviation, per number of a unit vector of 384


def train_head(
    sentences: Sentences,
    tasks: Labels,
    generator: torch.Generator,
    *,
    encoder: str = "minilm",
    how: HeadTraining | None = None,
) -> InstructionHead:
    """A head in eval mode, frozen, that tells the tasks of these sentence vectors apart.

    Args:
        sentences: unit vectors.
        tasks: indexes into TASKS.
        generator: of the first weights, the order and the noise; nothing else is random.
        encoder: the name of the encoder that made the vectors.
        how: None for the defaults.
    """
    how = HeadTraining() if how is None else how
    with torch.device("meta"):  # no numbers are drawn from the global generator
        head = InstructionHead(encoder, sentences.shape[1])
    head.to_empty(device="cpu")
    for parameter in head.parameters():
        bound = parameter.shape[-1] ** -0.5
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    optimizer = torch.optim.AdamW(head.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    steps = how.epochs * -(-len(sentences) // how.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(how.epochs):
        order = torch.randperm(len(sentences), generator=generator)
        for first in range(0, len(order), how.batch):
            rows = order[first : first + how.batch]
            noise = torch.randn(len(rows), sentences.shape[1], generator=generator)
            logits = head(sentences[rows] + how.noise * noise).logits
            loss = F.cross_entropy(logits, tasks[rows], label_smoothing=how.smoothing)
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            schedule.step()
    return head.eval().requires_grad_(requires_grad=False)


def save_head(head: InstructionHead, path: Path) -> None:
    """Store a head as safetensors in float16; an existing file is replaced in one step."""
    about = {
        "format": FORMAT,
        "version": versions()["anyrestore"],
        "kind": "instruction head",
        "encoder": head.encoder,
        "tasks": TASKS,
    }
    tensors = {key: value.half().contiguous() for key, value in head.state_dict().items()}
    store_bytes(tensorfile.pack(tensors, about), path, overwrite=True)


def load_head(path: Path | None = None) -> InstructionHead:
    """A head from a file that :func:`save_head` wrote; None for the one that ships.

    Raises:
        ModelError: ``bad_weights``: the file is missing, damaged, newer or something else.
    """
    if path is None:
        with resources.as_file(resources.files("anyrestore.text") / "files" / _SHIPPED) as shipped:
            return _load_head(shipped, _SHIPPED_SHA256)
    return _load_head(path, None)


def _load_head(path: Path, sha256: str | None) -> InstructionHead:
    try:
        with tensorfile.opened(path) as file:
            if tensorfile.read_header(file) is None:
                raise ValueError("no safetensors header")
            data = tensorfile.read_whole(file, _FILE_LIMIT)
        if sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise ValueError("contents that this version was not released with; reinstall anyrestore")
        header, tensors = tensorfile.parse(data)
        return _make_head(json.loads(header.words[tensorfile.WORD]), tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise ModelError(
            f"expected an instruction head in {path}, found something else: {error!s:.400}",
            code="bad_weights",
        ) from error


def _make_head(about: dict[str, Any], tensors: Mapping[str, Tensor]) -> InstructionHead:
    """A head, from what its file says and holds; ValueError and its like where that cannot be."""
    if about["kind"] != "instruction head":
        raise ValueError(f"its header says {about['kind']!r:.60}")
    if about["format"] > FORMAT:
        raise ValueError(f"it needs anyrestore >= {about['version']:.40}, this is an older one; update it")
    if unknown := set(about) - _FIELDS:
        raise ValueError(f"its header says {sorted(unknown)!r:.60}")
    if tuple(about["tasks"]) != TASKS:
        raise ValueError(f"its tasks are {', '.join(about['tasks']):.200}")
    width, sentence_width = tensors["projection.weight"].shape
    head = InstructionHead(str(about["encoder"]), sentence_width, width)
    weights = {key: value.float() for key, value in tensors.items() if value.is_floating_point()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("values that are not finite numbers")
    head.load_state_dict(weights)
    return head.eval().requires_grad_(requires_grad=False)


class Instructions:
    """An encoder and a head that belong together.

    Args:
        head: a file, a head, or None for the one that ships.
        encoder: the head's own, where it is already loaded.

    Raises:
        ModelError: the head cannot be used, or its encoder is not installed (code ``no_encoder``).
    """

    def __init__(
        self, head: InstructionHead | Path | None = None, encoder: SentenceEncoder | None = None
    ) -> None:
        self.head = head if isinstance(head, InstructionHead) else load_head(head)
        self.encoder = load_encoder(self.head.encoder) if encoder is None else encoder
        fits = self.encoder.name == self.head.encoder
        if not fits or self.encoder.width != self.head.projection.in_features:
            raise ModelError(f"the head belongs to {self.head.encoder}, the encoder is {self.encoder.name}")

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Meaning:
        """Vectors and logits, one a sentence.

        Raises:
            UsageError: a sentence has no words.
        """
        if not all(sentence.strip() for sentence in sentences):
            raise UsageError(
                'instruction: expected words, came none; say what is wrong, for example "it is too dark"'
            )
        return self.head(self.encoder(sentences))

    def understand(self, sentence: str) -> dict[str, float]:
        """The probability of every task, the likeliest first."""
        return self.name_tasks(self([sentence]))

    @staticmethod
    def name_tasks(meaning: Meaning) -> dict[str, float]:
        """The probability of every task in the first sentence, the likeliest first."""
        shares = _numbers(meaning.logits.softmax(dim=-1))[0]
        return dict(sorted(zip(TASKS, shares, strict=True), key=lambda item: -item[1]))


class Confusion(NamedTuple):
    """A sentence that the head got wrong, or nearly."""

    text: str
    task: str  # right
    taken_for: str  # the likeliest of the others
    margin: float  # probability of the right task minus that of the likeliest other; below 0 is wrong


def worst_confusions(
    instructions: Instructions, labelled: Sequence[tuple[str, str]]
) -> tuple[float, list[Confusion]]:
    """The share of sentences understood, and all of them, the worst first.

    Args:
        instructions: what is asked.
        labelled: pairs (task, sentence).
    """
    shares = instructions([text for _, text in labelled]).logits.softmax(dim=-1)
    found = list[Confusion]()
    for (task, text), row in zip(labelled, _numbers(shares), strict=True):
        by_task = dict(zip(TASKS, row, strict=True))
        right = by_task.pop(task)
        other = max(by_task, key=lambda name: by_task[name])
        found.append(Confusion(text, task, other, right - by_task[other]))
    found.sort(key=lambda item: item.margin)
    return sum(item.margin > 0 for item in found) / len(found), found


def _numbers(table: Tensor) -> list[list[float]]:
    """Torch's stub leaves what ``tolist`` gives untyped."""
    return cast("list[list[float]]", table.tolist())  # pyright: ignore[reportUnknownMemberType]


def read_labelled(path: Path) -> list[tuple[str, str]]:
    """Pairs (task, sentence) from lines "task <tab> level <tab> sentence".

    Raises:
        UsageError: the file cannot be read, or a line is something else.
    """
    try:
        rows = [tuple(line.split("\t")) for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"expected lines of task, level and sentence in {path}; {error}") from error
    if bad := next((row for row in rows if len(row) != 3 or row[0] not in TASKS), None):
        raise UsageError(f"expected a task of {', '.join(TASKS)}, a level and a sentence, came {bad}")
    if not rows:
        raise UsageError(f"expected lines of task, level and sentence in {path}, came none")
    return [(task, text) for task, _, text in rows]


def make_head(encoder: SentenceEncoder, seed: int = SEED, per_task: int = 1800) -> InstructionHead:
    """The head that ships, made again: prompts, their vectors, training; all from one seed."""
    generator = torch.Generator().manual_seed(seed)
    prompts = generate(generator, per_task)
    labels = torch.tensor([TASKS.index(prompt.task) for prompt in prompts])
    sentences = encoder([prompt.text for prompt in prompts])
    return train_head(sentences, labels, generator, encoder=encoder.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a head, or list what a head confuses."""
    parser = argparse.ArgumentParser(prog="python -m anyrestore.text.instructions", description=main.__doc__)
    parser.add_argument("--train", metavar="OUT", type=Path, help="train a head and store it")
    parser.add_argument("--encoder", choices=ENCODERS, default="minilm", help="for a new head")
    parser.add_argument("--confusions", metavar="TSV", type=Path, help="sentences: task, level, sentence")
    parser.add_argument("--head", metavar="FILE", type=Path, help="instead of the head that ships")
    parser.add_argument("--worst", metavar="N", type=int, default=10, help="lines to list (default: 10)")
    args = parser.parse_args(arguments)
    try:
        if args.train is not None:
            save_head(make_head(load_encoder(args.encoder)), args.train)
        if args.confusions is not None:
            labelled = read_labelled(args.confusions)
            head: Path | None = args.train if args.head is None else args.head
            right, found = worst_confusions(Instructions(head), labelled)
            wrong = sum(item.margin <= 0 for item in found)
            lines = [f"{len(found)} sentences, {right:.1%} understood, {wrong} not; the worst, by margin:"]
            lines += [f"{c.margin:+.2f}  {c.task} / {c.taken_for}: {c.text}" for c in found[: args.worst]]
            pairs = Counter((c.task, c.taken_for) for c in found if c.margin <= 0)
            lines += [f"{n} x {task} taken for {other}" for (task, other), n in pairs.most_common()]
            sys.stdout.write("\n".join(lines) + "\n")
    except AnyRestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
