"""Probes: which modules a look listens to, and what it makes of what it hears.

A look knows kinds of modules, not names of models, so it finds its places in every variant of an
architecture. Forward hooks read and never return anything: the network computes what it computes unheard.

Unusual: what is heard is reduced inside the hook (to a map, a mean, a spectrum), so that memory holds one
layer's features at a time, as it does without being looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from anyrestore.inspection.views import View
from anyrestore.layers.sharing import listener

#: Steps of a module's path that say nothing to a person: ``unet.encoder.0.blocks.1.attention``.
_SILENT = {"unet", "blocks", "block", "stage", "attention", "assembly", "routing", "tokens", "pool"}
_STAGE = re.compile(r"(?:encoder|decoder)\.\d+|[^.]+")
_Kind = TypeVar("_Kind", bound=nn.Module)


@dataclass(frozen=True)
class Ear:
    """A module, and what to keep of one call of it: ``take(inputs, output)``."""

    module: nn.Module
    take: Callable[[tuple[Any, ...], Any], Any]


@dataclass(frozen=True)
class Probe:
    """One place of a look; ``make`` gets what every ear kept, in their order, and gives the views."""

    block: str
    part: str
    ears: Sequence[Ear]
    make: Callable[[list[Any]], list[View]]

    @property
    def stage(self) -> str:
        """``decoder.2`` of ``decoder.2.0``."""
        found = _STAGE.match(self.block)
        return found.group() if found else self.block


@dataclass(frozen=True)
class Look:
    """One kind of look.

    Attributes:
        name: by which it is asked for.
        about: what is seen, in a sentence.
        find: the places that a network has for it, in the order of the network's modules.
        every: there are few or small ones, so all are shown; otherwise the last block of each stage.
    """

    name: str
    about: str
    find: Callable[[nn.Module], list[Probe]]
    every: bool = False


def places(model: nn.Module, kind: type[_Kind]) -> Iterator[tuple[str, _Kind]]:
    """Every module of a kind, with the name of its place in a person's words."""
    modules = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())  # its stub is untyped in part
    for path, module in modules:
        if isinstance(module, kind):
            yield ".".join(step for step in path.split(".") if step not in _SILENT), module


@contextmanager
def listening(probes: Sequence[Probe]) -> Generator[list[list[list[Any]]]]:
    """While this lasts, what the probes hear is appended to ``[probe][ear]``; only this thread is heard."""
    heard = [[list[Any]() for _ in probe.ears] for probe in probes]
    with ExitStack() as hooks:
        for probe, into in zip(probes, heard, strict=True):
            for ear, kept in zip(probe.ears, into, strict=True):
                hooks.callback(ear.module.register_forward_hook(_hook(ear, kept)).remove)
        yield heard


def _hook(ear: Ear, kept: list[Any]) -> Callable[..., None]:
    """A hook that keeps what the ear takes, of calls in the thread that made it."""
    called = list[Any]()
    in_this_thread = listener(called)

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        in_this_thread(module, inputs, output)
        if called:
            called.clear()
            with torch.no_grad():
                kept.append(ear.take(inputs, output))

    return hook


def plain(values: Tensor) -> Tensor:
    """Detached, float32, on the CPU."""
    return values.detach().to("cpu", torch.float32)


def magnitude(features: Tensor) -> Tensor:
    """(1 c h w) -> (h w): the mean absolute value over the channels."""
    return plain(features[0].abs().mean(dim=0))
