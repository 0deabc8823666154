"""torch.compile: the network's own operators, fused by inductor.

The first pass compiles, for sizes at large (square pictures take a compilation of their own), which takes
minutes on two cores; what was compiled is kept in the cache folder, so that later runs only load it.
Unusual: gradients are not for it, and what tiles share makes torch run the pass, as with every backend
(:mod:`anyrestore.backends.contract`): a pass with a condition would be compiled once more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore.backends import cache
from anyrestore.backends.contract import Backed, describe
from anyrestore.errors import ModelError

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def prepare(network: nn.Module) -> nn.Module:
    """A network run through torch.compile; see :func:`anyrestore.backends.prepare`."""
    device = next((tensor.device.type for tensor in network.parameters()), "cpu")
    if device == "cpu" and not _has_compiler():
        raise ModelError(
            "torch.compile needs a C++ compiler, and there is none; install g++, or use another backend",
            code="no_backend",
        )
    # Else it is a temporary folder of the user's. Inductor reads it at the first pass, a setting stays.
    if (folder := cache.folder("inductor")) is not None:
        os.environ.setdefault(_VARIABLE, str(folder))
    # torch's stub leaves a part of the type open.
    compiler = cast("Any", torch.compile)  # pyright: ignore[reportUnknownMemberType]
    fused: Callable[..., Tensor] = compiler(network, dynamic=True)

    def run(*given: Tensor) -> Tensor:
        return fused(*given)

    return Backed(run, describe(network), network)


def _has_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++"]))
