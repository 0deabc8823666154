"""Option types that several verbs share, and the type of what a verb's `add_parser` is given."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from anyrestore.errors import OutputError, UsageError

if TYPE_CHECKING:
    # argparse has no public name for what `add_subparsers` returns.
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def quality(text: str) -> int:
    """A whole number, 1 to 100."""
    value = positive(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"expected 1 to 100, got {value}")
    return value


def tile_side(text: str) -> int | str:
    """A number of pixels, or the words "auto" and "off"."""
    return text if text in ("auto", "off") else positive(text)


def memory_size(text: str) -> int:
    """Bytes: a number with K, M, G or T (of 1,024), or without."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size such as 4G or 800M, got {text!r}")
    return size


def check_weights_output(path: Path, *, overwrite: bool) -> None:
    """See, before any work, that weights can be stored under this name.

    Raises:
        UsageError: it is no name of a weights file.
        OutputError: ``output_exists``, and it was not said that it may be replaced.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"expected an output that ends in .safetensors, came {path}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name, or --overwrite", code="output_exists")
