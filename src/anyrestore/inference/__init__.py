"""Using a model on pictures: tiles, memory, the `Restorer`, and jobs over many files."""

from anyrestore.inference.restorer import Restorer

__all__ = ["Restorer"]
