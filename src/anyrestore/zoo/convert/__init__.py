"""From the state dicts of public repositories to ours: tables of names, and configurations read off shapes.

None of the public code is here, only what its tensors are called. A converter takes tensors, never files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from anyrestore.zoo.convert import anyir, instructir, moce, nafnet, promptir, restormer

__all__ = ["CONVERTERS", "Converter", "recognise"]

#: Name of our architecture, fields of its Config, our state dict.
Converted = tuple[str, dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Converter:
    """How the public weights of one architecture become ours."""

    recognises: Callable[[Mapping[str, Tensor]], bool]  # looks at names only
    convert: Callable[[Mapping[str, Tensor]], Converted]  # raises ModelError where it cannot


CONVERTERS: dict[str, Converter] = {
    "restormer": Converter(restormer.recognises, restormer.from_public),
    "moce": Converter(moce.recognises, moce.from_public),
    "nafnet": Converter(nafnet.recognises, nafnet.from_public),
    "promptir": Converter(promptir.recognises, promptir.from_public),
    "instructir": Converter(instructir.recognises, instructir.from_public),
    "anyir": Converter(anyir.recognises, anyir.from_public),
}


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """The name of the first converter that knows this state dict; None if none does."""
    return next((name for name, converter in CONVERTERS.items() if converter.recognises(state)), None)
