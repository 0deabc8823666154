"""Which machine does which picture, settled by the picture's name alone.

A shard holds the names whose hash falls to it, so that n machines that know nothing of each other do every
picture once, and a picture stays in its shard when others come or go. The hash is SHA-256: Python's own
differs from one process to the next.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from anyrestore.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`; the first is 1, and 1 of 1 is everything.

    Raises:
        UsageError: there is no such part.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(
                f"shard: expected i/n with i from 1 to n, such as 1/8 to 8/8, got {self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/n".

        Raises:
            UsageError: that is not what it says, or there is no such part.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if match is None:
            raise UsageError(f"shard: expected i/n, such as 3/8, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def suffix(self) -> str:
        """What its files add to their names: "-3-of-8"; nothing where there is only one part."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"

    def holds(self, name: str) -> bool:
        """Whether a picture, by its name relative to the source, belongs to this part."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1
