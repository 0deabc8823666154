"""What a network knows of a picture as a whole, as one vector: to see whether degradations fall apart in it.

What the vector is depends on what an architecture has that could know of the degradation:

========== ================================================================================================
CEA-IR     contexts of all hyper-adapters, each the mean over its 2r queries
ExDA       features at the last latent block's attention, averaged under each head's global spatial tokens
AnyIR      output of GatedDA in the last latent block: mean and deviation of every channel
MoCE-IR    the frequency embedding, which all routers are given
PromptIR   the means that choose the prompts, of all pools
any other  the latent stage's output: mean and deviation of every channel
========== ================================================================================================

``kind="latent"`` takes the last line for every network, so that architectures can be compared. A network
without what its line names (CEA-IR with static factors, for example) falls to the last one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.architectures.anyir import AnyIRBlock
from anyrestore.conditioning.complexity_experts import FrequencyEmbedding
from anyrestore.conditioning.hyper_adapter import Context, HyperAdapter
from anyrestore.conditioning.prompt_pool import Mean, PromptPool
from anyrestore.conditioning.spatial_tokens import SpatialTokens
from anyrestore.errors import ModelError
from anyrestore.inspection.looking import eval_mode
from anyrestore.inspection.probes import Ear, Probe, listening, places, plain
from anyrestore.layers.naf import NAFUNet
from anyrestore.layers.padding import pad_to_multiple
from anyrestore.layers.unet import UNet

Kind = Literal["own", "latent"]
_LATENT = "the latent stage's features: mean and deviation of every channel"


class Embeddings(NamedTuple):
    """One vector an image, and what it is."""

    vectors: Float[Tensor, "n d"]
    about: str


def embed(
    model: nn.Module, images: Iterable[Tensor], *, kind: Kind = "own", condition: object = None
) -> Embeddings:
    """The vectors of images, one at a time.

    Args:
        model: a network of the zoo; run in eval mode, and left as it is.
        images: (1 3 h w) each, RGB in [0, 1], any sizes, on the model's device.
        kind: "own" for the architecture's own vector, "latent" for pooled latent features.
        condition: what the model is given beside every image.

    Raises:
        ModelError: the model has no latent stage that is known here.
    """
    about, ears = _ears(model, kind)
    vectors: list[Tensor] = []
    multiple = int(getattr(model, "size_multiple", 1))
    with eval_mode(model), torch.no_grad():
        for image in images:
            # Each time anew: nothing may depend on how many images came before.
            with listening([Probe("", "", ears, _nothing)]) as heard:
                padded, _ = pad_to_multiple(image, multiple)
                _ = model(padded) if condition is None else model(padded, condition)
            vectors.append(torch.cat([kept[-1] for kept in heard[0]]))
    return Embeddings(torch.stack(vectors), about)


def _ears(model: nn.Module, kind: Kind) -> tuple[str, list[Ear]]:
    for about, find in _OWN.items() if kind == "own" else ():
        if found := find(model):
            return about, found
    for module in model.modules():
        if isinstance(module, (UNet, NAFUNet)):
            latent = module.encoder[-1] if isinstance(module, UNet) else module.middle
            return _LATENT, [Ear(latent, _pooled)]
    raise ModelError(f"expected a network of the zoo, came {type(model).__name__}; it has no latent stage")


def _contexts(model: nn.Module) -> list[Ear]:
    return [Ear(module.generator, _context) for _, module in places(model, HyperAdapter)]


def _tokens(model: nn.Module) -> list[Ear]:
    return [Ear(module, _weighted) for place, module in places(model, SpatialTokens) if _latent(place)][-1:]


def _gated(model: nn.Module) -> list[Ear]:
    blocks = [module for place, module in places(model, AnyIRBlock) if _latent(place)][-1:]
    return [Ear(module.gate, _pooled) for module in blocks if module.gate is not None]


def _frequency(model: nn.Module) -> list[Ear]:
    return [Ear(module, _row) for _, module in places(model, FrequencyEmbedding)]


def _prompts(model: nn.Module) -> list[Ear]:
    return [Ear(module.mean, _mean) for _, module in places(model, PromptPool)]


_OWN: dict[str, Callable[[nn.Module], list[Ear]]] = {
    "contexts of all hyper-adapters, each the mean over its queries": _contexts,
    "latent features averaged under each head's global spatial tokens": _tokens,
    "GatedDA in the last latent block: mean and deviation of every channel": _gated,
    "the frequency embedding that all routers are given": _frequency,
    "the means that choose the prompts, of all pools": _prompts,
}


def _latent(place: str) -> bool:
    return place.startswith(f"encoder.{UNet.levels - 1}.")


def _context(_inputs: tuple[Any, ...], output: Context) -> Tensor:
    return plain(output.vectors[0].mean(dim=0).flatten())


def _weighted(inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Features (1 c h w) under maps (1 k t n): (k t c), flat."""
    maps = output[0] / output[0].sum(dim=-1, keepdim=True)
    return plain((maps.flatten(0, 1) @ inputs[0][0].flatten(1).T).flatten())


def _pooled(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    rows = plain(output[0]).flatten(1)
    return torch.cat([rows.mean(dim=1), rows.std(dim=1, correction=0)])


def _row(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return plain(output[0])


def _mean(_inputs: tuple[Any, ...], output: Mean) -> Tensor:
    return plain(output.value[0])


def _nothing(_heard: list[Any]) -> list[Any]:
    return []
