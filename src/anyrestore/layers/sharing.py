"""Statistics of a whole picture from its tiles, for layers that look at the whole image.

Such a layer keeps what it sees in a submodule of its own (the similarity of channels, a mean over the pixels)
whose outputs can be merged over tiles. Forward hooks read them off; the model itself knows nothing of it.
The commonest such statistic, the mean over all pixels, is here too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.types import Features


class Mean(NamedTuple):
    """The mean of features over their pixels, and how many those were."""

    value: Float[Tensor, "b c"]
    pixels: Float[Tensor, ""]


def merge_means(parts: Iterable[Mean]) -> Mean:
    """The mean over all parts' pixels together."""
    values, pixels = (torch.stack(items) for items in zip(*parts, strict=True))
    total = pixels.sum()
    share = (pixels / total).to(values.dtype)
    return Mean((values * share[:, None, None]).sum(dim=0), total)


class GlobalMean(nn.Module):
    """Features (b c h w) -> :class:`Mean`."""

    def forward(self, x: Features) -> Mean:
        """Over all pixels."""
        return Mean(x.mean(dim=(-2, -1)), x.new_full((), x.shape[-2] * x.shape[-1], dtype=torch.float32))


class Shared(NamedTuple):
    """A submodule whose output is a statistic, and how those of several tiles become one."""

    module: nn.Module
    merge: Callable[[list[Any]], Any]


def share_statistics(
    model: Callable[[Tensor], object], shared: Sequence[Shared], tiles: Iterable[Tensor], rounds: int = 2
) -> list[Any]:
    """The merged statistics of every submodule over all tiles, in the order of ``shared``.

    Each is exact for the features that it is given; in the first round those were made by every tile on its
    own, in the next ones with what the round before has found.

    Args:
        model: a module, or a function that calls one; is called with every tile.
        shared: submodules of it, each called once in a forward pass.
        tiles: images of one picture; sizes may differ.
        rounds: passes over the tiles, at least 1.
    """
    parts = list(tiles)
    found: list[Any] = [None] * len(shared)
    for _ in range(rounds):
        seen = [list[Any]() for _ in shared]
        with ExitStack() as hooks:
            for (module, _merge), into, given in zip(shared, seen, found, strict=True):
                hooks.callback(module.register_forward_hook(listener(into, given)).remove)
            for part in parts:
                model(part)
        found = [merge(into) for (_module, merge), into in zip(shared, seen, strict=True)]
    return found


def listener(into: list[Any], given: object = None) -> Callable[..., object]:
    """A forward hook that stores a module's output, and replaces it unless ``given`` is None.

    It hears only the thread that made it: others may be using the same model.
    """
    owner = threading.get_ident()

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        if threading.get_ident() != owner:
            return None
        into.append(output)
        return given

    return hook


def share_blocks(
    model: nn.Module,
    stages: Sequence[Sequence[Sequence[Shared]]],
    condition: Callable[..., Any],
    tiles: Iterable[Tensor],
    rounds: int = 2,
) -> list[list[Any]]:
    """:func:`share_statistics` of blocks in stages: ``condition(*statistics)`` of every block, per stage."""
    shared = [one for stage in stages for block in stage for one in block]
    merged = iter(share_statistics(model, shared, tiles, rounds))
    return [[condition(*(next(merged) for _ in block)) for block in stage] for stage in stages]
