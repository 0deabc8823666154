"""Whole pictures, exactly, in little memory: networks of attention between channels, a few rows at a time.

`supports` says whether a network can be run so, `restore` runs it, `Footprint` says what that takes.
"""

from anyrestore.strips.crew import count_threads
from anyrestore.strips.field import Field, in_file, in_memory
from anyrestore.strips.footprint import Footprint
from anyrestore.strips.network import count_steps, restore, supports

__all__ = [
    "Field",
    "Footprint",
    "count_steps",
    "count_threads",
    "in_file",
    "in_memory",
    "restore",
    "supports",
]
