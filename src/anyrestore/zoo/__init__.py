"""The models by name: what they are, what they cost, and the weights that ship; and other people's."""

from anyrestore.zoo.catalog import CATALOG, Entry, create_model, default_model
from anyrestore.zoo.foreign import Foreign
from anyrestore.zoo.weights import (
    is_file,
    is_public,
    load_file,
    load_model,
    load_weights,
    needs_newer,
    save_weights,
)

__all__ = [
    "CATALOG",
    "Entry",
    "Foreign",
    "create_model",
    "default_model",
    "is_file",
    "is_public",
    "load_file",
    "load_model",
    "load_weights",
    "needs_newer",
    "save_weights",
]
