"""What a network in training is told: a pool of sentences for every task, from which each sample draws one.

InstructIR (arXiv 2401.16468, section 3) trains on pairs of a picture and a random prompt of its degradation.
Here the prompts are the generator's (:mod:`anyrestore.text.prompts`). A pool of them is drawn once, by the
run's seed, and encoded once, by the frozen encoder and head; the vectors stay on the device, so a step costs
one look-up. Which sentence a sample is given is a function of its own seed: the same after a resumption and
on any number of processes.

Unusual: validation says one fixed sentence a task (:mod:`anyrestore.text.sentences`), so that scores are
those of pictures, not of phrasings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.data.sampling import hashed
from anyrestore.text.instructions import InstructionHead, Instructions
from anyrestore.text.prompts import TASKS, generate
from anyrestore.text.sentences import FIXED
from anyrestore.training.run import Run

__all__ = ["InstructionPool", "draw_sentences"]

Vectors = Float[Tensor, "b d"]


def draw_sentences(count: int, seed: int) -> dict[str, tuple[str, ...]]:
    """``count`` distinct sentences of every task that the text head knows, every level of language alike."""
    prompts = generate(torch.Generator().manual_seed(hashed("instructions", seed)), count)
    return {task: tuple(prompt.text for prompt in prompts if prompt.task == task) for task in TASKS}


class InstructionPool:
    """Vectors of sentences, by the text head's tasks.

    Made in two stages, so that what is missing is said before the data is read, and the seconds of encoding
    are spent after everything else was found in order.

    Args:
        run: says the tasks (its parts' instructions), the number of sentences and the seed.

    Raises:
        ModelError: the sentence encoder is not installed (code ``no_encoder``).

    Attributes:
        fingerprint: sha256 of the sentences and the head: what, beside the encoder, decides the vectors.
    """

    def __init__(self, run: Run) -> None:
        told = {part.instruction for part in run.mixture.parts}
        self._instructions = Instructions()
        self._count = run.instructions
        self._sentences = {
            task: (FIXED[task], *sentences)
            for task, sentences in draw_sentences(run.instructions, run.seed).items()
            if task in told
        }
        self._row: dict[str | None, int] = {  # of a task's fixed sentence; the drawn ones come after it
            task: i * (1 + self._count) for i, task in enumerate(self._sentences)
        }
        self.fingerprint = _digest(self._all(), self._instructions.head)
        self._vectors: Vectors = torch.zeros(0, 0)

    def encode(self, device: torch.device) -> None:
        """Make the vectors, on the CPU, and keep them on ``device``; to be called once, before the others."""
        self._vectors = self._instructions(self._all()).vectors.to(device)
        del self._instructions  # 90 MB that are not needed any more

    def of_samples(self, tasks: Sequence[str | None], seeds: Sequence[int]) -> Vectors:
        """What each sample is told, (b d), on the device: a sentence of its task, drawn by its seed."""
        return self._take(
            [
                self._row[task] + 1 + hashed("instruction", seed) % self._count
                for task, seed in zip(tasks, seeds, strict=True)
            ]
        )

    def fixed(self, tasks: Sequence[str | None]) -> Vectors:
        """What validation says, (b d), on the device."""
        return self._take([self._row[task] for task in tasks])

    def _all(self) -> list[str]:
        return [sentence for sentences in self._sentences.values() for sentence in sentences]

    def _take(self, rows: Sequence[int]) -> Vectors:
        return self._vectors[torch.tensor(rows, device=self._vectors.device)]


def _digest(sentences: Sequence[str], head: InstructionHead) -> str:
    digest = hashlib.sha256("\n".join(sentences).encode())
    for value in head.state_dict().values():
        digest.update(value.half().numpy().tobytes())  # as a head is stored
    return digest.hexdigest()
