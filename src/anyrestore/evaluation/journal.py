"""Scores image by image on disk, so that an evaluation that was killed goes on where it was.

`images.jsonl` has one JSON object a line: first what the scores depend on, then one image each, flushed as
it is done. Numbers are written with every digit, so that a resumed evaluation gives the same ones. An image
is known by its benchmark, its name, the hash of both its halves and what the model was told: other data, or
other words, are not taken for the same.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, cast

from anyrestore.errors import DataError, OutputError
from anyrestore.evaluation.results import image_as_dict, image_from_dict
from anyrestore.evaluation.scores import ImageScore

__all__ = ["FILE", "Journal"]

FILE = "images.jsonl"


class _Known(NamedTuple):
    data_sha256: str
    instruction: str | None
    score: ImageScore


class Journal:
    """The file of one results folder.

    Args:
        folder: The results folder; made if it is not there.
        settings: What the scores depend on: weights, protocol, versions and so on, as JSON holds it.

    Raises:
        DataError: The folder has scores that were measured with other settings (code `run_differs`), or
            its file is damaged (code `bad_results`).
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._path = folder / FILE
        self._known: dict[tuple[str, str], _Known] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            whole = self._read(settings) if self._path.exists() else 0
            self._file = self._path.open("r+b" if whole else "wb")
            self._file.truncate(whole)  # what a kill left of a last line
            self._file.seek(whole)
            if not whole:
                self._write({"settings": settings})
        except OSError as error:
            raise OutputError(
                f"{self._path} could not be written: {error.strerror or error}.", code="output_unwritable"
            ) from error

    def __len__(self) -> int:
        return len(self._known)

    def find(
        self, benchmark: str, image: str, data_sha256: str, *, instruction: str | None = None
    ) -> ImageScore | None:
        """The score of an image that was measured before.

        Raises:
            DataError: The image was another one then (code `data_differs`), or the model was told something
                else (code `run_differs`).
        """
        before = self._known.get((benchmark, image))
        if before is None:
            return None
        if before.instruction != instruction:
            raise DataError(
                f"Expected {benchmark} in {self._path} to be measured with the instruction {instruction!r}, "
                f"and it was with {before.instruction!r}; choose another folder for the results.",
                code="run_differs",
            )
        if before.data_sha256 != data_sha256:
            raise DataError(
                f"Expected the image {image} of {benchmark} to be the one that was measured into "
                f"{self._path}; it has changed, so choose another folder for the results.",
                code="data_differs",
            )
        return before.score

    def add(
        self, benchmark: str, data_sha256: str, score: ImageScore, *, instruction: str | None = None
    ) -> None:
        """Store one image's score; `instruction` is what the model was told."""
        about = {"benchmark": benchmark, "data_sha256": data_sha256}
        if instruction is not None:
            about["instruction"] = instruction
        self._write({**about, **image_as_dict(score)})
        self._known[benchmark, score.name] = _Known(data_sha256, instruction, score)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self._path} could not be written: {error.strerror}.") from error

    def _read(self, settings: dict[str, Any]) -> int:
        """Take in what is there; how many of its bytes are whole lines."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines()):
            try:
                record = cast("dict[str, Any]", json.loads(line))
                if number:
                    self._take(record)
                    continue
                before = cast("dict[str, Any]", record["settings"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"Expected line {number + 1} of {self._path} to be the score of an image, and it is not; "
                    "choose another folder for the results.",
                    code="bad_results",
                ) from error
            for key, value in settings.items():
                if before.get(key) != value:
                    raise DataError(
                        f"Expected {self._path} to be measured with {key} {value}, and it was with "
                        f"{before.get(key)}; choose another folder for the results.",
                        code="run_differs",
                    )
        return whole

    def _take(self, record: dict[str, Any]) -> None:
        score = image_from_dict(record)
        known = _Known(str(record["data_sha256"]), record.get("instruction"), score)
        self._known[str(record["benchmark"]), score.name] = known
