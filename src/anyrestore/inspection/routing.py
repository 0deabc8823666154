"""CEA-IR's routing maps: affinities of tokens to rank-wise components (arXiv 2605.06127, eq. 3)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from anyrestore.conditioning.low_rank import DenseRouting, LowRankAssembly
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Maps, View


def _find(model: nn.Module) -> list[Probe]:
    return [_probe(*place) for place in places(model, LowRankAssembly)]


def _probe(place: str, assembly: LowRankAssembly) -> Probe:
    block, _, target = place.rpartition(".")
    signed = isinstance(assembly.routing, DenseRouting)

    def affinity(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return plain(output[0])

    def size(inputs: tuple[Any, ...], _output: object) -> tuple[int, int]:
        height, width = inputs[0].shape[-2:]
        return height, width

    return Probe(
        block,
        target,
        (Ear(assembly.routing, affinity), Ear(assembly, size)),
        partial(_make, block, target, signed),
    )


def _make(block: str, target: str, signed: bool, heard: list[Any]) -> list[View]:  # noqa: FBT001 - of a partial
    affinity, size = heard
    labels = tuple(f"rank {i + 1}" for i in range(affinity.shape[0]))
    unit = "affinity" if signed else "weight"
    return [
        Maps(
            look="routing",
            block=block,
            part=target,
            values=affinity.unflatten(-1, size),
            labels=labels,
            unit=unit,
            signed=signed,
        )
    ]


LOOK = Look("routing", "Routing maps: affinity of every token to every rank-wise component", _find)
