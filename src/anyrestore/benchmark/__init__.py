"""What a model costs: parameters, multiply-accumulates, memory, time, and what tiling changes."""

from anyrestore.benchmark.cost import count_macs, count_parameters, count_traffic
from anyrestore.benchmark.survey import Plan, Survey
from anyrestore.benchmark.tiles import TileDifference, compare_tiles

__all__ = [
    "Plan",
    "Survey",
    "TileDifference",
    "compare_tiles",
    "count_macs",
    "count_parameters",
    "count_traffic",
]
