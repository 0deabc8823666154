"""What a batch is to do, as a value: it travels to other machines, and says whether results agree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyrestore import __version__, zoo
from anyrestore.errors import ModelError
from anyrestore.inference.restorer import Restorer


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A model and how to use it; see `Restorer` and `run_jobs` for what the fields mean.

    Attributes:
        model: a name of the zoo, or the path of a weights file that every machine can read.
    """

    model: str
    device: str = "auto"
    tile: int | str = "auto"
    backend: str = "torch"
    instruction: str | None = None
    quality: int | None = None
    keep_gps: bool = False
    max_pixels: int | None = None
    threads: int | None = None
    memory_limit: int | None = None
    scratch: str | None = "auto"

    def restorer(self, *, threads: int | None = None) -> Restorer:
        """The model, ready, on so many threads if `self.threads` is None; errors as of `Restorer`."""
        return Restorer(
            self.model,
            device=self.device,
            tile=self.tile,
            backend=self.backend,
            instruction=self.instruction,
            threads=self.threads or threads,
            memory_limit=self.memory_limit,
            scratch=self.scratch,
        )

    def that_change_results(self) -> dict[str, Any]:
        """What a result depends on, for the manifest: not where it is computed.

        Raises:
            ModelError: the weights file cannot be read, or there is no such model.
        """
        file = zoo.is_file(self.model) or self.model.lower().endswith(".onnx")
        return {
            "version": __version__,
            "model": Path(self.model).name if file else self.model,
            "weights_sha256": _digest_of_file(self.model) if file else _digest_in_catalogue(self.model),
            "tile": self.tile,
            "backend": self.backend,
            "instruction": self.instruction,
            "quality": self.quality,
            "keep_gps": self.keep_gps,
        }


def _digest_of_file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"the weights {path} cannot be read: {error.strerror or error}; name a file that is there",
            code="no_weights",
        ) from None


def _digest_in_catalogue(name: str) -> str | None:
    if name not in zoo.CATALOG:
        raise ModelError(
            f"expected a model among {', '.join(zoo.CATALOG)}, came {name!r}", code="unknown_model"
        )
    return zoo.CATALOG[name].sha256
