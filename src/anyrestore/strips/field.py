"""A feature map of a whole picture, and where its memory is.

Memory of maps comes straight from the system and goes straight back. The C library would keep it for reuse
(`anyrestore.inference.memory.keep_freed_memory` asks it to), and with maps of gigabytes a promise about the
peak could then not be kept.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore import scratch

BYTES = 4
"""Of a value; maps are float32."""


@dataclass(frozen=True)
class Field:
    """A map, channels last.

    Attributes:
        values: (h w c), contiguous.
        release: told which rows will not be needed for a while, where that is worth knowing.
    """

    values: Float[Tensor, "h w c"]
    release: Callable[[int, int], None] | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return self.values.shape[0]

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.values.shape[1]

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return self.values.shape[2]

    def rows(self, first: int, last: int) -> Float[Tensor, "rows w c"]:
        """Rows ``first`` to ``last``, to be read and changed."""
        return self.values[first:last]

    def done(self, first: int, last: int, *, again: int = 0) -> None:
        """Say that these rows will not be needed for a while.

        Args:
            first: of the rows.
            last: one behind them.
            again: how many of the last rows the next strip reads once more. A page that is looked at after it
                was let go comes back with all its neighbours, so these rows go with the next strip's.
        """
        if self.release is not None:
            self.release(max(first - again, 0), last if last == self.height else last - again)


#: Level and (h w c) -> a field of that shape, with whatever values.
Allocate = Callable[[int, tuple[int, int, int]], Field]


def in_memory(shape: tuple[int, int, int]) -> Field:
    """A field in main memory.

    Raises:
        MemoryError: there is not so much.
    """
    size = max(prod(shape) * BYTES, 1)
    try:
        # Python's default is memory shared with child processes, for which Linux often ignores the advice
        # below.
        private = hasattr(mmap, "MAP_PRIVATE")  # not on Windows, where there is no such choice
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if private else {}
        block = mmap.mmap(-1, size, **flags)
    except OSError as error:
        raise MemoryError(f"no memory for a map of {shape}") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages refuses
            block.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(block, dtype=np.float32, count=prod(shape))
    return Field(torch.as_tensor(array).view(shape))


def in_file(shape: tuple[int, int, int], folder: Path) -> Field:
    """A field in a nameless file of a folder; of its rows only those at work are in memory.

    Raises:
        OutputError: there is no room for it.
    """
    array = scratch.allocate(shape, np.float32, folder)
    return Field(torch.as_tensor(array), lambda first, last: scratch.release(array, first, last))
