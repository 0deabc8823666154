"""What every backend hands out: a module that is called like the network that it came from.

Unusual: a graph holds the network as it restores one picture by itself. What tiles of a picture share, a
structure of tensors that differs from network to network, it does not take. A pass that is given such a
condition is therefore run by torch, with the same result as ever; an exported file, which has no network
beside it, has no ``share``, so that its tiles see only themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.errors import ModelError
from anyrestore.layers.padding import check_multiple
from anyrestore.provenance import versions
from anyrestore.types import Image

_NO_MEMORY = ("bad_alloc", "failed to allocate", "bad allocation", "out of memory")

#: Runs a graph: image (b 3 h w), and the instruction (1 d) or (b d) where there is one, to image.
Run = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is to be known of a graph beside its numbers; it travels inside an exported file.

    Attributes:
        name: of the model.
        architecture: its class.
        size_multiple: height and width must be multiples of it.
        bytes_per_pixel: peak bytes of activations per input pixel.
        square: whether it pads pictures to squares.
        instruction_width: numbers of an instruction's vector; None where it takes none.
        precision: "float32" or "int8".
        weights_sha256: of the weights' file; None where there was none.
        license: of the weights, where it is known.
        version: of anyrestore.
    """

    name: str
    architecture: str
    size_multiple: int
    bytes_per_pixel: float
    square: bool = False
    instruction_width: int | None = None
    precision: str = "float32"
    weights_sha256: str | None = None
    license: str | None = None
    version: str = ""


def describe(network: nn.Module, **known: Any) -> Card:
    """The card of a network; ``known`` are further fields."""
    kind = type(network).__name__
    found: dict[str, Any] = {
        "name": kind,
        "architecture": str(getattr(network, "architecture", kind)),
        "size_multiple": int(getattr(network, "size_multiple", 1)),
        # Above what any network of the zoo needs, as in inference/memory.py.
        "bytes_per_pixel": float(getattr(network, "bytes_per_pixel", 16384.0)),
        "square": bool(getattr(network, "square", False)),
        "instruction_width": getattr(network, "instruction_width", None),
        "version": versions()["anyrestore"],
    }
    return Card(**found | known)


class Backed(nn.Module):
    """A network whose passes something else than torch's eager mode runs.

    Args:
        run: computes a pass; its result may be on the CPU, wherever the picture is.
        card: says what the network is.
        network: it itself, for passes with a condition that ``run`` cannot take; None if there is none.
    """

    def __init__(self, run: Run, card: Card, network: nn.Module | None = None) -> None:
        super().__init__()
        self.card = card
        self.size_multiple = card.size_multiple
        self.bytes_per_pixel = card.bytes_per_pixel
        self.square = card.square
        if card.instruction_width is not None:
            self.instruction_width = card.instruction_width
        if network is not None and hasattr(network, "share"):
            self.share = network.share
        self._run = run
        self._beside = (network,)  # in a tuple: not a submodule, so its layers are not this one's parts

    def forward(self, image: Image, condition: object = None) -> Image:
        """Restore ``image`` (b 3 h w), RGB, nominally in [0, 1].

        Args:
            image: height and width multiples of ``size_multiple``.
            condition: an instruction's vector (1 d) or (b d) where the network takes one; what tiles share,
                where there is a network beside.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``, or the vector does not fit.
            ModelError: an exported file cannot take the condition.
            MemoryError: memory ran out.
        """
        check_multiple(image, self.size_multiple)
        width = self.card.instruction_width
        if width is not None and (condition is None or isinstance(condition, Tensor)):
            vector = image.new_zeros(1, width) if condition is None else condition
            if vector.shape not in ((1, width), (image.shape[0], width)):
                raise ValueError(
                    f"expected an instruction of shape (1, {width}) or one for each of {image.shape[0]} "
                    f"images, came {tuple(vector.shape)}"
                )
            return self._run(image, vector).to(image.device)
        if condition is None:
            return self._run(image).to(image.device)
        if self._beside[0] is None:
            raise ModelError("an exported model cannot be told what tiles share; use the network's weights")
        return self._beside[0](image, condition)

    @property
    def network(self) -> nn.Module | None:
        """The network that the graph was made of, if it is here."""
        return self._beside[0]


def package(name: str, extra: str) -> Any:
    """A package that a backend needs, imported.

    Raises:
        ModelError: ``no_backend``.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"this needs the package {name}, which is not there; install it with: "
            f'pip install "anyrestore[{extra}]"',
            code="no_backend",
        ) from error


def failed(error: Exception, engine: str) -> Exception:
    """What to raise for an engine's own error in a pass: MemoryError where memory ran out."""
    text = " ".join(str(error).split())
    if any(word in text.lower() for word in _NO_MEMORY):
        return MemoryError(f"memory ran out in {engine}")
    return RuntimeError(f"{engine}: {text:.500}")


def threads() -> int:
    """CPU threads for an engine: as many as torch uses."""
    return torch.get_num_threads()
