"""A report that programs read: one JSON object a line, one line per input.

Every line has the same keys: `input`, `output`, `status` ("done", "skipped" or "failed"), `code` and
`message` (of a failure, or why it was skipped), `seconds`, `width`, `height`, `sha256` (of the stored file)
and `warnings`; what does not apply is null. A code is that of an error (`anyrestore.errors`), or
`already_done` or `not_tried`. Names that are no UTF-8 are escaped as Python does it (lone
surrogates), so that each line is JSON in ASCII.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from anyrestore import image
from anyrestore.batch.lines import LineFile, encoded
from anyrestore.errors import UsageError
from anyrestore.storage import shown

Status = Literal["done", "skipped", "failed"]


def open_report(where: str | Path) -> LineFile:
    """The file of a report, replaced if it is there; errors as of `Report`."""
    if Path(where).suffix.lower() in image.SUFFIXES:
        raise UsageError(f"--report: {shown(where)} is named like a picture; end it in .jsonl")
    return LineFile(where, "w")


class Report:
    """A report on its way.

    Args:
        where: a file, replaced if it is there; "-" for stdout.

    Raises:
        UsageError: the name is a picture's, which must not be lost to a slip of the keyboard.
        OutputError: the file cannot be written (`add` and `close`, too).
    """

    def __init__(self, where: str) -> None:
        self._file = None if where == "-" else open_report(where)

    def add(
        self,
        *,
        source: Path,
        target: Path | None,
        status: Status,
        code: str | None = None,
        message: str | None = None,
        seconds: float | None = None,
        size: tuple[int, int] | None = None,
        sha256: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        """Write the line of one input; `size` is width and height of the result in pixels.

        Raises:
            BrokenPipeError: nobody reads stdout any more.
        """
        width, height = size or (None, None)
        record: dict[str, object] = {
            "input": str(source),
            "output": None if target is None else str(target),
            "status": status,
            "code": code,
            "message": message,
            "seconds": None if seconds is None else round(float(seconds), 3),
            "width": width,
            "height": height,
            "sha256": sha256,
            "warnings": list(warnings),
        }
        if self._file is None:
            sys.stdout.write(encoded(record))
            sys.stdout.flush()
        else:
            self._file.add(record)

    def close(self) -> None:
        """See that the file is on the disk; a second time does nothing."""
        if self._file is not None:
            self._file.close()
