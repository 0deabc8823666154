"""Scores on the field's test sets: protocols, benchmarks, the runner and its reports."""

from anyrestore.evaluation.benchmarks import BENCHMARKS, Benchmark, Sample, select
from anyrestore.evaluation.protocols import PROTOCOLS, Protocol
from anyrestore.evaluation.runner import ImageScore, Score, evaluate

__all__ = [
    "BENCHMARKS",
    "PROTOCOLS",
    "Benchmark",
    "ImageScore",
    "Protocol",
    "Sample",
    "Score",
    "evaluate",
    "select",
]
