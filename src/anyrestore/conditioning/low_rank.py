r"""Low-rank assembly: every token assembles its own residual from shared rank-wise components.

CEA-IR (arXiv 2605.06127), equations (2), (3), (8), (9). For tokens X (n x c), routing bases A (r x c) and
residual directions B (r x c), per image and per target projection,

    Delta = scale * (X A^T) B

X A^T is the *routing map*: the signed affinity of every token to every rank. Unusual: it is neither softmaxed
nor clipped, and the dense c x c matrix A^T B is never formed: two products of cost n*c*r each.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.parts import is_channels_last
from anyrestore.types import Features

Factor = Float[Tensor, "b r c"]


def rank_norm(factor: Factor) -> Factor:
    """Divide every row (one rank-wise component of one image) by its l2 norm; equation (8)."""
    return F.normalize(factor, dim=-1)


class DenseRouting(nn.Module):
    """The signed affinity X A^T itself, (b r n)."""

    def forward(self, tokens: Float[Tensor, "b c n"], bases: Factor) -> Float[Tensor, "b r n"]:
        """Tokens are columns here: A X, without a transposed copy of the feature map."""
        return bases @ tokens


class TopKRouting(nn.Module):
    """The sparse rule CEA-IR is compared with: softmax over the k largest affinities, zero elsewhere.

    Args:
        k: how many rank-wise components a token may use (2 in the paper's ablation).
    """

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.k = k

    def forward(self, tokens: Float[Tensor, "b c n"], bases: Factor) -> Float[Tensor, "b r n"]:
        """Routing weights, non-negative, summing to one over the ranks."""
        affinity = bases @ tokens
        best, index = affinity.topk(min(self.k, affinity.shape[1]), dim=1)
        return torch.zeros_like(affinity).scatter(1, index, best.softmax(dim=1))


class LowRankAssembly(nn.Module):
    """``Delta = scale * (X A^T) B`` for one target projection.

    The paper only says "a stabilizing scaling factor"; here it is 1/sqrt(r), fixed or as a learnable scalar's
    start.

    Args:
        rank: number r of rank-wise components.
        routing: "dense" (signed, the paper's) or "top2" (softmax over the two largest affinities).
        learnable_scale: make ``scale`` a parameter.
    """

    scale: Tensor

    def __init__(
        self, rank: int, routing: Literal["dense", "top2"] = "dense", *, learnable_scale: bool = False
    ) -> None:
        super().__init__()
        self.routing = DenseRouting() if routing == "dense" else TopKRouting(2)
        scale = torch.tensor(rank**-0.5)
        if learnable_scale:
            self.scale = nn.Parameter(scale)
        else:  # derived from the rank, so not part of the stored weights
            self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Features, bases: Factor, directions: Factor) -> Features:
        """Residual (b c h w) for features ``x`` (b c h w), in their memory format."""
        affinity: Tensor = self.routing(x.flatten(2), bases)
        directions = directions * self.scale
        if is_channels_last(x):
            delta = affinity.transpose(1, 2) @ directions
            return delta.reshape(x.shape[0], *x.shape[-2:], -1).movedim(-1, 1)
        return (directions.transpose(1, 2) @ affinity).reshape(x.shape)
