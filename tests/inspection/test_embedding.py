"""Embeddings: what each architecture's is, and that it is the image's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from anyrestore.conditioning.complexity_experts import FrequencyEmbedding
from anyrestore.conditioning.hyper_adapter import HyperAdapter
from anyrestore.conditioning.spatial_tokens import SpatialTokens
from anyrestore.errors import ModelError
from anyrestore.inspection.embedding import embed
from anyrestore.zoo import create_model

# At width 8: the adapters' widths; 8 heads of 64; twice GatedDA's half; 8 x 8; the pools' widths.
OWN = {
    "tiny": ("contexts", 32 + 16 + 8),
    "exda-tiny": ("global spatial tokens", 8 * 64),
    "anyir-tiny": ("GatedDA", 2 * 32),
    "moce-tiny": ("frequency embedding", 64),
    "promptir-tiny": ("choose the prompts", 64 + 32 + 16),
    "restormer-tiny": ("the latent stage", 2 * 64),
    "nafnet-tiny": ("the latent stage", 2 * 64),
    "instructir-tiny": ("the latent stage", 2 * 64),
}


def make(name: str, **changes: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name, **changes).eval()


def images(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(1, 3, 16 + 5 * i, 24, generator=generator) for i in range(count)]


@pytest.mark.parametrize("name", OWN)
def test_every_architecture_has_one(name: str) -> None:
    model, (about, width) = make(name), OWN[name]
    found = embed(model, images())
    assert about in found.about
    assert found.vectors.shape == (3, width)
    # An image's vector does not depend on the others, and pictures differ in it.
    assert torch.equal(embed(model, images()[1:2]).vectors[0], found.vectors[1])
    assert not torch.allclose(found.vectors[0], found.vectors[1])
    latent = embed(model, images(), kind="latent")
    assert "latent stage" in latent.about
    assert latent.vectors.shape[0] == 3
    assert all(not module._forward_hooks for module in model.modules())


def called(model: nn.Module, kind: type[nn.Module], x: torch.Tensor) -> list[tuple[Any, Any, Any]]:
    calls: list[tuple[Any, Any, Any]] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: calls.append((module, inputs, output)))
        for module in model.modules()
        if isinstance(module, kind)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return calls


def test_contexts_by_hand() -> None:
    model, x = make("tiny"), torch.rand(1, 3, 16, 16)
    vectors = [
        module.generator.finish(module.generator(inputs[0]))[0].mean(dim=0)
        for module, inputs, _ in called(model, HyperAdapter, x)
    ]
    torch.testing.assert_close(embed(model, [x]).vectors[0], torch.cat(vectors).detach())


def test_tokens_by_hand() -> None:
    model, x = make("exda-tiny"), torch.rand(1, 3, 32, 32)
    _, (features, *_), maps = called(model, SpatialTokens, x)[3]  # encoder 0, 1, 2, then the latent stage
    maps = maps[0, :, 0] / maps[0, :, 0].sum(dim=-1, keepdim=True)
    by_hand = torch.einsum("kn,cn->kc", maps, features[0].flatten(1))
    torch.testing.assert_close(embed(model, [x]).vectors[0], by_hand.flatten())


def test_the_frequency_embedding_is_the_routers_input() -> None:
    model, x = make("moce-tiny"), torch.rand(1, 3, 16, 16)
    ((_, _, output),) = called(model, FrequencyEmbedding, x)
    assert torch.equal(embed(model, [x]).vectors, output)


def test_without_its_own_a_network_falls_back() -> None:
    assert "latent stage" in embed(make("tiny", factors="static"), images(1)).about
    with pytest.raises(ModelError, match="no latent stage"):
        embed(nn.Conv2d(3, 3, 1), images(1))
