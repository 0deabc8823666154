"""A stand-in for the sentence encoder, whose package is an extra: each sentence has its own random vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from anyrestore.data.sampling import hashed


class HashedSentences:
    """Unit vectors of 384 numbers, drawn with a seed from the sentence."""

    width = 384

    def __init__(self, name: str = "minilm") -> None:
        self.name = name

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(hashed(sentence)) for sentence in sentences]
        return F.normalize(torch.stack([torch.randn(384, generator=g) for g in generators]), dim=-1)
