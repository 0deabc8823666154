"""ExDA's global spatial tokens: where in the picture each head looks (ICLR 2026, algorithm 1, figure 8).

The maps are softmaxes over all positions; they are given in units of the even map, so that 1 means "as much
as anywhere" whatever the picture's size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from anyrestore.conditioning.spatial_tokens import SpatialTokens
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Maps, View


def _find(model: nn.Module) -> list[Probe]:
    return [
        Probe(block, "", (Ear(tokens, _relative),), partial(_make, block, tokens.heads))
        for block, tokens in places(model, SpatialTokens)
    ]


def _relative(inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """(1 k t n) -> (k t h w), times the number of pixels over the sum."""
    maps = output[0] / output[0].mean(dim=-1, keepdim=True)
    height, width = inputs[0].shape[-2:]
    return plain(maps.reshape(*maps.shape[:2], height, width))


def _make(block: str, heads: int, heard: list[Any]) -> list[View]:
    (maps,) = heard
    tokens = maps.shape[1]
    labels = tuple(
        f"head {k + 1}" + (f", token {t + 1}" if tokens > 1 else "")
        for k in range(heads)
        for t in range(tokens)
    )
    return [Maps(look="tokens", block=block, values=maps.flatten(0, 1), labels=labels, unit="times even")]


LOOK = Look("tokens", "Global spatial tokens: where each head looks (1 = as much as anywhere)", _find)
