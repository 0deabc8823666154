"""One picture for all degradation tests: a crop of a photograph, with smooth parts, edges and texture."""

import pytest
import skimage.data
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """(1, 3, 96, 112) float32 in [0, 1]: the face of scikit-image's astronaut (NASA, public domain)."""
    pixels = skimage.data.astronaut()[60:156, 160:272]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().contiguous() / 255


@pytest.fixture
def seeded():
    """A function from a seed to a fresh generator."""
    return lambda seed: torch.Generator().manual_seed(seed)
