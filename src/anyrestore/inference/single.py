"""One picture by a plain function; the model stays loaded between calls."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, overload

from torch import Tensor, nn

from anyrestore.image import Picture, Pixels
from anyrestore.inference.restorer import Restorer

KEPT = 2
"""Restorers that stay loaded, those that were used last."""

_kept = OrderedDict[object, Restorer]()
_lock = threading.Lock()


@overload
def restore(
    source: str | Path | Picture, model: str | Path | nn.Module | None = None, **options: Any
) -> Picture: ...
@overload
def restore(source: Pixels, model: str | Path | nn.Module | None = None, **options: Any) -> Pixels: ...
@overload
def restore(source: Tensor, model: str | Path | nn.Module | None = None, **options: Any) -> Tensor: ...
def restore(
    source: Any, model: str | Path | nn.Module | None = None, **options: Any
) -> Picture | Pixels | Tensor:
    """Restore one picture; the result is of the same kind, size and type, and the source is not changed.

    The two models that were used last stay loaded, each with its options; a weights file that has changed
    is loaded again. For many pictures, see :meth:`anyrestore.Restorer.map`.

    Args:
        source: a path, a `Picture`, an array or a tensor, as :meth:`anyrestore.Restorer.__call__` takes.
        model: a name of the zoo, a weights file or a module; None for the default. A module is not kept.
        options: of :class:`anyrestore.Restorer`, for example ``device="cpu"``.

    Raises:
        AnyRestoreError: as :class:`anyrestore.Restorer` and its call.
        TypeError: `source` is of another kind, or there is no such option.
    """
    call = cast("Callable[[Any], Picture | Pixels | Tensor]", _restorer(model, options))
    return call(source)


def _restorer(model: str | Path | nn.Module | None, options: dict[str, Any]) -> Restorer:
    if isinstance(model, nn.Module):
        return Restorer(model, **options)
    files = [value for value in (model, *options.values()) if isinstance(value, (str, Path))]
    key = (model, tuple(sorted(options.items())), tuple(map(_state, files)))
    with _lock:
        found = _kept.pop(key, None)
        if found is None:
            # Make room first: two networks are kept, not three.
            while len(_kept) >= KEPT:
                _kept.popitem(last=False)
            found = Restorer(model, **options)
        _kept[key] = found
    return found


def _state(name: str | Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None for what names no file."""
    try:
        found = Path(name).stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
