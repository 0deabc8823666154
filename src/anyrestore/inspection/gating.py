"""AnyIR's block, branch by branch (arXiv 2504.14249, figure 15): split, attention, GatedDA, fusion.

What is shown of features is their mean absolute value over the channels; of the gate, where it is a sigmoid,
its mean opening.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.architectures.anyir import AnyIRBlock
from anyrestore.conditioning.gated_adaptation import GatedAdaptation
from anyrestore.inspection.probes import Ear, Look, Probe, magnitude, places
from anyrestore.inspection.views import Maps, View

Named = dict[str, Tensor]


def _find(model: nn.Module) -> list[Probe]:
    found: list[Probe] = []
    for block, module in places(model, AnyIRBlock):
        ears = [Ear(module.attention, partial(_branch, "split 1", "attention"))]
        if module.gate is not None:
            ears.append(Ear(module.gate, partial(_branch, "split 2", "GatedDA")))
            ears.append(Ear(module.gate, partial(_parts, module.gate)))
        ears.append(Ear(module.fusion, _fused))
        found.append(Probe(block, "", ears, partial(_make, block)))
    return found


def _branch(before: str, after: str, inputs: tuple[Any, ...], output: Tensor) -> Named:
    return {before: magnitude(inputs[0]), after: magnitude(output)}


def _parts(gate: GatedAdaptation, inputs: tuple[Any, ...], _output: Tensor) -> Named:
    # Computed once more: the gate itself makes each of them by itself, and no module hands them out.
    gamma, beta, alpha = torch.split(gate.expand(gate.norm(inputs[0])), list(gate.widths), dim=1)
    named = {"α": alpha, "β": beta, "γ": gamma}
    if gate.widths[0]:
        named["gate(γ)"] = gate.activation(gamma)
    return {name: magnitude(part) for name, part in named.items() if part.shape[1]}


def _fused(_inputs: tuple[Any, ...], output: Tensor) -> Named:
    return {"fused": magnitude(output)}


def _make(block: str, heard: list[Any]) -> list[View]:
    named = {name: one for part in heard for name, one in part.items()}
    return [
        Maps(
            look="gating",
            block=block,
            values=torch.stack(list(named.values())),
            labels=tuple(named),
            unit="mean |x|",
            shared=False,
        )
    ]


LOOK = Look(
    "gating", "Split, attention, GatedDA with its α, β, γ, and what they are fused to: mean |x|", _find
)
