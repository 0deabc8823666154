"""A small InstructIR that hears what it is told: a fresh one has zeros where instructions come in."""

import torch

from anyrestore import zoo
from anyrestore.architectures.instructir import InstructIR


def told_network() -> InstructIR:
    """`instructir-tiny` with random numbers in every vector, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = zoo.create_model("instructir-tiny")
        with torch.no_grad():
            for name, p in made.named_parameters():
                if p.ndim == 1 or "scale" in name or "shift" in name:
                    p.add_(0.3 * torch.randn_like(p))
    assert isinstance(made, InstructIR)
    return made
