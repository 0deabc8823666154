"""The rows of the papers' tables, to be printed beside ours: data with its source, never mixed with a score.

The numbers lie in `published.txt`, as the papers print them, contradictions included. Each was measured by
its own authors, under what its paper says (or does not say) about the protocol, and to the digits printed
there: a difference in the last one says nothing.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from anyrestore.evaluation.benchmarks import COLLECTIONS

__all__ = ["PublishedRow", "Source", "columns", "published", "sources"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of a paper.

    Attributes:
        key: What rows name it by.
        table: The paper and the number of the table.
        protocol: What the paper says about how it was measured.
    """

    key: str
    table: str
    protocol: str


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One line of a table.

    Attributes:
        method: The network's name.
        parameters: In millions ("10M"; "33M/36M" where papers differ); None where they are not printed.
        sources: The tables that print this row, by key.
        values: (PSNR in dB, SSIM) for each column; None where there is none.
        average: What the table prints as its average; None where it prints none.
    """

    method: str
    parameters: str | None
    sources: tuple[str, ...]
    values: tuple[tuple[float, float] | None, ...]
    average: tuple[float, float] | None

    @property
    def consistent(self) -> bool:
        """Whether the printed average is the mean of the printed values, to a hundredth of a dB or so."""
        known = [value[0] for value in self.values if value is not None]
        if self.average is None or not known:
            return True
        return abs(sum(known) / len(known) - self.average[0]) < 0.0151


def columns(collection: str) -> tuple[str, ...]:
    """The benchmarks that a table measures, in its order."""
    return COLLECTIONS.get(collection, (collection,))


def published(collection: str) -> tuple[PublishedRow, ...]:
    """The rows of a collection in the order of the papers; empty where there are none."""
    return _read()[1].get(collection, ())


def sources() -> dict[str, Source]:
    """The tables by key."""
    return _read()[0]


@cache
def _read() -> tuple[dict[str, Source], dict[str, tuple[PublishedRow, ...]]]:
    known: dict[str, Source] = {}
    rows: dict[str, tuple[PublishedRow, ...]] = {}
    collection = ""
    for line in files("anyrestore.evaluation").joinpath("published.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            collection = line.strip("[]")
            rows[collection] = ()
        elif " = " in line and not collection and not line.startswith("#"):
            key, _, rest = line.partition(" = ")
            table, _, protocol = rest.partition(" | ")
            known[key] = Source(key=key, table=table, protocol=protocol)
        elif collection and line:
            rows[collection] += (_row(line, len(columns(collection))),)
    return known, rows


def _row(line: str, count: int) -> PublishedRow:
    method, parameters, keys, numbers = (part.strip() for part in line.split("|"))
    words = numbers.split()
    pairs = [_pair(psnr, ssim) for psnr, ssim in zip(words[::2], words[1::2], strict=True)]
    return PublishedRow(
        method=method,
        parameters=None if parameters == "-" else parameters,
        sources=tuple(keys.split()),
        values=tuple(pairs[:count]),
        average=pairs[count] if len(pairs) > count else None,
    )


def _pair(psnr: str, ssim: str) -> tuple[float, float] | None:
    return None if psnr == "-" else (float(psnr), float(ssim))
