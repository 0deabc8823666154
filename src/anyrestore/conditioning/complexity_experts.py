"""Complexity experts: bottlenecks of growing rank and window, one of them chosen for a whole image.

MoCE-IR (arXiv 2411.18466), section 3, with the constants of its public code. Of n experts over width c,
expert i works on c / 2^(n-1-i) channels with attention in windows of 4 * 2^i pixels: the first is cheap and
local, the last as wide as the block. The router adds two linear maps, of the block's pooled features and of
an embedding of the latent's high frequencies; the best k experts are run, weighted by their softmax over
*all* experts.

Unusual:

- attention in a window is a circular convolution of queries with keys, a product of their spectra, times
  the values;
- noise of standard deviation 1/n is added to the logits in training, from torch's global generator. Two
  losses keep experts in use: ``importance`` (of the probabilities without noise) and ``load`` (of the
  chance to be chosen);
- an expert's importance is multiplied by its share of parameters, so that equal importance means that cheap
  experts are chosen more often;
- which experts run depends on the data. A graph that is being compiled runs all of them, with weight 0 for
  those not chosen; on the meta device, which has no data, the k costliest stand for the chosen ones;
- in training an expert that no image chose is run on one pixel and multiplied by 0, so that every parameter
  has a gradient (zero), which optimisers and processes that train together rely on.

The faults of the public code are behind ``paper_quirks``, see :mod:`anyrestore.architectures.moce`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.parts import expand, like
from anyrestore.layers.sharing import GlobalMean, Mean
from anyrestore.types import Features


class HighPass(nn.Module):
    """Depthwise 3x3, at first eight times a pixel minus its neighbours; it is part of the stored weights.

    Args:
        channels: width c.
        frozen: not trained, as the public code means it (there the kernel trains all the same).
    """

    def __init__(self, channels: int, *, frozen: bool = True) -> None:
        super().__init__()
        kernel = torch.full((channels, 1, 3, 3), -1.0)
        kernel[:, :, 1, 1] = 8.0
        self.weight = nn.Parameter(kernel, requires_grad=not frozen)

    def forward(self, x: Features) -> Features:
        """(b c h w) in and out."""
        return F.conv2d(x, self.weight, padding=1, groups=len(self.weight))


class FrequencyEmbedding(nn.Module):
    """High-pass, GELU, mean over the image, MLP c -> 2c -> c: what all routers know of the degradation."""

    def __init__(self, channels: int, *, frozen: bool = True) -> None:
        super().__init__()
        self.high_pass = HighPass(channels, frozen=frozen)
        self.mean = GlobalMean()
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, latent: Features, mean: Mean | None = None) -> Float[Tensor, "b c"]:
        """Embedding of the latent (b c h w); ``mean`` over the whole picture, if given, not its own."""
        own: Mean = self.mean(F.gelu(self.high_pass(latent))) if mean is None else mean
        return self.mlp(own.value)


class WindowConvolution(nn.Module):
    """``out(norm(q * k) times v)`` with * the circular convolution in windows, by FFT.

    1x1 to q, k, v; depthwise 3x3 on q, 7x7 on k and v. Windows start at the upper left; what is missing at
    the right and bottom is zero.

    Args:
        channels: width c.
        window: side of a window.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        self.q_depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.to_kv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.kv_depthwise = nn.Conv2d(2 * channels, 2 * channels, 7, padding=3, groups=2 * channels)
        self.norm = LayerNorm(channels)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def convolve(self, q: Features, k: Features) -> Features:
        """Circular convolution of every window of q with that of k, channel by channel, in float32."""
        height, width = q.shape[-2:]
        side = self.window
        missing = (0, -width % side, 0, -height % side)
        given = q
        q, k = (F.pad(x.float(), missing).unfold(2, side, side).unfold(3, side, side) for x in (q, k))
        # b c i j side side from here on; torch's stubs leave the transforms untyped.
        rfft2, irfft2 = cast("Any", torch.fft.rfft2), cast("Any", torch.fft.irfft2)  # pyright: ignore[reportUnknownMemberType]
        mixed: Tensor = irfft2(rfft2(q) * rfft2(k), s=(side, side))
        b, c, rows, columns = mixed.shape[:4]
        mixed = mixed.transpose(3, 4).reshape(b, c, rows * side, columns * side)[..., :height, :width]
        return like(mixed, given)

    def forward(self, x: Features) -> Features:
        """(b c h w) in and out, any size."""
        q = self.q_depthwise(self.to_q(x))
        k, v = expand(x, self.to_kv, self.kv_depthwise, 2)
        return self.to_out(self.norm(self.convolve(q, k)).to(v.dtype) * v)


class ComplexityExpert(nn.Module):
    """``x + up(attention(down(x)) * silu(gate(shared)))``, ``depth`` times over with the same weights.

    Args:
        channels: width c.
        rank: width of the bottleneck.
        window: side of the attention's windows.
        depth: how often it is applied; the paper's models have 1.
    """

    def __init__(self, channels: int, rank: int, window: int, depth: int = 1) -> None:
        super().__init__()
        self.depth = depth
        self.down = nn.Conv2d(channels, rank, 1, bias=False)
        self.gate = nn.Conv2d(channels, rank, 1, bias=False)
        self.up = nn.Conv2d(rank, channels, 1, bias=False)
        self.attention = WindowConvolution(rank, window)

    def forward(self, x: Features, shared: Features) -> Features:
        """(b c h w) in and out; ``shared`` is what the shared expert made of the same image."""
        gate = F.silu(self.gate(shared))
        for _ in range(self.depth):
            x = x + self.up(self.attention(self.down(x)) * gate)
        return x


class Routing(NamedTuple):
    """What a router found for every image."""

    logits: Float[Tensor, "b e"]  # without noise
    noisy: Float[Tensor, "b e"]  # with it; the same tensor where there is none
    gates: Float[Tensor, "b e"]  # softmax of ``noisy`` where an expert was chosen, 0 elsewhere


class Router(nn.Module):
    """Chooses k experts of every image from the block's features and the frequency embedding.

    Args:
        channels: width c of the block.
        embedding: width of the frequency embedding.
        experts: number n of experts.
        top_k: number k of them that are chosen.
        noisy_inference: add the noise outside training too (the public code does).
    """

    def __init__(
        self, channels: int, embedding: int, experts: int, top_k: int = 1, *, noisy_inference: bool = False
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.noise = 1 / experts
        self.noisy_inference = noisy_inference
        self.mean = GlobalMean()
        self.from_features = nn.Linear(channels, experts, bias=False)
        self.from_embedding = nn.Linear(embedding, experts, bias=False)

    def forward(
        self,
        x: Features,
        embedding: Float[Tensor, "b f"],
        mean: Mean | None = None,
        expert: int | None = None,
    ) -> Routing:
        """Route the images of ``x`` (b c h w).

        Args:
            x: the block's features.
            embedding: of the same images' latents.
            mean: over the whole picture that ``x`` is a part of, in place of its own.
            expert: run this one in place of the best; its weight stays the best one's probability, so that
                nothing but the expert changes.
        """
        own: Mean = self.mean(x) if mean is None else mean
        logits = (self.from_features(own.value) + self.from_embedding(embedding)).float()
        logits = logits.expand(x.shape[0], -1)
        noisy = logits
        if self.training or self.noisy_inference:
            noisy = logits + torch.randn_like(logits) * self.noise
        best, index = noisy.softmax(dim=-1).topk(self.top_k, dim=-1)
        if expert is not None:
            best, index = best[:, :1], torch.full_like(index[:, :1], expert)
        return Routing(logits, noisy, torch.zeros_like(noisy).scatter(1, index, best))


class ComplexityExperts(nn.Module):
    """Experts of growing complexity, run as a :class:`Routing` says, then 1x1.

    Args:
        channels: width c.
        ranks: width of every expert's bottleneck.
        windows: side of every expert's windows.
        depths: how often every expert is applied.
        paper_quirks: outside training, images of one batch get the sum of all experts that any of them chose,
            and depths have no effect.
    """

    complexity: Tensor

    def __init__(
        self,
        channels: int,
        ranks: Sequence[int],
        windows: Sequence[int],
        depths: Sequence[int],
        *,
        paper_quirks: bool = False,
    ) -> None:
        super().__init__()
        self.paper_quirks = paper_quirks
        self.experts = nn.ModuleList(
            ComplexityExpert(channels, rank, window, 1 if paper_quirks else depth)
            for rank, window, depth in zip(ranks, windows, depths, strict=True)
        )
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)
        sizes = torch.tensor(
            [float(sum(p.numel() for p in e.parameters())) for e in self.experts], device="cpu"
        )
        # Share of the largest expert's parameters; follows from the ranks, so it is not stored.
        self.register_buffer("complexity", sizes / sizes.max(), persistent=False)

    def forward(self, x: Features, shared: Features, routing: Routing) -> Features:
        """(b c h w) in and out."""
        gates = routing.gates
        if self.paper_quirks and not self.training:
            chosen = (gates > 0).float()
            gates = gates.amax(dim=1, keepdim=True) * chosen.sum(dim=0) if chosen.shape[0] > 1 else gates
        return self.to_out(
            self._everywhere(x, shared, gates) if _static(x) else self._chosen(x, shared, gates)
        )

    def _everywhere(self, x: Features, shared: Features, gates: Float[Tensor, "b e"]) -> Features:
        """Every expert on every image; on the meta device one expert, the costliest."""
        experts = list(enumerate(self.experts))
        return torch.stack(
            [
                gates[:, i, None, None, None] * expert(x, shared)
                for i, expert in experts[-1 if x.is_meta else 0 :]
            ]
        ).sum(dim=0)

    def _chosen(self, x: Features, shared: Features, gates: Float[Tensor, "b e"]) -> Features:
        """Every expert on the images that chose it."""
        out = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, gates.dtype))
        for i, expert in enumerate(self.experts):
            rows: Int[Tensor, " r"] = gates[:, i].nonzero().flatten()
            if len(rows) == len(x):
                out = out + gates[:, i, None, None, None] * expert(x, shared)
            elif len(rows):
                part = gates[rows, i][:, None, None, None] * expert(x[rows], shared[rows])
                out = out.index_add(0, rows, part.to(out.dtype))
            elif self.training:
                out = out + 0 * expert(x[:1, :, :1, :1], shared[:1, :, :1, :1])
        return out


def importance_loss(
    logits: Float[Tensor, "b e"], complexity: Float[Tensor, " e"] | None
) -> Float[Tensor, ""]:
    """How unequal the experts' probabilities, summed over the batch and times their complexity, are."""
    importance = logits.softmax(dim=-1).sum(dim=0)
    return _variation(importance if complexity is None else importance * complexity)


def load_loss(routing: Routing, top_k: int, noise: float) -> Float[Tensor, ""]:
    """How unequal the experts' chances are, with noise drawn anew, to reach the last chosen one's logit."""
    threshold = routing.noisy.topk(top_k, dim=-1).values[:, -1:]
    ndtr = cast("Any", torch.special.ndtr)  # pyright: ignore[reportUnknownMemberType]
    chance: Tensor = ndtr((routing.logits - threshold) / noise)
    return _variation(chance.mean(dim=0))


def _variation(x: Float[Tensor, " e"]) -> Float[Tensor, ""]:
    """Squared coefficient of variation."""
    return (x.std() / (x.mean() + 1e-8)).square()


def _static(x: Tensor) -> bool:
    """Whether nothing may depend on values: there are none, or the graph is being recorded."""
    return x.is_meta or torch.compiler.is_compiling()
