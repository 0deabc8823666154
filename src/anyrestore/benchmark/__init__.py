"""What a model costs: parameters and multiply-accumulates."""

from anyrestore.benchmark.cost import count_macs, count_parameters

__all__ = ["count_macs", "count_parameters"]
