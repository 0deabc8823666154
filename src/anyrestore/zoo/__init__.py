"""The models by name: what they are, what they cost, and the weights that ship."""

from anyrestore.zoo.catalog import CATALOG, Entry, create_model, default_model
from anyrestore.zoo.weights import load_model, load_weights, save_weights

__all__ = ["CATALOG", "Entry", "create_model", "default_model", "load_model", "load_weights", "save_weights"]
