"""Parameters and multiply-accumulate operations (MACs), counted rather than estimated.

A copy of the model on torch's meta device is run once under `torch.utils.flop_counter`: shapes
only, no arithmetic, so a 100 GMAC model is counted in a second and no memory. As in the papers,
one MAC is two floating-point operations, and only convolutions and matrix products (linear layers
and attention among them) count; norms, activations, additions and Fourier transforms do not.
"""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_macs", "count_parameters"]


def count_parameters(model: nn.Module) -> int:
    """The number of trainable and frozen scalars, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, height: int = 224, width: int = 224) -> int:
    """MACs of one RGB image of height x width pixels.

    Args:
        model: From (1, 3, height, width) to anything. It is neither run nor changed.
        height: In pixels; 224 is what the tables of the field use.
        width: In pixels.

    Raises:
        ValueError: A side is not a multiple of the model's `size_multiple`: the padding would count.
    """
    multiple = int(getattr(model, "size_multiple", 1))
    if height % multiple or width % multiple:
        raise ValueError(
            f"Expected height and width to be multiples of {multiple}, got {height} x {width}; "
            "round them up to what the model would be padded to."
        )
    skeleton = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, height, width, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        skeleton(image)
    return int(counter.get_total_flops()) // 2
