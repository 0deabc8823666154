"""Hyper-adapters: from the features of one degraded image to its own low-rank factors.

CEA-IR (arXiv 2605.06127), section 3.3 and appendix A.1. A *generator* looks at the features and returns 2r
context vectors, r for the routing bases and r for the residual directions, shared by all targets; linear
heads decode them, per target, into A_t and B_t.

Unusual: a generator returns its context together with the *log mass* behind it. Contexts of several tiles of
one picture merge into the context of the whole picture (a softmax average is a weighted mean of partial
softmax averages), so that tiles can share their factors; see :func:`merge_contexts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.types import Features


class Context(NamedTuple):
    """What a generator has seen: vectors per query and head (d = c/k channels), the log mass behind each."""

    vectors: Float[Tensor, "b q k d"]
    log_mass: Float[Tensor, "b q k"]


#: Routing bases and residual directions (each b r c) per target name.
Factors = dict[str, tuple[Tensor, Tensor]]


def merge_contexts(parts: Iterable[Context]) -> Context:
    """The context of all parts' tokens together (exact for the same token features)."""
    vectors, log_mass = (torch.stack(items) for items in zip(*parts, strict=True))
    share = log_mass.softmax(dim=0)
    return Context((vectors * share.unsqueeze(-1)).sum(dim=0), log_mass.logsumexp(dim=0))


class Condense(nn.Sequential):
    """Depthwise 3x3 with stride and padding 1, then pointwise 1x1 with bias: fewer tokens, same width.

    The paper's stride did not survive text extraction; 4 is used.
    """

    def __init__(self, channels: int, stride: int = 4) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
        )


class CrossAttentionGenerator(nn.Module):
    """2r learnable queries probe the condensed features by multi-head cross-attention, equation (4).

    Unusual: no output projection (the published parameter counts leave no room for one).

    Args:
        channels: width c of the features.
        rank: r; there are 2r queries.
        heads: heads k of the cross-attention (4 in the paper).
        stride: stride of the condensation.
    """

    def __init__(self, channels: int, rank: int, *, heads: int = 4, stride: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.condense = Condense(channels, stride)
        self.queries = nn.Parameter(torch.randn(2 * rank, channels) * channels**-0.5)
        self.to_query = nn.Linear(channels, channels)
        self.to_key_value = nn.Linear(channels, 2 * channels)

    def forward(self, x: Features) -> Context:
        """Context of the features ``x`` (b c h w)."""
        return self.look(self.condense(x))

    def look(self, condensed: Features) -> Context:
        """Context of condensed features (b c h w)."""
        tokens = condensed.flatten(2).transpose(1, 2)  # b n c
        query = self.to_query(self.queries).unflatten(-1, (self.heads, -1))  # q k d
        key, value = self.to_key_value(tokens).unflatten(-1, (2, self.heads, -1)).unbind(2)  # b n k d
        scores = torch.einsum("qkd,bnkd->bqkn", query, key) * query.shape[-1] ** -0.5
        vectors = torch.einsum("bqkn,bnkd->bqkd", scores.softmax(dim=-1), value)
        return Context(vectors, scores.logsumexp(dim=-1))

    def finish(self, context: Context) -> Tensor:
        """Context vectors (b 2r c): the heads side by side."""
        return context.vectors.flatten(2)


class PooledGenerator(nn.Module):
    """The ablation's global descriptor: average pooling, then an MLP c -> c -> 2r c.

    The paper gives no sizes for this MLP; one hidden layer of width c is the smallest that can decode.
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, 2 * rank * channels)
        )
        self.queries = 2 * rank

    def forward(self, x: Features) -> Context:
        """The mean of the features ``x`` (b c h w) as a context of one query and one head; mass = pixels."""
        mean = x.mean(dim=(-2, -1))[:, None, None]
        return Context(mean, torch.full_like(mean[..., 0], x.shape[-2] * x.shape[-1]).log())

    def finish(self, context: Context) -> Tensor:
        """Context vectors (b 2r c), by the MLP."""
        return self.mlp(context.vectors.flatten(1)).unflatten(-1, (self.queries, -1))


class HyperAdapter(nn.Module):
    """Generator and target-specific heads: features -> factors of every target, equation (5).

    Args:
        channels: width c.
        rank: r.
        targets: names of the projections to be updated.
        generator: "cross_attention" (the paper's) or "pooled" (GAP + MLP).
        heads: heads of the cross-attention.
        stride: stride of the condensation.
    """

    def __init__(
        self,
        channels: int,
        rank: int,
        targets: Sequence[str],
        *,
        generator: Literal["cross_attention", "pooled"] = "cross_attention",
        heads: int = 4,
        stride: int = 4,
    ) -> None:
        super().__init__()
        self.rank = rank
        self.generator = (
            CrossAttentionGenerator(channels, rank, heads=heads, stride=stride)
            if generator == "cross_attention"
            else PooledGenerator(channels, rank)
        )
        self.to_bases = nn.ModuleDict({target: nn.Linear(channels, channels) for target in targets})
        self.to_directions = nn.ModuleDict({target: nn.Linear(channels, channels) for target in targets})
        self.decoded = nn.Identity()  # where forward hooks see the factors, whichever way a picture goes

    def decode(self, context: Context) -> Factors:
        """Factors (b r c) of every target, not normalised, from a (possibly merged) context."""
        vectors = self.generator.finish(context)
        for_bases, for_directions = vectors[:, : self.rank], vectors[:, self.rank :]
        return self.decoded(
            {
                target: (head(for_bases), self.to_directions[target](for_directions))
                for target, head in self.to_bases.items()
            }
        )

    def forward(self, x: Features) -> Factors:
        """Factors of every target for the features ``x`` (b c h w)."""
        return self.decode(self.generator(x))


class StaticFactors(nn.Module):
    """The ablation's fixed bank: the same learnable factors for every image, one pair per target."""

    def __init__(self, channels: int, rank: int, targets: Sequence[str]) -> None:
        super().__init__()
        self.bases = nn.ParameterDict({t: torch.randn(rank, channels) * channels**-0.5 for t in targets})
        self.directions = nn.ParameterDict({t: torch.randn(rank, channels) * channels**-0.5 for t in targets})

    def forward(self, x: Features) -> Factors:
        """Factors (b r c) of every target, the same for every image of the batch."""
        return {
            target: (bases.expand(x.shape[0], -1, -1), self.directions[target].expand(x.shape[0], -1, -1))
            for target, bases in self.bases.items()
        }
