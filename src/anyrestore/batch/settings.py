"""What a batch is to do, as a value: it travels to other machines, and says whether results agree."""

from __future__ import annotations

from dataclasses import dataclass

from anyrestore import backends, zoo
from anyrestore.batch.manifest import describe_settings
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

    def that_change_results(self) -> dict[str, object]:
        """What a result depends on, for the manifest: not where it is computed.

        Raises:
            ModelError: the weights file cannot be read, or there is no such model.
        """
        options = {
            key: getattr(self, key) for key in ("tile", "backend", "instruction", "quality", "keep_gps")
        }
        if (
            not zoo.is_file(self.model)
            and not backends.is_graph(self.model)
            and self.model not in zoo.CATALOG
        ):
            raise ModelError(
                f"expected a model among {', '.join(zoo.CATALOG)}, came {self.model!r}", code="unknown_model"
            )
        try:
            return describe_settings(self.model, {"command": "batch", **options})
        except OSError as error:
            raise ModelError(
                f"the weights {self.model} cannot be read: {error.strerror or error}; name another file",
                code="no_weights",
            ) from None
