"""PromptIR's prompt weights: how much of every stored component each pool mixes in (arXiv 2306.13090)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from anyrestore.conditioning.prompt_pool import PromptPool
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Shares, View


def _find(model: nn.Module) -> list[Probe]:
    return [
        Probe(block, "", (Ear(pool.to_weights, _weights),), partial(_make, block))
        for block, pool in places(model, PromptPool)
    ]


def _weights(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return plain(output[0].softmax(dim=-1))


def _make(block: str, heard: list[Any]) -> list[View]:
    (weights,) = heard
    labels = tuple(f"prompt {i + 1}" for i in range(len(weights)))
    return [Shares(look="prompts", block=block, values=weights, labels=labels, unit="weight")]


LOOK = Look("prompts", "Weights of the prompt components, pool by pool", _find, every=True)
