"""How pictures go in and out: the only room of the package that touches image files.

PNG, TIFF, JPEG, WebP and AVIF through libvips (pyvips), with five promises:

* **Nothing is guessed from a name.** The signature of the bytes picks one libvips loader out of an
  allowlist of five, so no other parser ever sees untrusted data. Size limits are checked from the header,
  before a pixel is decoded.
* **Nothing is lost in silence.** Depth, grey, alpha, ICC profile, EXIF, XMP, IPTC and resolution
  come back out. What a format cannot hold is refused with a sentence; what had to be dropped is
  in `Picture.warnings`.
* **Privacy by construction.** GPS leaves EXIF and XMP at reading, unless it is asked for, and so
  do embedded thumbnails, which would show the picture as it was.
* **A file is either old or new.** Encode, check, write a temporary file beside the target, fsync, rename,
  fsync the folder.
* **A picture may be larger than memory.** With a scratch folder its arrays lie in files
  (`anyrestore.scratch`), and it is decoded, encoded and checked in strips.

| file | what lives there |
|---|---|
| `picture.py` | what a picture is; formats and limits |
| `content.py` | the bytes of a file, in memory or fetched in pieces |
| `formats.py` | signatures, and walks over the structure |
| `exif.py` | tag lists taken apart and put together |
| `opening.py` | a file opened: its header, its limits |
| `metadata.py` | what travels with the pixels |
| `reading.py`, `writing.py` | in and out |
| `preview.py` | a small copy for a screen |
| `tensors.py` | arrays to tensors and back |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyrestore.image.picture import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    SUFFIXES,
    Format,
    Header,
    Metadata,
    Picture,
    Pixels,
    ReadOptions,
    blank_like,
)
from anyrestore.image.reading import decode, decode_header, read, read_header
from anyrestore.image.writing import check_holds, check_writable, encode, write

if TYPE_CHECKING:
    from anyrestore.image.tensors import from_tensor, to_tensor

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "SUFFIXES",
    "Format",
    "Header",
    "Metadata",
    "Picture",
    "Pixels",
    "ReadOptions",
    "blank_like",
    "check_holds",
    "check_writable",
    "decode",
    "decode_header",
    "encode",
    "from_tensor",
    "read",
    "read_header",
    "to_tensor",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import PyTorch only for those who make tensors: who decodes alone starts ten times as fast without."""
    if name not in ("from_tensor", "to_tensor"):
        raise AttributeError(f"module 'anyrestore.image' has no attribute {name!r}")
    return getattr(import_module("anyrestore.image.tensors"), name)
