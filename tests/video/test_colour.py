"""A frame to RGB and back: the right colours, and nothing lost."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from anyrestore.errors import InputError
from anyrestore.video import colour

EIGHT = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "nv12"]
DEEP = ["yuv420p10le", "yuv422p12le", "yuv444p16le", "gray10le", "gbrp10le", "rgb48le"]
OTHERS = ["gray", "gbrp", "rgb24", "bgr0", "rgba", "gbrap", "yuyv422"]


def noise(name: str, width: int, height: int) -> av.VideoFrame:
    """Every value of a format's, also those that no RGB has."""
    layout = colour.layout_of(name)
    frame = av.VideoFrame(width, height, layout.name)
    rng = np.random.default_rng(0)
    for plane in colour._planes(frame):
        plane[...] = rng.integers(0, 1 << layout.depth, plane.shape)
    return frame if name == layout.name else frame.reformat(format=name)


def values(frame: av.VideoFrame) -> list[np.ndarray]:
    return [
        plane.copy() for plane in colour._planes(colour._planar(frame, colour.layout_of(frame.format.name)))
    ]


@pytest.mark.parametrize("name", EIGHT + DEEP + OTHERS)
@pytest.mark.parametrize("labels", [(1, 1), (6, 2), (9, 1), (2, 0)])
def test_there_and_back_is_the_same(name: str, labels: tuple[int, int]) -> None:
    for width, height in ((37, 23), (64, 48)):
        frame = noise(name, width, height)
        frame.colorspace, frame.color_range = labels
        frame.pts = 7
        before = values(frame)
        after = colour.from_tensor(colour.to_tensor(frame), frame, name)
        assert (after.format.name, after.colorspace, after.color_range) == (name, *labels)
        for a, b in zip(before, values(after), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [  # (matrix, range), Y'CbCr of pure red by ITU-R BT.601 and 709, 8 bits
        ((6, 1), (81, 90, 240)),
        ((1, 1), (63, 102, 240)),
        ((6, 2), (76, 85, 255)),
        ((9, 1), (74, 97, 240)),
    ],
)
def test_red_is_what_the_standards_say(labels: tuple[int, int], expected: tuple[int, int, int]) -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.colorspace, frame.color_range = labels
    for plane, code in zip(colour._planes(frame), expected, strict=True):
        plane[...] = code
    tensor = colour.to_tensor(frame)
    assert tensor.shape == (1, 3, 16, 16)
    assert torch.allclose(tensor[0, :, 5, 5], torch.tensor([1.0, 0.0, 0.0]), atol=0.006)
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1
    for plane, code in zip(values(colour.from_tensor(red, frame, "yuv420p")), expected, strict=True):
        assert set(plane.flat) == {code}


def test_an_unnamed_matrix_goes_by_the_height() -> None:
    small, large = av.VideoFrame(16, 576, "yuv420p"), av.VideoFrame(16, 720, "yuv420p")
    assert colour.matrix_of(small).red == 0.299
    assert colour.matrix_of(large).red == 0.2126


def test_what_cannot_be_said_is_clipped() -> None:
    frame = noise("yuv444p", 8, 8)
    frame.colorspace, frame.color_range = 1, 2
    bright = colour.from_tensor(torch.full((1, 3, 8, 8), 2.0), frame, "yuv444p")
    assert set(values(bright)[0].flat) == {255}


def test_alpha_is_left_alone() -> None:
    frame = noise("yuva420p", 16, 16)
    alpha = values(frame)[-1]
    assert np.array_equal(values(colour.from_tensor(torch.zeros(1, 3, 16, 16), frame, "yuva420p"))[-1], alpha)


@pytest.mark.parametrize(("name", "matrix"), [("yuv420p", 8), ("yuv420p", 10), ("bayer_rggb8", 1)])
def test_what_is_not_known_is_refused(name: str, matrix: int) -> None:
    frame = av.VideoFrame(16, 16, name)
    frame.colorspace = matrix
    with pytest.raises(InputError) as caught:
        colour.to_tensor(frame)
    assert caught.value.code == "unsupported_format"
