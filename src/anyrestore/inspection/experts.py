"""MoCE-IR's choices: the probability of every complexity expert in every block, and which ones were run."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from anyrestore.architectures.moce import MoCEBlock
from anyrestore.conditioning.complexity_experts import ComplexityExpert, Routing
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Shares, View


def _find(model: nn.Module) -> list[Probe]:
    found: list[Probe] = []
    for block, module in places(model, MoCEBlock):
        windows = [e.attention.window for e in module.experts.experts if isinstance(e, ComplexityExpert)]
        labels = tuple(f"expert {i + 1}\nwindow {window}" for i, window in enumerate(windows))
        found.append(Probe(block, "", (Ear(module.router, _routed),), partial(_make, block, labels)))
    return found


def _routed(_inputs: tuple[Any, ...], routing: Routing) -> tuple[Tensor, tuple[int, ...]]:
    chosen = tuple(int(i) for i in routing.gates[0].nonzero().flatten())
    return plain(routing.noisy[0].softmax(dim=-1)), chosen


def _make(block: str, labels: tuple[str, ...], heard: list[Any]) -> list[View]:
    ((shares, chosen),) = heard
    return [
        Shares(look="experts", block=block, values=shares, labels=labels, chosen=chosen, unit="probability")
    ]


LOOK = Look(
    "experts", "Experts' probabilities in every block; framed: those that were run", _find, every=True
)
