"""Storing bytes so that the target is at every moment either the old file or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def store_bytes(data: bytes, path: Path) -> None:
    """Replace ``path`` by ``data`` in one step: temporary file beside it, fsync, rename, fsync of the folder."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
