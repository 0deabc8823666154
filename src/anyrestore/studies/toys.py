"""ExDA's toys: what attention with linear values can learn of a nonlinear task (ICLR 2026, section 3.2).

The paper describes its two tasks in a sentence each and its networks not at all. Here:

- *functions*: sums of three plane waves on a grid of 16 x 16, seen by a sensor with an S-shaped response of
  unknown steepness (3 to 6), blurred (sigma up to 1), with multiplicative (2 %) and additive (1 %) noise,
  quantised to 32 levels;
- *digits*: scikit-learn's 1,797 digits of 8 x 8, which ship with that package, twice enlarged, *in place
  of MNIST*: a response curve of unknown exponent (0.5 to 2.5), motion blur (2 to 5 px), noise that grows
  across the picture (sigma 0.02 to 0.15), JPEG (quality 20 to 60).

The network: conv 3x3, two blocks of 16 channels with the zoo's own attention (two heads), conv 3x3, plus
the input. ``value``: "nonlinear" is ExDA's V + g(V); "linear" is V; "matched" is V + g(V) with the
activation left out, which is linear again and has exactly as many parameters. A block is bare, nothing but
attention, or ``whole``, with the norms and the gated feed-forward of the real network. A bare block with
linear values maps an image linearly once its attention is known; that is the paper's argument. In a whole
block, norm and feed-forward are nonlinear anyway, so what is left of the difference there is what the
argument is worth in the real network.

Unusual: the grey pictures have three equal channels, so that the suite's metrics and degradations take
them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.architectures.exda import NonlinearValue, TokenAttention
from anyrestore.degradations.blur import gaussian_blur, motion_blur
from anyrestore.degradations.jpeg import jpeg
from anyrestore.errors import UsageError
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import LayerNorm

__all__ = ["STEPS", "TOYS", "ToyNetwork", "held_out", "train"]

STEPS = 1000
"""Of each toy at the small budget."""

_SIDE, _CHANNELS, _BATCH, _HELD_OUT, _POOL = 16, 16, 32, 128, 1024

#: (clean, degraded), each (n 3 16 16) in [0, 1].
Pairs = tuple[Tensor, Tensor]


class ToyNetwork(nn.Module):
    """(b 3 h w) in and out; see this module's docstring."""

    def __init__(self, *, value: str, whole: bool, channels: int = _CHANNELS, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels, value, whole=whole) for _ in range(blocks))
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``image``."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        return image + self.head(x)


class _Block(nn.Module):
    def __init__(self, channels: int, value: str, *, whole: bool) -> None:
        super().__init__()
        transform: NonlinearValue | None = None
        if value != "linear":
            transform = NonlinearValue(channels)
            if value == "matched":
                cast("nn.Sequential", transform.transform)[2] = nn.Identity()
        self.norm = LayerNorm(channels) if whole else nn.Identity()
        self.attention = TokenAttention(channels, 2, transform, tokens=0)
        self.feedforward = nn.Sequential(LayerNorm(channels), GatedFeedForward(channels)) if whole else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x if self.feedforward is None else x + self.feedforward(x)


def train(
    options: Mapping[str, Any], *, steps: int, seed: int, only: Iterable[str] | None = None
) -> tuple[dict[str, Callable[[Tensor], Tensor]], int]:
    """Train a network of one kind on each toy, with Adam and a cosine, on L1.

    Args:
        options: Of :class:`ToyNetwork`.
        steps: Of 32 pictures, on each toy.
        seed: Of weights and order.
        only: These toys; None: all.

    Returns:
        Toy -> its network; the parameters of one of them.

    Raises:
        UsageError: ``no_figures``; scikit-learn is not installed.
    """
    networks, parameters = dict[str, Callable[[Tensor], Tensor]](), 0
    for toy in TOYS if only is None else only:
        clean, degraded = (part[_HELD_OUT:] for part in TOYS[toy]())
        with cast("Any", torch.random).fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = ToyNetwork(**options)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(clean), (_BATCH,), generator=generator)
            loss = (network(degraded[rows]) - clean[rows]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            cast("Any", optimizer).step()
            schedule.step()
        networks[toy] = network.eval()
    return networks, parameters


def held_out() -> dict[str, Pairs]:
    """Toy -> degraded and clean pictures that no network was trained on."""
    return {toy: (pairs()[1][:_HELD_OUT], pairs()[0][:_HELD_OUT]) for toy, pairs in TOYS.items()}


@functools.cache
def _functions() -> Pairs:
    g = torch.Generator().manual_seed(0)
    count = _HELD_OUT + _POOL
    axis = torch.linspace(-1, 1, _SIDE)
    waves = 2 * torch.pi * torch.rand(count, 3, 3, generator=g)  # frequencies along y and x, phase
    phase = (
        waves[..., 0, None, None] * axis[:, None]
        + waves[..., 1, None, None] * axis
        + waves[..., 2, None, None]
    )
    field = phase.sin().sum(dim=1, keepdim=True)
    low, high = field.amin((-2, -1), keepdim=True), field.amax((-2, -1), keepdim=True)
    clean = (field - low) / (high - low)
    steepness = _between(3.0, 6.0, count, g)[:, None, None, None]
    response = 0.5 + 0.5 * (steepness * (clean - 0.5)).tanh() / (steepness / 2).tanh()
    seen = gaussian_blur(_grey(response), _between(0.0, 1.0, count, g))[:, :1]
    seen = seen * (1 + 0.02 * torch.randn(seen.shape, generator=g))
    seen = (seen + 0.01 * torch.randn(seen.shape, generator=g)).clamp(0, 1)
    return _grey(clean), _grey((seen * 31).round() / 31)


@functools.cache
def _digits() -> Pairs:
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            "the digits come with scikit-learn, which is not installed: pip install 'anyrestore[figures]'",
            code="no_figures",
        ) from error
    g = torch.Generator().manual_seed(0)
    images = np.asarray(cast("Any", load_digits()).images, dtype=np.float32) / 16
    order = torch.randperm(len(images), generator=g)[: _HELD_OUT + _POOL]
    small = torch.as_tensor(images)[order, None]
    clean = F.interpolate(small, size=(_SIDE, _SIDE), mode="bilinear").clamp(0, 1)
    count = len(clean)
    seen = _grey(clean ** _between(0.5, 2.5, count, g)[:, None, None, None])
    seen = motion_blur(seen, _between(2.0, 5.0, count, g), _between(0.0, 180.0, count, g))[:, :1]
    sigma = torch.linspace(0.02, 0.15, _SIDE)  # grows from left to right
    seen = (seen + sigma * torch.randn(seen.shape, generator=g)).clamp(0, 1)
    return _grey(clean), jpeg(_grey(seen), _between(20.0, 60.0, count, g))


#: The toys by name: how their pairs are made, the same every time.
TOYS: dict[str, Callable[[], Pairs]] = {"functions": _functions, "digits": _digits}


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _grey(image: Tensor) -> Tensor:
    return image.expand(-1, 3, -1, -1).contiguous()
