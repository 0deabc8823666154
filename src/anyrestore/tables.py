"""Plain text in columns, for every table that a command prints."""

from __future__ import annotations

from collections.abc import Container, Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str] | None], *, left: Container[int] = (0,)) -> list[str]:
    """Lines in which every column is as wide as its widest cell, with two spaces between.

    Args:
        rows: as many cells each; the head is a row like the others, and None a rule across.
        left: the columns that are set to the left, counted from 0; numbers are set to the right.
    """
    cells = [row for row in rows if row is not None]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        placed = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(placed).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return [rule if row is None else line(row) for row in rows]
