"""What a look at a network finds: numbers with their names and units, ready to be drawn or stored.

Every view knows its look, the block that it was read at (``decoder.2.0``: stage, block), and, where a block
has several, the part of it (``q``). Values are float32 on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _View:
    look: str
    block: str
    part: str = ""

    @property
    def place(self) -> str:
        """The block and, where there is one, the part."""
        return f"{self.block}.{self.part}" if self.part else self.block


@dataclass(frozen=True, kw_only=True)
class Maps(_View):
    """Maps over the picture, at the resolution of their stage.

    Attributes:
        values: (m h w).
        labels: of the m maps.
        unit: of the values.
        signed: they may be negative, and 0 is their middle.
        shared: they can be compared with each other, so one range of colours holds for all.
    """

    values: Float[Tensor, "m h w"]
    labels: tuple[str, ...]
    unit: str
    signed: bool = False
    shared: bool = True


@dataclass(frozen=True, kw_only=True)
class Matrices(_View):
    """One square matrix per head; rows receive, columns give.

    Attributes:
        values: (k d d), the weights that channel i of q gives to channel j of k.
        labels: of the k heads.
        unit: of the values.
    """

    values: Float[Tensor, "k d d"]
    labels: tuple[str, ...]
    unit: str


@dataclass(frozen=True, kw_only=True)
class Shares(_View):
    """How much of each of a few things a block takes.

    Attributes:
        values: (n), probabilities.
        labels: of the n things.
        chosen: indexes of those that were used, where not all are.
        unit: of the values.
    """

    values: Float[Tensor, " n"]
    labels: tuple[str, ...]
    chosen: tuple[int, ...] = ()
    unit: str


@dataclass(frozen=True, kw_only=True)
class Strip(_View):
    """One number for every channel.

    Attributes:
        values: (c).
        unit: of the values.
        signed: they may be negative; otherwise they lie in [0, 1].
    """

    values: Float[Tensor, " c"]
    unit: str
    signed: bool = False


@dataclass(frozen=True, kw_only=True)
class Spectrum(_View):
    """Singular values of features, as a matrix of pixels times channels without the channels' means.

    Attributes:
        group: spectra that belong into one plot have the same.
        label: which features these are.
        singular: (c), falling.
        cumulative: (c), the share of the variance that the first i + 1 of them hold; ends at 1.
    """

    group: str
    label: str
    singular: Float[Tensor, " c"]
    cumulative: Float[Tensor, " c"]


View: TypeAlias = Maps | Matrices | Shares | Strip | Spectrum


def as_list(values: Tensor) -> list[Any]:
    """Python's numbers, nested as the tensor is; torch's stub leaves them untyped."""
    return cast("list[Any]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


def summarise(view: View) -> dict[str, Any]:
    """A view as JSON can hold it: short ones whole, maps and matrices by size and range."""
    about: dict[str, Any] = {"look": view.look, "place": view.place}
    if isinstance(view, Spectrum):
        return about | {
            "features": view.label,
            "singular_values": as_list(view.singular),
            "cumulative_variance": as_list(view.cumulative),
        }
    about["unit"] = view.unit
    if isinstance(view, Strip):
        return about | {"values": as_list(view.values)}
    about["labels"] = list(view.labels)
    if isinstance(view, Shares):
        return about | {"values": as_list(view.values), "chosen": [view.labels[i] for i in view.chosen]}
    flat = view.values.flatten(1)
    return about | {
        "height": view.values.shape[1],
        "width": view.values.shape[2],
        "minimum": as_list(flat.amin(dim=1)),
        "mean": as_list(flat.mean(dim=1)),
        "maximum": as_list(flat.amax(dim=1)),
    }
