"""The whole state of a run on disk: safetensors and JSON, hashed, the newest few and the best kept.

A checkpoint is two files: ``step-000000100.safetensors`` (every tensor) and, written after it,
``step-000000100.json`` (everything else, with the SHA-256 of the tensors and of itself). It exists when its
JSON does: a run killed while saving leaves the one before. safetensors has no checksum of its own, and most
flipped bits would load without an error; the hashes find them all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anyrestore.errors import DataError, OutputError
from anyrestore.storage import store_bytes

#: Version of the layout; a checkpoint with another one cannot be gone on from.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was stored after ``step`` steps."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]  # plain values


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: where they lie; made if need be.
        keep: the newest so many are kept, at least 2, so that a good one is left where the newest is damaged.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, max(2, keep)

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        *,
        best: int | None = None,
    ) -> None:
        """Store a checkpoint, read it again, and only then remove older ones.

        Args:
            step: how many steps were made; a good checkpoint of this step that is there already stays.
            tensors: on any device.
            facts: plain values that JSON can hold.
            best: a step whose checkpoint is never removed.

        Raises:
            OutputError: it could not be stored; older checkpoints are whole.
        """
        try:
            self._save(step, tensors, facts)
            self._prune(best)
        except OSError as error:
            raise OutputError(
                f"expected to store a checkpoint in {str(self.folder)!r}: {error.strerror or error}"
            ) from error

    def load(self, step: int) -> Checkpoint | None:
        """The checkpoint of this step, or None if it is not there or damaged."""
        return self._read(self._manifest(step))

    def _save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        manifest = self._manifest(step)
        if not (manifest.exists() and self._read(manifest) is not None):
            manifest.unlink(missing_ok=True)  # a damaged one must not claim the new tensors
            self.folder.mkdir(parents=True, exist_ok=True)
            data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
            content = {
                "format": FORMAT,
                "step": step,
                "tensors_sha256": hashlib.sha256(data).hexdigest(),
                "facts": dict(facts),
            }
            store_bytes(data, manifest.with_suffix(".safetensors"), overwrite=True)
            store_bytes(_sealed(content), manifest, overwrite=True)
            if self._read(manifest) is None:
                raise OutputError(
                    f"expected {manifest} to read back as it was written, but it differs; check the disk"
                )

    def load_newest(self, tell: Callable[[str], None]) -> Checkpoint | None:
        """The newest whole checkpoint, or None if none was ever finished.

        Args:
            tell: is told of every damaged checkpoint that was passed over.

        Raises:
            DataError: there are checkpoints and all are damaged (code ``checkpoints_damaged``).
        """
        self._sweep()
        damaged = list[str]()
        for manifest in self._manifests():
            found = self._read(manifest)
            if found is not None:
                if damaged:
                    tell(f"damaged, passed over: {', '.join(damaged)}; going on from step {found.step}")
                return found
            damaged.append(str(manifest))
        if damaged:
            raise DataError(
                f"expected a whole checkpoint in {self.folder}, but all are damaged: {', '.join(damaged)}; "
                "restore one from a copy, or choose another output folder to start again",
                code="checkpoints_damaged",
            )
        return None

    def steps(self) -> list[int]:
        """Of the checkpoints that are there, whole or not, newest first."""
        return [int(manifest.stem.removeprefix("step-")) for manifest in self._manifests()]

    def _manifest(self, step: int) -> Path:
        return self.folder / f"step-{step:09}.json"

    def _manifests(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.json"), reverse=True)

    def _read(self, manifest: Path) -> Checkpoint | None:
        """The checkpoint, or None if a bit of it is not as it was written."""
        try:
            content = _unsealed(manifest.read_bytes())
            data = manifest.with_suffix(".safetensors").read_bytes()
            if content["format"] != FORMAT or hashlib.sha256(data).hexdigest() != content["tensors_sha256"]:
                return None
            return Checkpoint(step=content["step"], tensors=load(data), facts=content["facts"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def _prune(self, best: int | None) -> None:
        for step in self.steps()[self.keep :]:
            if step != best:
                # The manifest first: tensors without one are no checkpoint.
                self._manifest(step).unlink(missing_ok=True)
                self._manifest(step).with_suffix(".safetensors").unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a killed run left: temporary files, and tensors whose manifest never came.

        Where there is no manifest at all, they may have been lost, and nothing is removed.
        """
        if not self._manifests():
            return
        for left in (*self.folder.glob(".*.tmp"), *self.folder.glob("step-*.safetensors")):
            if left.suffix == ".tmp" or not left.with_suffix(".json").exists():
                with contextlib.suppress(OSError):  # a read-only folder can still be gone on from
                    left.unlink()


def _plain(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False)


def _sealed(content: Mapping[str, Any]) -> bytes:
    """JSON that holds the hash of its own content."""
    seal = hashlib.sha256(_plain(content).encode()).hexdigest()
    return (_plain({**content, "sha256": seal}) + "\n").encode()


def _unsealed(data: bytes) -> dict[str, Any]:
    """The content, if every byte is as :func:`_sealed` wrote it; otherwise ValueError or KeyError."""
    content: dict[str, Any] = json.loads(data)
    del content["sha256"]
    if _sealed(content) != data:
        raise ValueError("the content does not have its hash")
    return content
