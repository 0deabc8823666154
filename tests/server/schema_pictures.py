"""What Schemathesis sends where the service's document says `format: binary`: pictures.

It imports this file by itself (SCHEMATHESIS_HOOKS). No schema can say which bytes are a picture, and a
service that decodes refuses bytes at random, rightly.
"""

import io

import numpy as np
import schemathesis
from hypothesis import strategies
from PIL import Image


def picture(kind: str, side: int) -> bytes:
    values = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(values).save(data, kind)
    return data.getvalue()


PICTURES = strategies.sampled_from(
    [picture(kind, side) for kind in ("PNG", "JPEG", "WEBP") for side in (1, 9, 24)]
)

schemathesis.openapi.format("binary", PICTURES)
for media_type in ("image/*", "image/png", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, PICTURES)
