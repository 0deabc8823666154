"""anyrestore: restore degraded photographs, and train, measure and compare the models that do it.

>>> import anyrestore
>>> restored = anyrestore.restore("photo.jpg")  # doctest: +SKIP
>>> anyrestore.write(restored, "restored.jpg")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyrestore.errors import AnyRestoreError, DataError, InputError, ModelError, OutputError, UsageError

if TYPE_CHECKING:
    from anyrestore.degradations import degrade
    from anyrestore.image import Picture, read, write
    from anyrestore.inference.restorer import Restorer
    from anyrestore.inference.single import restore
    from anyrestore.zoo import create_model, load_model

__version__ = "0.1.0"

__all__ = [
    "AnyRestoreError",
    "DataError",
    "InputError",
    "ModelError",
    "OutputError",
    "Picture",
    "Restorer",
    "UsageError",
    "create_model",
    "degrade",
    "load_model",
    "read",
    "restore",
    "write",
]

# PyTorch takes seconds to import; `anyrestore --help` must not wait for it.
_LAZY = {
    "Picture": "anyrestore.image",
    "Restorer": "anyrestore.inference.restorer",
    "create_model": "anyrestore.zoo",
    "degrade": "anyrestore.degradations",
    "load_model": "anyrestore.zoo",
    "read": "anyrestore.image",
    "restore": "anyrestore.inference.single",
    "write": "anyrestore.image",
}


def __getattr__(name: str) -> Any:
    """Import what is heavy only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'anyrestore' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
