"""A pool of learnable prompts, mixed by what the features look like: PromptIR (arXiv 2306.13090).

n prompt components, each a small feature map, are averaged with weights softmax(linear(mean of features)),
resized to the features and passed through a 3x3 convolution. The features decide only how much of each
component there is; what a component looks like, and where, is the same for all images.

Unusual: the features' mean comes with the number of pixels behind it, so that the means of several tiles of
one picture merge into the picture's; see :func:`~anyrestore.layers.sharing.merge_means`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.sharing import GlobalMean, Mean
from anyrestore.types import Features


class PromptPool(nn.Module):
    """Prompt (b p h w) for features (b c h w).

    Args:
        channels: width c of the features.
        prompt_channels: width p of the prompt.
        size: side of the stored components.
        length: number n of components.
    """

    def __init__(self, channels: int, prompt_channels: int, size: int, length: int = 5) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.rand(length, prompt_channels, size, size))
        self.mean = GlobalMean()
        self.to_weights = nn.Linear(channels, length)
        self.conv = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, x: Features, mean: Mean | None = None) -> Float[Tensor, "b p h w"]:
        """The prompt for ``x``; ``mean`` is that of the picture ``x`` is a part of, None for ``x``'s own."""
        seen: Mean = self.mean(x) if mean is None else mean
        weights = self.to_weights(seen.value).softmax(dim=-1)
        prompt = torch.einsum("bn,npij->bpij", weights, self.components)
        return self.conv(F.interpolate(prompt, x.shape[-2:], mode="bilinear"))
