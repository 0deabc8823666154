"""Renaming the tensors of a state dict by rules, and reading a configuration off their shapes.

A converter is a table of (pattern, replacement) over whole names: every name must match exactly one rule,
so nothing is lost and nothing is guessed. A rule whose replacement is None drops what it matches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from anyrestore.errors import ModelError

#: (regular expression of a whole public name, our name with its groups or None to drop the tensor).
Rules = Sequence[tuple[str, str | None]]


def fits(state: Mapping[str, Tensor], rules: Rules, needed: Sequence[str]) -> bool:
    """Whether the rules know every name of ``state`` and ``state`` has every name of ``needed``."""
    return all(name in state for name in needed) and all(_match(name, rules) is not None for name in state)


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The tensors under our names; dropped ones are left out.

    Raises:
        ModelError: the rules do not know a name, or two names became the same.
    """
    renamed = dict[str, Tensor]()
    for name, tensor in state.items():
        if (found := _match(name, rules)) is None:
            raise ModelError(f"cannot convert these weights: no place is known for the tensor {name!r}")
        match, replacement = found
        if replacement is None:
            continue
        ours = match.expand(replacement)
        if ours in renamed:
            raise ModelError(f"cannot convert these weights: two tensors for {ours!r}")
        renamed[ours] = tensor
    return renamed


def shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises:
        ModelError: there is none of this name.
    """
    if name not in state:
        raise ModelError(f"cannot convert these weights: the tensor {name!r} is missing")
    return tuple(state[name].shape)


def depth(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules ``prefix`` holds: 1 + the highest n of the names ``prefix``.n.…, or 0."""
    start = prefix + "."
    numbers = (name[len(start) :].split(".", 1)[0] for name in state if name.startswith(start))
    return max((int(n) + 1 for n in numbers if n.isdecimal()), default=0)


def expansion(pairs: Sequence[tuple[int, int]]) -> float:
    """The shortest decimal e with ``int(width * e) == hidden`` for all pairs (width, hidden).

    Raises:
        ModelError: there is none.
    """
    low = max(hidden / width for width, hidden in pairs)
    for digits in range(7):
        e = math.ceil(low * 10**digits) / 10**digits
        if all(int(width * e) == hidden for width, hidden in pairs):
            return e
    raise ModelError(f"cannot convert these weights: no one expansion gives the (width, hidden) {pairs}")


def _match(name: str, rules: Rules) -> tuple[re.Match[str], str | None] | None:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match, replacement
    return None
