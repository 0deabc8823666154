"""Scores on the field's test sets: protocols, benchmarks, the runner and its reports."""

from anyrestore.evaluation.benchmarks import BENCHMARKS, COLLECTIONS, Benchmark, Sample, select
from anyrestore.evaluation.protocols import PROTOCOLS, Protocol
from anyrestore.evaluation.runner import evaluate
from anyrestore.evaluation.scores import ImageScore, Score

__all__ = [
    "BENCHMARKS",
    "COLLECTIONS",
    "PROTOCOLS",
    "Benchmark",
    "ImageScore",
    "Protocol",
    "Sample",
    "Score",
    "evaluate",
    "select",
]
