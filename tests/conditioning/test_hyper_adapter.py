"""Hyper-adapters: cross-attention against a reference, merging of contexts, per-image factors."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from anyrestore.conditioning.hyper_adapter import (
    CrossAttentionGenerator,
    HyperAdapter,
    PooledGenerator,
    StaticFactors,
    merge_contexts,
)


def features(batch: int = 1, width: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 8, 16, width, generator=torch.Generator().manual_seed(seed))


def test_cross_attention_equals_pytorchs() -> None:
    generator = CrossAttentionGenerator(8, 3, heads=4)
    x = features(2)
    tokens = generator.condense(x).flatten(2).transpose(1, 2)
    query = generator.to_query(generator.queries).expand(2, -1, -1)
    key, value = generator.to_key_value(tokens).chunk(2, dim=-1)
    q, k, v = (t.unflatten(-1, (4, 2)).transpose(1, 2) for t in (query, key, value))
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(generator.finish(generator(x)), expected)


@pytest.mark.parametrize("kind", ["cross_attention", "pooled"])
def test_contexts_of_parts_merge_to_the_context_of_the_whole(
    kind: Literal["cross_attention", "pooled"],
) -> None:
    generator = HyperAdapter(8, 2, ("q",), generator=kind).generator
    if isinstance(generator, CrossAttentionGenerator):
        generator.condense = torch.nn.Identity()  # condensation looks across the cut; merging itself is exact
    x = features(width=24)
    whole = generator(x)
    merged = merge_contexts([generator(x[..., :8]), generator(x[..., 8:])])
    torch.testing.assert_close(merged.vectors, whole.vectors)
    torch.testing.assert_close(merged.log_mass, whole.log_mass)


def test_factors_differ_between_images_and_targets_and_do_not_couple_a_batch() -> None:
    adapter = HyperAdapter(8, 2, ("q", "k"))
    x = features(2)
    together = adapter(x)
    alone = adapter(x[1:])
    assert set(together) == {"q", "k"}
    for target in together:
        for both, one in zip(together[target], alone[target], strict=True):
            assert both.shape == (2, 2, 8)
            assert not torch.allclose(both[0], both[1])
            torch.testing.assert_close(both[1:], one)
    assert not torch.allclose(together["q"][0], together["k"][0])


def test_static_factors_are_the_same_for_every_image() -> None:
    (bases, directions) = StaticFactors(8, 2, ("q",))(features(3))["q"]
    assert bases.shape == directions.shape == (3, 2, 8)
    assert torch.equal(bases[0], bases[2])


def test_the_pooled_generator_sees_only_the_mean() -> None:
    generator = PooledGenerator(8, 2)
    x = features()
    shuffled = x.flatten(2)[:, :, torch.randperm(256, generator=torch.Generator().manual_seed(1))].view_as(x)
    torch.testing.assert_close(generator.finish(generator(x)), generator.finish(generator(shuffled)))
