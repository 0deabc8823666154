"""Models as folders and repositories in Hugging Face's layout: ``model.safetensors`` and ``config.json``.

The weights file is the one that :mod:`anyrestore.zoo.weights` writes, and says by itself what it is.
``config.json`` repeats that for people and programs, and has the SHA-256 of the weights file. Both are read,
and must agree.

Nothing is fetched unless it is asked for: a repository is looked up in the local cache of huggingface_hub.
That package is imported here only, by the two functions that need it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from anyrestore import tensorfile
from anyrestore.errors import ModelError, OutputError
from anyrestore.provenance import versions
from anyrestore.storage import store_bytes
from anyrestore.zoo.catalog import CATALOG
from anyrestore.zoo.shards import stands_for
from anyrestore.zoo.weights import (
    FORMAT,
    is_file,
    load_model,
    load_weights,
    name_architecture,
    needs_newer,
    save_weights,
)

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
_CONFIG_LIMIT = 1 << 20
_REPOSITORY = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)
_CARD = """---
library_name: anyrestore
pipeline_tag: image-to-image
---

Weights of a {architecture} network for image restoration.

```python
import anyrestore

restorer = anyrestore.Restorer.from_pretrained("{repository}", download=True)
```
"""


def save_pretrained(network: nn.Module, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Store a network of the zoo; see :meth:`anyrestore.Restorer.save_pretrained`.

    Raises:
        ModelError: as :func:`anyrestore.zoo.save_weights`.
        OutputError: the folder cannot be written to.
    """
    architecture = name_architecture(network)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise OutputError(
            f"cannot make the folder {str(folder)!r:.300}: {getattr(error, 'strerror', None) or error}",
            code="output_unwritable",
        ) from None
    digest = save_weights(network, folder / WEIGHTS, dtype=dtype)
    config: Any = network.config
    about = {
        "library_name": "anyrestore",
        "format": FORMAT,
        "version": versions()["anyrestore"],
        "architecture": architecture,
        "config": dataclasses.asdict(config),
        "sha256": digest,
    }
    store_bytes((json.dumps(about, indent=2) + "\n").encode(), folder / CONFIG, overwrite=True)


def load_pretrained(name: str | Path, *, revision: str | None = None, download: bool = False) -> nn.Module:
    """The network of a folder, a repository, a weights file or a name of the zoo.

    Args:
        name: see :meth:`anyrestore.Restorer.from_pretrained`.
        revision: of a repository.
        download: fetch what is not in the cache.

    Raises:
        ModelError: ``unknown_model`` if it is none of these, ``no_weights`` if a repository is not in the
            cache, ``bad_weights`` if files are missing, damaged, newer, or not of one another, ``no_hub`` if
            huggingface_hub is not installed or cannot fetch it.
    """
    is_folder = str(name) != "" and os.path.isdir(name)  # noqa: PTH112 (Path.is_dir raises for long names)
    if str(name) in CATALOG or (is_file(name) and not is_folder) or stands_for(name):
        return load_model(name)
    if is_folder:
        return _load_folder(Path(name))
    if not _REPOSITORY.fullmatch(str(name)):
        raise ModelError(
            f"expected a model's name ({', '.join(CATALOG)}), a folder, a weights file or OWNER/NAME, came "
            f"{str(name)!r:.200}",
            code="unknown_model",
        )
    return _load_folder(_snapshot(str(name), revision, download=download))


def push_to_hub(
    network: nn.Module,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Weights for anyrestore",
    dtype: torch.dtype = torch.float32,
) -> str:
    """Store a network of the zoo on the hub; see :meth:`anyrestore.Restorer.push_to_hub`."""
    package = _package()
    with tempfile.TemporaryDirectory(prefix="anyrestore-") as made:
        folder = Path(made)
        save_pretrained(network, folder, dtype=dtype)
        card = _CARD.format(architecture=type(network).__name__, repository=repository)
        (folder / CARD).write_text(card, "utf-8")
        try:
            api = package.HfApi(token=token)
            api.create_repo(repository, private=private, exist_ok=True)
            # A card that somebody has written stays.
            own = [CARD] if api.file_exists(repository, CARD) else []
            done = api.upload_folder(
                repo_id=repository, folder_path=made, commit_message=message, ignore_patterns=own
            )
        except Exception as error:  # the hub's own, and those of the package that it reaches the network by
            raise ModelError(
                f"the hub did not take {repository} ({_first_line(error)})", code="no_hub"
            ) from error
    return str(done)


def _load_folder(folder: Path) -> nn.Module:
    about = _read_config(folder / CONFIG)
    network = load_weights(folder / WEIGHTS, sha256=about["sha256"])
    config: Any = network.config
    # Through JSON, which has lists where a Config has tuples.
    held = json.loads(json.dumps([name_architecture(network), dataclasses.asdict(config)]))
    if held != [about["architecture"], about["config"]]:
        raise ModelError(
            f"{folder / CONFIG} describes another network than {WEIGHTS} holds; fetch both again",
            code="bad_weights",
        )
    return network


def _read_config(path: Path) -> dict[str, Any]:
    """``config.json``, checked."""
    bad = ModelError(
        f"expected a config.json of anyrestore in {path}, found something else", code="bad_weights"
    )
    about = dict[str, Any]()
    try:
        with tensorfile.opened(path) as file:
            about |= json.loads(file.read(_CONFIG_LIMIT))
    except OSError as error:
        raise ModelError(
            f"expected a model at {path}, but it cannot be read: {error.strerror}", code="bad_weights"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise bad from error
    found, digest = about.get("format"), about.get("sha256")
    if about.get("library_name") != "anyrestore" or type(found) is not int or found < 1:
        raise bad
    if found > FORMAT:
        raise needs_newer(path, about.get("version"))
    if not isinstance(digest, str) or not {"architecture", "config"} <= about.keys():
        raise bad
    return about


def _snapshot(repository: str, revision: str | None, *, download: bool) -> Path:
    """The folder of one commit of a repository in the local cache."""
    package = _package()
    try:
        found = package.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[CONFIG, WEIGHTS],
            local_files_only=not download,
        )
    except Exception as error:  # as in push_to_hub
        if download:
            raise ModelError(
                f"{repository} cannot be fetched ({_first_line(error)})", code="no_hub"
            ) from error
        raise ModelError(
            f"{repository} is not in the local Hugging Face cache; fetch it with download=True, or give a "
            "folder",
            code="no_weights",
        ) from error
    return Path(cast("str", found))


def _first_line(error: Exception) -> str:
    return f"{(str(error).strip() or type(error).__name__).splitlines()[0]:.200}"


def _package() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ModelError(
            'repositories of the Hugging Face hub need the extra "hub"; install it with: pip install '
            '"anyrestore[hub]"',
            code="no_hub",
        ) from error
