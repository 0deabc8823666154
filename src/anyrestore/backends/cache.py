"""Where compiled models are kept between runs: ``anyrestore`` in the user's cache folder.

That is ``XDG_CACHE_HOME``, or ``~/.cache``. Everything there is made again when it is missing: it may be
deleted at any time. Nothing is ever removed by anyrestore itself.
"""

from __future__ import annotations

import os
from pathlib import Path


def folder(kind: str) -> Path | None:
    """The folder for one kind of file, made if need be; None where that cannot be."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        # The specification says that a relative path is to be ignored.
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
        found = root / "anyrestore" / kind
        found.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return found if os.access(found, os.W_OK | os.X_OK) else None
