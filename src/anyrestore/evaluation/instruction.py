"""Tells a network that takes instructions what each benchmark wants of it.

A score of such a network is one of the network and a sentence. So the sentence is fixed for every benchmark
(`anyrestore.text.sentences`), or given once for all of them, and it is stored with the score.

Unusual: what is told stays told. The network and its sentence become one module from a picture to a picture,
so that whoever restores with it, whole or in tiles, need not know that it takes instructions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from anyrestore.errors import ModelError, UsageError
from anyrestore.evaluation.benchmarks import Benchmark
from anyrestore.text.instructions import Instructions
from anyrestore.text.sentences import sentence_for
from anyrestore.types import Image

__all__ = ["Instructor", "Told", "instructor_for", "takes_instruction"]


def takes_instruction(model: object) -> bool:
    """Whether a model has to be told what to do."""
    return hasattr(model, "instruction_width")


class Told(nn.Module):
    """A network and what it was told: ``model(image) -> image``.

    Args:
        model: Takes instructions.
        vector: The instruction's (1, d), where the model is.
    """

    def __init__(self, model: nn.Module, vector: Tensor) -> None:
        super().__init__()
        self.model, self.vector = model, vector
        for name in ("size_multiple", "bytes_per_pixel"):
            setattr(self, name, getattr(model, name))

    def forward(self, image: Image, condition: object = None) -> Image:
        """Restore ``image`` (b 3 h w); ``condition`` is what :meth:`share` found in the whole picture."""
        return self.model(image, self.vector if condition is None else condition)

    def share(self, tiles: Iterable[Image]) -> object:
        """What tiles (1 3 h w) need to know of their picture."""
        return cast("Any", self.model).share(tiles, instruction=self.vector)


class Instructor:
    """The sentences for some benchmarks and their vectors.

    Args:
        model: Takes instructions, and is where it will run.
        benchmarks: What will be measured.
        sentence: Said for all of them; None: each its own.
        head: The file of the text head that the model was trained with; None for the one that ships.

    Raises:
        UsageError: The sentence has no words, or nobody knows what to say for a folder of one's own.
        ModelError: The sentence encoder is not installed (code `no_encoder`), or the text head does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        benchmarks: Sequence[Benchmark],
        sentence: str | None = None,
        head: Path | None = None,
    ) -> None:
        self._model = model
        self.sentences = {b.name: _sentence(b) if sentence is None else sentence for b in benchmarks}
        distinct = list(dict.fromkeys(self.sentences.values()))
        vectors = Instructions(head)(distinct).vectors.to(next(model.parameters()).device)
        expected = int(cast("Any", model).instruction_width)
        if vectors.shape[1] != expected:
            raise ModelError(
                f"the model takes instructions of {expected} numbers, the text head gives {vectors.shape[1]}"
            )
        self._vectors = {sentence: vectors[i : i + 1] for i, sentence in enumerate(distinct)}

    def tell(self, benchmark: Benchmark) -> Told:
        """The model, told what this benchmark wants."""
        return Told(self._model, self._vectors[self.sentences[benchmark.name]])


def instructor_for(
    model: object,
    benchmarks: Sequence[Benchmark],
    sentence: str | None = None,
    head: Path | None = None,
) -> Instructor | None:
    """What tells the model what to do, None if it finds out by itself; otherwise as `Instructor`."""
    if isinstance(model, nn.Module) and takes_instruction(model):
        return Instructor(model, benchmarks, sentence, head)
    if sentence is not None or head is not None:
        raise UsageError("instruction: this model finds out by itself what to do; use instructir, or none")
    return None


def _sentence(benchmark: Benchmark) -> str:
    if not benchmark.faults:
        raise UsageError(
            f"Expected --instruction for {benchmark.name}, as this model does what it is told; say what is "
            'wrong with its pictures, for example --instruction "too dark".'
        )
    return sentence_for(benchmark.faults)
