"""Attention between channels (Restormer's MDTA): the matrices, head by head, after the softmax."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.architectures.moce import CrossAttention
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Matrices, View
from anyrestore.layers.attention import ChannelAttention, Similarity


def _find(model: nn.Module) -> list[Probe]:
    found: list[Probe] = []
    for place, module in places(model, nn.Module):
        if isinstance(module, (ChannelAttention, CrossAttention)):
            block, _, last = place.rpartition(".")
            block, part = (block, last) if last in ("shared", "cross") else (place, "")
            ear = Ear(module.similarity, partial(_weights, module.temperature))
            found.append(Probe(block, part, (ear,), partial(_make, block, part)))
    return found


def _weights(temperature: Tensor, _inputs: tuple[Any, ...], seen: Similarity) -> Tensor:
    """What the attention multiplies the values with: (k d d), every row sums to 1."""
    return plain(torch.softmax(seen.cosine() * temperature, dim=-1)[0])


def _make(block: str, part: str, heard: list[Any]) -> list[View]:
    (weights,) = heard
    labels = tuple(f"head {i + 1}" for i in range(weights.shape[0]))
    return [Matrices(look="attention", block=block, part=part, values=weights, labels=labels, unit="weight")]


LOOK = Look("attention", "Attention between channels: weights of k's channels (across) for q's (down)", _find)
