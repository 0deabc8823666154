"""One picture through a network, and everything that was asked for read off on the way."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.errors import UsageError
from anyrestore.inspection import attention, channels, experts, gating, prompts, routing, spectra, tokens
from anyrestore.inspection.probes import Look, Probe, listening
from anyrestore.inspection.views import Maps, View
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.types import Image

#: Every look, in the order in which a sheet shows them.
LOOKS: dict[str, Look] = {
    one.name: one
    for one in (
        routing.LOOK,
        tokens.LOOK,
        gating.LOOK,
        experts.LOOK,
        prompts.LOOK,
        channels.MASKS,
        channels.FACTORS,
        attention.LOOK,
        spectra.LOOK,
    )
}
#: Looks that say what is particular to an architecture, as maps over the picture...
_PARTICULAR = {"routing", "tokens", "gating"}
#: ...beside which this one, which most have, is left out unless it is asked for.
_COMMON = "attention"


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What looking at one picture's way through a network has found.

    Attributes:
        image: what was put in, (1 3 h w).
        restored: what came out, same shape; not clipped.
        views: what was seen, look by look.
        places: how many places each look shows, and how many there are: name -> (shown, all).
    """

    image: Image
    restored: Image
    views: tuple[View, ...]
    places: dict[str, tuple[int, int]]


def look(
    model: nn.Module,
    image: Image,
    *,
    looks: Sequence[str] | None = None,
    layers: str = "last",
    condition: object = None,
) -> Findings:
    """Restore ``image`` and say what happened inside.

    The model is run once, in eval mode, and computes the same bits as without being looked at. Memory beyond
    the model's own grows with what is shown: a map is as large as its stage's features, one channel deep.

    Args:
        model: a network of the zoo, on the image's device; left as it is.
        image: (1 3 h w), RGB in [0, 1], any size; it is padded to the network's multiple, and maps are cut
            back.
        looks: names of :data:`LOOKS`; None for all that the network has places for, without the channels'
            attention matrices where there are maps that are the architecture's own.
        layers: "last" for the last block of each stage, "all", or a pattern such as ``decoder.*`` for the
            blocks' names. Looks of few numbers show all blocks with "last" too.
        condition: what the model is given beside the image, for example an instruction's vector.

    Raises:
        UsageError: no such look, the network has no place for it, or no block fits ``layers``.
    """
    if image.shape[0] != 1:
        raise UsageError(f"expected one image, came a batch of {image.shape[0]}; look at them one by one")
    found = {name: LOOKS[name].find(model) for name in _wanted(looks)}
    if looks is None:
        found = {name: probes for name, probes in found.items() if probes}
        if _PARTICULAR & found.keys():
            found.pop(_COMMON, None)
    for name, probes in found.items():
        if not probes:
            raise UsageError(f"look: {type(model).__name__} has nothing to show for {name!r}; leave it out")
    chosen = {name: _choose(probes, layers, LOOKS[name]) for name, probes in found.items()}
    if not any(chosen.values()):
        blocks = sorted({probe.block for probes in found.values() for probe in probes})
        raise UsageError(
            f"layers: no block is named like {layers!r}; there are {', '.join(blocks) or 'none'}"
        )
    flat = [probe for probes in chosen.values() for probe in probes]
    padded, size = pad_to_multiple(image, int(getattr(model, "size_multiple", 1)))
    with eval_mode(model), torch.no_grad(), listening(flat) as heard:
        output: Tensor = model(padded) if condition is None else model(padded, condition)
    part = (size[0] / padded.shape[-2], size[1] / padded.shape[-1])
    views = [
        _cut(view, part)
        for probe, ears in zip(flat, heard, strict=True)
        for view in probe.make([kept[-1] for kept in ears])
    ]
    return Findings(
        image=image,
        restored=crop_to(output, size),
        views=tuple(views),
        places={name: (len(chosen[name]), len(found[name])) for name in found},
    )


def _wanted(looks: Sequence[str] | None) -> list[str]:
    if looks is None:
        return list(LOOKS)
    for name in looks:
        if name not in LOOKS:
            raise UsageError(f"look: expected one of {', '.join(LOOKS)}, came {name!r}")
    return [name for name in LOOKS if name in looks]


def _choose(probes: Sequence[Probe], layers: str, of: Look) -> list[Probe]:
    """Those whose blocks are asked for."""
    if layers == "all" or (layers == "last" and of.every):
        return list(probes)
    if layers == "last":
        last = {probe.stage: probe.block for probe in probes}
        # A stage as a whole is a place of its own beside its last block.
        return [probe for probe in probes if probe.block in (last[probe.stage], probe.stage)]
    return [p for p in probes if any(fnmatchcase(n, layers) for n in (p.block, f"{p.block}.{p.part}"))]


def _cut(view: View, part: tuple[float, float]) -> View:
    """Without what lies on the padding; the share of the padded picture that is picture is ``part``."""
    if not isinstance(view, Maps):
        return view
    rows, columns = (
        min(side, math.ceil(side * share - 1e-6))
        for side, share in zip(view.values.shape[1:], part, strict=True)
    )
    return replace(view, values=view.values[:, :rows, :columns])


@contextmanager
def eval_mode(model: nn.Module) -> Generator[None]:
    """Every module in eval mode; afterwards each in the mode that it had."""
    training: list[Any] = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
