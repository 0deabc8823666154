"""Singular values and cumulative variance of features (as in AnyIR, arXiv 2504.14249, figure 11).

Features (c h w) are a matrix X of n pixels times c channels, without the channels' means; so s_i^2 / n is the
variance along the i-th principal direction, and cumulative_i = sum_{j <= i} s_j^2 / sum_j s_j^2. A steep
curve means that few directions hold what there is.

- Every network: what each stage gives out.
- AnyIR: both branches and the fused features. ExDA: values V, and V + g(V).

Unusual: they are the roots of the eigenvalues of X^T X, summed in float64 over bands of pixels, so that no
second copy of the features is made. Below about 1e-8 of the largest they are rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.architectures.anyir import AnyIRBlock
from anyrestore.architectures.exda import NonlinearValue, TokenAttention
from anyrestore.inspection.probes import Ear, Look, Probe, places
from anyrestore.inspection.views import Spectrum, View
from anyrestore.layers.naf import NAFUNet
from anyrestore.layers.unet import UNet

_BAND = 1 << 16  # pixels that are in float64 at once
STAGES = "stages"


class Values(NamedTuple):
    """Singular values, falling, and the share of variance that the first ones hold together."""

    singular: Float[Tensor, " c"]
    cumulative: Float[Tensor, " c"]


def singular_values(features: Float[Tensor, "c h w"]) -> Values:
    """Of features as pixels times channels, without the channels' means.

    Features without any variance give zeros, and a cumulative curve of ones.
    """
    rows = features.detach().flatten(1)
    # Means first: a difference of large sums would lose what little varies.
    mean = rows.mean(dim=1, keepdim=True, dtype=torch.float64)
    gram = torch.zeros(rows.shape[0], rows.shape[0], dtype=torch.float64, device=rows.device)
    for band in torch.split(rows, _BAND, dim=1):
        centred = band.double() - mean
        gram += centred @ centred.T
    eigenvalues = cast("Any", torch.linalg.eigvalsh)(gram.cpu()).flip(0).clamp_min(0.0)  # pyright: ignore[reportUnknownMemberType]
    total = eigenvalues.sum()
    shares = eigenvalues.cumsum(0) / total if float(total) > 0 else torch.ones_like(eigenvalues)
    return Values(eigenvalues.sqrt().float(), shares.float())


def _find(model: nn.Module) -> list[Probe]:
    return [*_stages(model), *_branches(model), *_values(model)]


def _stages(model: nn.Module) -> list[Probe]:
    named: list[tuple[str, nn.Module]] = []
    for _, unet in places(model, nn.Module):
        if isinstance(unet, UNet):
            last = [("refinement", unet.refinement)]
            named = [*_numbered("encoder", unet.encoder), *_numbered("decoder", unet.decoder), *last]
        elif isinstance(unet, NAFUNet):
            middle = [("middle", unet.middle)]
            named = [*_numbered("encoder", unet.encoder), *middle, *_numbered("decoder", unet.decoder)]
    return [_probe(stage, STAGES, stage, module, _output) for stage, module in named]


def _branches(model: nn.Module) -> list[Probe]:
    found: list[Probe] = []
    for block, module in places(model, AnyIRBlock):
        takes = {"attention": partial(_input, 0), "GatedDA": partial(_input, 1), "fused": _output}
        found += [_probe(block, block, label, module.fusion, take) for label, take in takes.items()]
    return found


def _values(model: nn.Module) -> list[Probe]:
    found: list[Probe] = []
    for block, attention in places(model, TokenAttention):
        if isinstance(attention.value, NonlinearValue):
            after = "V + g(V)" if attention.value.residual else "g(V)"
            for label, take in {"V": partial(_input, 0), after: _output}.items():
                found.append(_probe(block, block, label, attention.value, take))
    return found


def _numbered(name: str, stages: nn.ModuleList) -> list[tuple[str, nn.Module]]:
    return [(f"{name}.{i}", stage) for i, stage in enumerate(stages)]


def _input(index: int, inputs: tuple[Any, ...], _output: object) -> Values:
    return singular_values(inputs[index][0])


def _output(_inputs: tuple[Any, ...], output: Tensor) -> Values:
    return singular_values(output[0])


def _probe(block: str, group: str, label: str, module: nn.Module, take: Callable[..., Values]) -> Probe:
    return Probe(block, "", (Ear(module, take),), partial(_make, block, group, label))


def _make(block: str, group: str, label: str, heard: list[Any]) -> list[View]:
    singular, cumulative = heard[0]
    return [
        Spectrum(
            look="spectra", block=block, group=group, label=label, singular=singular, cumulative=cumulative
        )
    ]


LOOK = Look(
    "spectra", "Singular values and cumulative variance of features (pixels x channels, centred)", _find
)
