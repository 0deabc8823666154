"""JPEG compression, as baseline JPEG encodes and decodes, without the (lossless) entropy coding.

Sources: ITU-T T.81 (1992), the DCT of A.3.3 and the example quantisation tables of Annex K.1; JFIF 1.02
for the colour space (BT.601, full range) and the siting of the halved chroma; the Independent JPEG
Group's formula from quality to tables. Steps: RGB -> YCbCr, chroma to half size (means of 2 x 2), 8 x 8
DCT, round(coefficient / table), times table, inverse DCT, chroma back (the triangle filter that common
decoders use), RGB. What is unusual: it is plain tensor arithmetic on the whole batch, each image with its
own quality; rounding is real rounding, so no gradient of use passes through.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.parameters import per_sample

__all__ = ["jpeg"]

# T.81 tables K.1 and K.2, row by row.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
# JFIF: rows Y, Cb, Cr; the chroma is centred on 128.
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_TO_RGB = (
    (1.0, 0.0, 1.402),
    (1.0, -0.344136286, -0.714136286),
    (1.0, 1.772, 0.0),
)


def jpeg(image: Float[Tensor, "b 3 h w"], quality: float | Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Compress with JPEG, chroma 4:2:0, and decompress.

    Args:
        image: RGB in [0, 1]; rounded to 8 bits first, as an encoder sees it. Any size.
        quality: On the IJG scale, 1 (worst) to 100, rounded to whole numbers; a number or one for each
            image. 100 still rounds, it is not the identity.

    Returns:
        The decoded image, on the 256 levels of 8 bits.

    Raises:
        UsageError: `quality` is outside [1, 100] or has the wrong length.
    """
    quality = per_sample(quality, image, name="quality", low=1.0, high=100.0).round()
    _, _, h, w = image.shape
    rgb = (image * 255).round().clamp(0, 255)
    rgb = F.pad(rgb, (0, -w % 16, 0, -h % 16), mode="replicate")
    # Sample values are whole numbers wherever a codec would store them; the DCT wants them centred on 0.
    ycbcr = _mix(rgb, _TO_YCBCR).round()
    y, chroma = ycbcr[:, :1], F.avg_pool2d(ycbcr[:, 1:], 2).round()
    y = _code(y - 128, _table(_LUMA_TABLE, quality)) + 128
    chroma = _code(chroma, _table(_CHROMA_TABLE, quality))
    y = y.round().clamp(0, 255)
    chroma = chroma.round().clamp(-128, 127)
    # Bilinear at half-pixel centres has the weights 3/4 and 1/4: the triangle filter.
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = _mix(torch.cat([y, chroma], dim=1), _TO_RGB)
    return rgb[..., :h, :w].round().clamp(0, 255) / 255


def _mix(image: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", image.new_tensor(matrix), image)


def _table(standard: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """(b, 64): the IJG's tables, clip(floor((standard * scale + 50) / 100), 1, 255)."""
    scale = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    table = quality.new_tensor(standard).flatten()
    return torch.floor((table * scale.unsqueeze(1) + 50) / 100).clamp(1, 255)


def _code(planes: Tensor, table: Tensor) -> Tensor:
    """Transform, quantise, dequantise, transform back; (b, c, h, w) with h and w multiples of 8."""
    b, c, h, w = planes.shape
    # A block's 64 samples become channels, so that the two-dimensional DCT is one 64 x 64 matrix.
    blocks = F.pixel_unshuffle(planes, 8).view(b, c, 64, -1)
    dct = _dct(planes)
    steps = table.view(b, 1, 64, 1)
    coefficients = torch.round(dct @ blocks / steps) * steps
    return F.pixel_shuffle((dct.T @ coefficients).view(b, c * 64, h // 8, w // 8), 8)


def _dct(like: Tensor) -> Tensor:
    """The orthonormal two-dimensional DCT-II of 8 x 8 blocks, (64, 64), rows the frequencies."""
    n = torch.arange(8, device=like.device, dtype=like.dtype)
    d = 0.5 * torch.cos(math.pi / 16 * torch.outer(n, 2 * n + 1))
    d[0] /= math.sqrt(2)
    return torch.kron(d, d)
