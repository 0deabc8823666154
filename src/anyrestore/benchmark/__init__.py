"""What a model costs: parameters, multiply-accumulates, and what tiling changes."""

from anyrestore.benchmark.cost import count_macs, count_parameters
from anyrestore.benchmark.tiles import TileDifference, compare_tiles

__all__ = ["TileDifference", "compare_tiles", "count_macs", "count_parameters"]
