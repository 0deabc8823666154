"""The models by name: what they are, what they cost, and the weights that ship; and other people's."""

from anyrestore.zoo.catalog import CATALOG, Entry, create_model, default_model
from anyrestore.zoo.foreign import Foreign
from anyrestore.zoo.weights import (
    called,
    crops_seen,
    deciding_file,
    describe_weights,
    is_file,
    is_public,
    load_file,
    load_model,
    load_weights,
    needs_newer,
    save_weights,
    shard_weights,
)

__all__ = [
    "CATALOG",
    "Entry",
    "Foreign",
    "called",
    "create_model",
    "crops_seen",
    "deciding_file",
    "default_model",
    "describe_weights",
    "is_file",
    "is_public",
    "load_file",
    "load_model",
    "load_weights",
    "needs_newer",
    "save_weights",
    "shard_weights",
]
