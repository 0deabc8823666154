"""What InstructIR's public code gives for formula-filled weights in its own names; ours must give the same.

How ``instructir.safetensors`` was made: the public InstructIR (width 8, one block a stage, three levels,
text width 256) was loaded with ``public_state()``, run on ``picture()`` and ``vector()`` in float32, and its
output stored; none of that code is here. At the published width and depths, randomly filled, the difference
was at most 1.3e-6 (1 x 64 x 64, 2 x 32 x 48, 3 x 16 x 80 and 1 x 128 x 96).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from anyrestore.architectures.instructir import PRESETS, InstructIR
from anyrestore.zoo.catalog import build
from anyrestore.zoo.convert import CONVERTERS, recognise

STORED = Path(__file__).parent / "instructir.safetensors"
PUBLIC = (
    (r"unet\.stem", "intro"),
    (r"unet\.head", "ending"),
    (r"unet\.down", "downs"),
    (r"unet\.up", "ups"),
    (r"unet\.middle", "middle_blks"),
    (r"unet\.(enc|dec)oder\.(\d)\.blocks", r"\1oders.\2"),
    (r"unet\.(enc|dec)oder\.(\d)\.condition", r"\1_cond.\2"),
    (r"to_mask", "fc"),
    (r"\.scale$", ".gamma"),
    (r"\.shift$", ".beta"),
    (r"norm_mixing", "norm1"),
    (r"to_mixing", "conv1"),
    (r"depthwise", "conv2"),
    (r"attention\.conv", "sca.1"),
    (r"from_mixing", "conv3"),
    (r"norm_feedforward", "norm2"),
    (r"to_feedforward", "conv4"),
    (r"from_feedforward", "conv5"),
    (r"scale_mixing", "beta"),
    (r"scale_feedforward", "gamma"),
)


def wave(shape: tuple[int, ...], phase: float) -> torch.Tensor:
    """Values in [-1, 1] without randomness, the same on every machine."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(1.7 * count + 0.3 * (count % 7) + phase).view(shape).float()


def public_state() -> dict[str, torch.Tensor]:
    """The tiny network's tensors under the public code's names."""
    shapes = dict[str, tuple[int, ...]]()
    for key, value in InstructIR(PRESETS["instructir-tiny"]).state_dict().items():
        name = key
        for ours, theirs in PUBLIC:
            name = re.sub(ours, theirs, name)
        shapes[name] = tuple(value.shape)
    state = dict[str, torch.Tensor]()
    for i, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        fan_in = torch.Size(shape[1:]).numel() if len(shape) > 1 and shape[0] > 1 else 1
        state[name] = wave(shape, float(i)) * fan_in**-0.5 + (1 if len(shape) == 1 else 0)
    return state


def picture() -> torch.Tensor:
    return 0.5 + 0.5 * wave((2, 3, 32, 48), 0.5)


def vector() -> torch.Tensor:
    return torch.nn.functional.normalize(wave((2, 256), 0.7), dim=1)


@torch.no_grad()
def test_converted_weights_give_the_public_codes_output() -> None:
    state = public_state()
    assert recognise(state) == "instructir"
    architecture, config, ours = CONVERTERS["instructir"].convert(state)
    model = build(architecture, config).eval()
    model.load_state_dict(ours)
    stored = load_file(STORED)["output"]
    assert (stored - picture()).std() > 0.1
    torch.testing.assert_close(model(picture(), vector()), stored, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(picture(), -vector()), stored, atol=1e-3)
