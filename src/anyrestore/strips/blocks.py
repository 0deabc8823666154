"""Transformer blocks on maps in place: attention between channels in two sweeps, feed-forward in one.

Attention needs sums over all pixels before it can change one: a first sweep adds up the products and squares
of queries and keys, a second makes the values and applies the map that follows from the sums. Softmax map and
output projection are one matrix for the picture, so the second sweep is one product and one sum.

CEA-IR's blocks need one sweep more, for their hyper-adapter; what it sees is merged from strip to strip by
the masses of its softmax. Unusual: with dense signed routing the update is linear in the token,
``delta = s (x A^T) B``, so that for one picture ``q + delta = x (W_q + s B^T A)^T``. The factors are merged
into the projection's weight, once a picture; no token pays for them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.architectures.cea import CEABlock
from anyrestore.conditioning.hyper_adapter import (
    Context,
    CrossAttentionGenerator,
    Factors,
    HyperAdapter,
    merge_contexts,
)
from anyrestore.conditioning.low_rank import DenseRouting, LowRankAssembly
from anyrestore.layers.attention import Similarity, TransposedAttention
from anyrestore.layers.transformer import TransformerBlock
from anyrestore.strips.field import Field
from anyrestore.strips.kernels import (
    Branch,
    Gang,
    accumulate,
    add_gated,
    add_linear,
    is_known_norm,
    matrix,
    normed,
)


def is_known_block(block: nn.Module) -> bool:
    """Whether :func:`pass_block` gives what the block itself would."""
    if type(block) is TransformerBlock:
        return is_known_norm(block.norm_attention) and is_known_norm(block.norm_feedforward)
    if type(block) is CEABlock:
        assemblies = cast("list[LowRankAssembly]", list(block.assembly.values()))
        return all(isinstance(assembly.routing, DenseRouting) for assembly in assemblies)
    return False


def pass_block(field: Field, block: TransformerBlock, gang: Gang) -> None:
    """Replace a map by what the block makes of it.

    Args:
        field: the map.
        block: one of which :func:`is_known_block` holds.
        gang: does it.
    """
    adapted = block if isinstance(block, CEABlock) else None
    before = adapted is not None and "ffn" not in adapted.assembly
    to_qkv = matrix(block.attention.to_qkv)
    if adapted is not None and before:
        factors = _factors(field, adapted, block.norm_attention, gang)
        to_qkv = torch.cat(
            [
                weight + _update(adapted, name, factors) if name in adapted.assembly else weight
                for name, weight in zip("qkv", to_qkv.chunk(3), strict=True)
            ]
        )
    _attend(field, block.norm_attention, block.attention, to_qkv, gang)
    feedforward, norm = block.feedforward, block.norm_feedforward
    to_branches = matrix(feedforward.to_branches)
    if adapted is not None and not before:
        to_branches = to_branches + to_branches @ _update(
            adapted, "ffn", _factors(field, adapted, norm, gang)
        )
    branch = Branch.of(norm, to_branches, feedforward.depthwise.weight)
    add_gated(field, branch, matrix(feedforward.to_out).t(), gang)


def _attend(
    field: Field, norm: nn.Module, attention: TransposedAttention, to_qkv: Tensor, gang: Gang
) -> None:
    channels, heads, depthwise = field.channels, attention.heads, attention.depthwise.weight
    of_qk = Branch.of(norm, to_qkv[: 2 * channels], depthwise[: 2 * channels])
    products, squares = accumulate(field, of_qk, heads, gang)
    seen = Similarity(products[None], *squares.view(2, 1, heads, -1).unbind())
    weights = attention.soften(seen)[0].to(field.values.dtype)
    # torch's stub leaves this untyped.
    spread = cast("Tensor", torch.block_diag(*weights.unbind()))  # pyright: ignore[reportUnknownMemberType]
    mixed = spread.t() @ matrix(attention.to_out).t()
    of_v = Branch.of(norm, to_qkv[2 * channels :], depthwise[2 * channels :])
    add_linear(field, of_v, mixed, gang)


def _update(block: CEABlock, name: str, factors: Factors) -> Tensor:
    """``s B^T A`` (c c): what a target's weight is changed by."""
    bases, directions = (block.normalise(factor)[0] for factor in factors[name])
    return cast("LowRankAssembly", block.assembly[name]).scale * (directions.t() @ bases)


def _factors(field: Field, block: CEABlock, norm: nn.Module, gang: Gang) -> Factors:
    """What the block's adapter makes of the normed map."""
    adapter = block.adapter
    if not isinstance(adapter, HyperAdapter):
        return adapter(field.values.new_empty(1, field.channels, 1, 1))
    generator = adapter.generator
    stride = _condensation(generator)[0].stride[0] if isinstance(generator, CrossAttentionGenerator) else 1
    rows = max(gang.rows // stride, 1) * stride

    def work(first: int, last: int) -> Context:
        parts = list[Context]()
        for top in range(first, last, rows):
            parts.append(_context(field, norm, generator, top, min(top + rows, last)))
            field.done(top, min(top + rows, last), again=1)
            gang.crew.pause()
        return merge_contexts(parts)

    return adapter.decode(merge_contexts(gang.crew.share(field.height, work, stride)))


def _condensation(generator: CrossAttentionGenerator) -> tuple[nn.Conv2d, nn.Conv2d]:
    return cast("tuple[nn.Conv2d, nn.Conv2d]", tuple(generator.condense))


def _context(field: Field, norm: nn.Module, generator: nn.Module, first: int, last: int) -> Context:
    """What the generator sees in some rows of the normed map, ``first`` a multiple of its stride."""
    channels = field.channels

    def features_of(above: int, below: int) -> Tensor:
        pixels = normed(field.rows(above, below).view(-1, channels), norm)
        return pixels.view(1, below - above, -1, channels).permute(0, 3, 1, 2)

    if not isinstance(generator, CrossAttentionGenerator):
        return generator(features_of(first, last))
    depthwise, pointwise = _condensation(generator)
    stride = depthwise.stride[0]
    # A token is made of the row of its centre and the ones above and below; beyond the map are zeros.
    needed = first - 1, first - 1 + stride * (-(-(last - first) // stride) - 1) + 3
    above, below = max(needed[0], 0), min(needed[1], field.height)
    features = F.pad(features_of(above, below), (0, 0, above - needed[0], needed[1] - below))
    tokens = F.conv2d(features, depthwise.weight, stride=stride, padding=(0, 1), groups=channels)
    return generator.look(pointwise(tokens))
