"""The one U-Net skeleton: three times down, a latent stage, three times up with skips, refinement.

It knows no block: every stage is a module that keeps its input's height and width. Restormer's layout (arXiv
2111.09881). Unusual: the skip is fused to the *skip's* width at every level, the top one included, so the top
decoder stage and the refinement stay at the embedding width C, which CEA-IR's parameter counts fix. Restormer
itself goes on there with the concatenated 2C channels: ``top_width=2 * width``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.layers.padding import check_multiple
from anyrestore.layers.resample import Down, PatchEmbed, ToImage, Up
from anyrestore.types import Image

#: Makes a stage from (width c, level); level 0 is the top resolution, 3 the latent.
StageFactory = Callable[[int, int], nn.Module]


class UNet(nn.Module):
    """``image + head(refinement(decode(encode(stem(image)))))``.

    Args:
        width: channels C at the top level, even; they double with every level.
        encoder: makes the encoder stages (levels 0, 1, 2) and the latent stage (level 3).
        decoder: makes the decoder stages (levels 2, 1, 0).
        refinement: makes the refinement stage (level 0).
        stem_scale: the top level works at 1/stem_scale of the image's resolution (1 or 2).
        latent_width: channels that the latent stage returns; 8C if None.
        top_width: channels of the decoder stage at level 0 and of the refinement; C if None. With 2C the
            skip is concatenated and not fused.

    Raises:
        ValueError: ``width`` is odd.
    """

    levels = 4

    def __init__(
        self,
        *,
        width: int,
        encoder: StageFactory,
        decoder: StageFactory,
        refinement: StageFactory,
        stem_scale: int = 1,
        latent_width: int | None = None,
        top_width: int | None = None,
    ) -> None:
        super().__init__()
        if width % 2:  # on the way down a level's channels are halved before they are unshuffled
            raise ValueError(f"expected an even width, came {width}")
        widths = [width * 2**level for level in range(self.levels)]
        top = width if top_width is None else top_width
        # Of the decoder's stages, and of what comes up to them, from low to high resolution.
        decoded = [*widths[-2:0:-1], top]
        rising = [widths[-1] if latent_width is None else latent_width, *decoded[:-1]]
        self.size_multiple = stem_scale * 2 ** (self.levels - 1)
        self.stem = PatchEmbed(width, stem_scale)
        self.encoder = nn.ModuleList(encoder(widths[i], i) for i in range(self.levels))
        self.down = nn.ModuleList(Down(c) for c in widths[:-1])
        # decoder[0] works at level 2 (the lowest resolution), decoder[-1] at level 0.
        self.up = nn.ModuleList(Up(c) for c in rising)
        self.fuse = nn.ModuleList(
            _fuse(below // 2 + skip, c)
            for below, skip, c in zip(rising, widths[-2::-1], decoded, strict=True)
        )
        self.decoder = nn.ModuleList(
            decoder(c, i) for c, i in zip(decoded, reversed(range(self.levels - 1)), strict=True)
        )
        self.refinement = refinement(top, 0)
        self.head = ToImage(top, stem_scale)

    @property
    def stages(self) -> list[nn.Module]:
        """Every stage, in the order in which an image passes them."""
        return [*self.encoder, *self.decoder, self.refinement]

    def encode(self, image: Image, conditions: Sequence[Any] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return the latent (b 8C h/8 w/8) and the skips of levels 0, 1, 2."""
        x = self.stem(image)
        skips: list[Tensor] = []
        for i, (stage, down) in enumerate(zip(self.encoder[:-1], self.down, strict=True)):
            x = _pass(stage, x, conditions, i)
            skips.append(x)
            x = down(x)
        return _pass(self.encoder[-1], x, conditions, len(skips)), skips

    def decode(
        self, latent: Tensor, skips: Sequence[Tensor], conditions: Sequence[Any] | None = None
    ) -> Tensor:
        """Return the refined features (b C h w), or ``top_width`` channels."""
        x = latent
        for i, (up, fuse, stage) in enumerate(zip(self.up, self.fuse, self.decoder, strict=True)):
            x = fuse(torch.cat([up(x), skips[-1 - i]], dim=1))
            x = _pass(stage, x, conditions, len(self.encoder) + i)
        return _pass(self.refinement, x, conditions, -1)

    def forward(self, image: Image, conditions: Sequence[Any] | None = None) -> Image:
        """Restore ``image`` (b 3 h w), h and w multiples of ``size_multiple``.

        ``conditions[i]``, if given, is handed to ``stages[i]`` beside the features.
        """
        check_multiple(image, self.size_multiple)
        latent, skips = self.encode(image, conditions)
        return image + self.head(self.decode(latent, skips, conditions))


def _fuse(channels: int, into: int) -> nn.Module:
    """Concatenated features to ``into`` channels; nothing where they are that many already."""
    return nn.Identity() if channels == into else nn.Conv2d(channels, into, 1, bias=False)


def _pass(stage: nn.Module, x: Tensor, conditions: Sequence[Any] | None, index: int) -> Tensor:
    return stage(x) if conditions is None else stage(x, conditions[index])
