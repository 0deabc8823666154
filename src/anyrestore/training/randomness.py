"""The process's random generators: the run's while its network computes, the caller's otherwise.

Samples do not need them (each has a seed of its own); a network with dropout does. All of them are part of a
checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class RandomStates:
    """The run's generators inside ``with``, the caller's outside.

    Args:
        seed: the run's.
        rank: of this process; every process draws differently.
    """

    def __init__(self, seed: int, rank: int) -> None:
        mixed = (seed * 1_000_003 + rank) % 2**63
        self._own: dict[str, Any] = {
            "torch": torch.Generator().manual_seed(mixed).get_state(),
            "numpy": np.random.RandomState(mixed % 2**32).get_state(),
            "python": random.Random(mixed).getstate(),
        }
        if torch.cuda.is_available():
            self._own["cuda"] = torch.Generator("cuda").manual_seed(mixed).get_state()
        self._callers: dict[str, Any] | None = None

    def capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The run's states: torch's as tensors, the others as values that JSON can hold."""
        states = self._own if self._callers is None else _read_generators()
        kind, words, *rest = states["numpy"]
        plain = {"numpy": [kind, [int(w) for w in words], *rest], "python": states["python"]}
        return {k: v for k, v in states.items() if isinstance(v, Tensor)}, plain

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on from captured states."""
        kind, words, *rest = plain["numpy"]
        version, inner, gauss = plain["python"]
        self._own |= {
            **tensors,
            "numpy": (kind, np.array(words, np.uint32), *rest),
            "python": (version, tuple(inner), gauss),
        }

    def __enter__(self) -> None:
        self._callers = _read_generators()
        _write_generators(self._own)

    def __exit__(self, *_: object) -> None:
        assert self._callers is not None
        self._own = _read_generators()
        _write_generators(self._callers)
        self._callers = None


def _read_generators() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the global generator is what others draw from
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _write_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
