"""The whole state of a run in one safetensors file: weights, their running average, Adam's moments, the step.

Randomness needs no state: every batch is seeded by its index.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from anyrestore.errors import DataError
from anyrestore.storage import store_bytes

State = dict[str, Tensor]


def save_checkpoint(
    path: Path, model: nn.Module, average: State, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Store the state after ``step`` steps; an older checkpoint stays whole until the new one is."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"adam.{key}.{name}"] = value
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    store_bytes(save(tensors, metadata={"step": json.dumps(step)}), path, overwrite=True)


def load_checkpoint(path: Path, model: nn.Module, average: State, optimizer: torch.optim.Optimizer) -> int:
    """Restore the state stored at ``path`` in place.

    Returns:
        How many steps had been made.

    Raises:
        DataError: the file is damaged or belongs to another network.
    """
    data = path.read_bytes()
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        step = int(json.loads(header["__metadata__"]["step"]))
        model.load_state_dict({k: tensors[f"model.{k}"] for k in model.state_dict()})
        for key, value in average.items():
            value.copy_(tensors[f"average.{key}"])
        for name, parameter in model.named_parameters() if step else ():  # Adam has no state before a step
            optimizer.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(
            f"expected a checkpoint of this run in {path}, but it is damaged or of another network "
            f"({error}); choose another output folder, or remove it to start again"
        ) from error
    return step
