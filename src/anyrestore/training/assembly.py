"""What a run is computed with: the Accelerator, the network with its first weights, the optimiser."""

from __future__ import annotations

from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.errors import UsageError
from anyrestore.training.run import Precision, Run
from anyrestore.types import Image
from anyrestore.zoo import create_model, load_model


class Forward(nn.Module):
    """The network as training calls it: the restored images, and the network's own losses by name."""

    def __init__(self, network: nn.Module, *, auxiliary: bool) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary

    def forward(
        self, image: Image, condition: Float[Tensor, "b d"] | None = None
    ) -> tuple[Image, dict[str, Tensor]]:
        """The restored image and scalar losses.

        Args:
            image: (b 3 h w) in [0, 1].
            condition: what a network that takes instructions is told, a vector an image; None for others.
        """
        condition_given = () if condition is None else (condition,)
        if self.auxiliary:
            return cast("Any", self.network).forward_with_losses(image, *condition_given)
        return self.network(image, *condition_given), {}


def make_accelerator(device: str, precision: Precision) -> Any:
    """Of Accelerate, for this process and those that were started with it.

    Raises:
        UsageError: there is no such device, or FSDP of a version whose state has no names.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("expected a CUDA device, but this machine has none; use --device cpu")
    mixed = "no" if precision == "fp32" else precision
    shared: Any = AcceleratorState
    # Accelerate keeps one state a process; an earlier run in it may have had another precision.
    if shared._shared_state and shared().mixed_precision != mixed:  # noqa: SLF001
        shared._reset_state()  # noqa: SLF001
    made: Any = Accelerator(
        mixed_precision=mixed,
        cpu=device == "cpu",
        # Said here, or else an environment variable of `accelerate launch` divides the gradient.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    sharding = getattr(made.state, "fsdp_plugin", None)
    if sharding is not None and sharding.fsdp_version != 2:
        raise UsageError(
            f"expected FSDP version 2, came {sharding.fsdp_version}; accelerate launch --fsdp_version 2"
        )
    return made


def make_network(run: Run, *, fresh: bool = True) -> nn.Module:
    """With the weights that the run starts from; random ones are its seed's, whatever was drawn before.

    Args:
        run: says which network.
        fresh: whether it starts; otherwise its weights come from elsewhere.

    Raises:
        ModelError: no such model, or no such weights.
        UsageError: the weights to start from do not fit.
    """
    with cast("Any", torch.random).fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed)
        network = create_model(run.model.name, **run.model.options)
    if run.model.start is not None and fresh:
        try:
            network.load_state_dict(load_model(run.model.start).state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"expected weights of {run.model.name} to start from, but those of {run.model.start} do not "
                f"fit: {str(error).splitlines()[-1].strip()}"
            ) from error
    return network.train()


def make_optimizer(run: Run, network: nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters; ``fused``: in one kernel, else as torch chooses."""
    made_by = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[run.optimizer.name]
    return made_by(
        network.parameters(),
        lr=run.optimizer.lr,
        betas=run.optimizer.betas,
        eps=run.optimizer.eps,
        weight_decay=run.optimizer.weight_decay,
        fused=True if fused else None,
    )
