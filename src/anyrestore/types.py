"""Shape aliases used across the package (jaxtyping; checked by beartype in the tests only).

Letters, everywhere: ``b`` batch, ``c`` channels, ``h w`` height and width in pixels,
``n`` tokens (pixels of a feature map, row by row), ``r`` rank, ``k`` heads.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

#: A batch of RGB images, values nominally in [0, 1], sRGB-encoded as stored in the file.
Image = Float[Tensor, "b 3 h w"]
#: A batch of feature maps.
Features = Float[Tensor, "b c h w"]
