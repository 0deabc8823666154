"""The mean of several weights of one network: of the runs of a history, or of one start.

After Wortsman et al., "Model soups" (ICML 2022, arXiv 2203.05482) and "Robust fine-tuning of zero-shot
models" (CVPR 2022, arXiv 2109.01903): weights that were trained on from a common start often lie in one
valley, and their mean keeps what each of them is good at. Whether it does has to be measured; nothing here
knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from anyrestore.errors import ModelError, UsageError
from anyrestore.zoo.weights import load_model

__all__ = ["average"]


def average(names: Sequence[str], shares: Sequence[float] = ()) -> nn.Module:
    """A network whose every number is the weighted mean of the same number of several networks.

    Args:
        names: at least two, each as of :func:`anyrestore.zoo.load_model`.
        shares: of each in the mean, not negative, of any sum above 0; empty: equal.

    Returns:
        In eval mode, float32; sums are made in float64.

    Raises:
        UsageError: fewer than two, or shares that are not one for each.
        ModelError: one cannot be loaded, or they are not weights of one network of ours.
    """
    if len(names) < 2:
        raise UsageError(f"expected at least two weights to average, came {len(names)}")
    shares = tuple(shares) or (1.0,) * len(names)
    if len(shares) != len(names) or min(shares) < 0 or not 0 < math.fsum(shares) < math.inf:
        raise UsageError(
            f"expected a share for each of the {len(names)} weights, none below 0 and not all 0, came "
            f"{', '.join(f'{share:g}' for share in shares)}"
        )
    whole = load_model(names[0])
    sums = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in whole.state_dict().items()}
    for name, share in zip(names, shares, strict=True):
        network = load_model(name)
        if _kind(network) != _kind(whole):
            raise ModelError(
                f"expected weights of one network, but {names[0]} and {name} are of different ones; "
                "average only what was trained from one start"
            )
        for key, value in network.state_dict().items():
            sums[key] += value.double() * (share / math.fsum(shares))
    whole.load_state_dict({key: _as(value, whole.state_dict()[key]) for key, value in sums.items()})
    return whole


def _kind(network: nn.Module) -> tuple[Any, ...]:
    """What two networks must have in common."""
    config: Any = getattr(network, "config", None)
    shapes: Mapping[str, Any] = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    return type(network), None if config is None else asdict(config), shapes


def _as(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return value.to(like.dtype) if like.is_floating_point() else value.round().to(like.dtype)
