"""Pictures out: encoded, checked, and put in place in one step.

Small pictures are encoded in memory. Those that lie in a file themselves, or are large, are encoded by
libvips straight into the temporary file beside the target, which is then decoded and, where the format is
lossless, compared with the picture, before it gets its name.
"""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.image.content import Content, StoredBytes
from anyrestore.image.exif import tags_for_tiff
from anyrestore.image.metadata import metadata_out
from anyrestore.image.opening import Opened, open_picture
from anyrestore.image.picture import SUFFIXES, Format, Metadata, Picture, Pixels, check_array
from anyrestore.image.reading import strips
from anyrestore.scratch import is_backed, release
from anyrestore.storage import check_storable, check_target, shown, store_bytes, storing

_LARGEST_SIDE: dict[Format, int] = {
    "png": 10_000_000,
    "tiff": 10_000_000,
    "jpeg": 65_500,
    "webp": 16_383,
    "avif": 65_535,
}
_LARGE = 2**28  # bytes of pixels and alpha above which a picture is not encoded in memory
_CLASSIC_TIFF = 2**32 - 2**27  # bytes of pixels that fit in 4 GiB, also where deflate makes them more
_PIECE = 2**24  # bytes of a picture that are looked at in one go
_ENCODED = "the encoded picture"


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> str:
    """Store a picture; the extension of `path` says the format.

    At every moment, also after a kill or a full disk, `path` is either what it was or the whole
    new file. A symbolic link is followed. A replaced file keeps its mode.

    A picture whose arrays lie in files (`read` with a scratch folder, `blank_like`), or of more than 256 MiB,
    is encoded into the file and not in memory, and then decoded again, all of it; PNG and TIFF have to give
    its values back. JPEG is encoded in one pass, which makes it somewhat larger. WebP and AVIF are
    encoded in memory by their libraries all the same. TIFF that may not fit in 4 GiB becomes BigTIFF.

    Args:
        picture: What to store; see `Picture` for shapes and types.
        path: Where; the folder must exist.
        overwrite: Replace a file that is there. Without it, a file that appears meanwhile is
            not lost either (on file systems with hard links).
        quality: As in `encode`.

    Returns:
        The SHA-256 of the file's bytes, in hexadecimal.

    Raises:
        UsageError: ``format_cannot_hold``; as `encode`.
        OutputError: ``output_unsupported``, ``output_exists``, ``output_unwritable``,
            ``disk_full``, ``output_storage``, ``output_encoding``. No temporary file is left.
    """
    kind = _format_of_target(path)
    check_target(path, overwrite=overwrite)
    parts = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    if sum(part.nbytes for part in parts) > _LARGE or any(is_backed(part) for part in parts):
        image, planes = _described(picture, kind, quality)
        with storing(path, overwrite=overwrite) as descriptor:
            _encode_into(descriptor, picture, image, planes, kind=kind, quality=quality)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with open(descriptor, "rb", closefd=False) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    data = encode(picture, kind, quality=quality)
    store_bytes(data, path, overwrite=overwrite)
    return hashlib.sha256(data).hexdigest()


def encode(picture: Picture, kind: Format, *, quality: int | None = None, whole: bool = True) -> bytes:
    """Encode a picture to the bytes of a file, and check that they open with the right size.

    PNG and TIFF (deflate) are lossless. JPEG is 4:4:4 at quality 95. WebP and AVIF are lossless
    if the source was and `quality` is None; else they are at quality 95 (4:4:4 for AVIF), the
    alpha of WebP lossless. AVIF keeps 10 or 12 bits; 16-bit pictures get 12. WebP and AVIF have
    no grey: it is stored as equal R, G and B. JPEG leaves out EXIF, XMP or IPTC above 65,000 bytes
    (one segment). A picture without a resolution gets 72 dots an inch where one must be written.

    Args:
        picture: What to encode.
        kind: One of the five formats.
        quality: 1 to 100, for JPEG, WebP and AVIF; others ignore it.
        whole: Whether the encoder may hold the whole picture once more. If not, a JPEG is some percent
            larger; it takes 12 bytes a pixel otherwise.

    Raises:
        UsageError: ``format_cannot_hold`` if the format has no place for the picture's alpha,
            depth or size; ``usage`` for a quality outside 1-100.
        InputError: ``bad_array`` or ``non_finite`` if the picture is not as described.
        OutputError: ``output_encoding`` if the encoder failed.
    """
    image, _ = _described(picture, kind, quality)
    try:
        data = _save(image, kind, picture.metadata, quality, whole=whole)
    except pyvips.Error as error:
        raise _encoding_failed(error, kind) from error
    if kind == "tiff" and (picture.metadata.exif or picture.metadata.iptc):
        patch = tags_for_tiff(data, picture.metadata.exif, picture.metadata.iptc)
        after = patch.at + len(patch.pointer)
        data = data[: patch.at] + patch.pointer + data[after:] + patch.tail
    _verify(data, kind, image.width, image.height)
    return data


def check_writable(path: str | os.PathLike[str], overwrite: bool = False) -> None:  # noqa: FBT001, FBT002
    """Find out whether `write` could store to `path`, before any long work.

    Creates and removes an empty temporary file in the folder, as `write` would.

    Raises:
        OutputError: ``output_unsupported``, ``output_exists``, ``output_unwritable``,
            ``disk_full`` or ``output_storage``.
    """
    _format_of_target(path)
    check_storable(path, overwrite=overwrite)


def check_holds(picture: Picture, path: str | os.PathLike[str]) -> None:
    """Find out whether the format that `path` names could hold `picture`, before any long work.

    Raises:
        UsageError: ``format_cannot_hold``.
        OutputError: ``output_unsupported``.
    """
    _check_holds(picture, _format_of_target(path))


def _format_of_target(path: str | os.PathLike[str]) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        what = f"the extension {suffix!r}" if suffix else "no extension"
        raise OutputError(
            f"{shown(path)} has {what}; end the name in one of {', '.join(SUFFIXES)}.",
            code="output_unsupported",
        )
    return SUFFIXES[suffix]


def _described(picture: Picture, kind: Format, quality: int | None) -> tuple[Any, list[Pixels]]:
    """The picture as a libvips image with its metadata, and the arrays (colours, alpha) that it looks at."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be between 1 and 100, not {quality}.")
    check_array(picture.pixels)
    planes = _planes(picture)
    _check_holds(picture, kind)
    formats = {"uint8": ("uchar", "b-w", "srgb"), "uint16": ("ushort", "grey16", "rgb16")}
    vips_format, grey, rgb = formats.get(planes[0].dtype.name, ("float", "b-w", "srgb"))
    height, width = planes[0].shape[:2]
    images = [
        pyvips.Image.new_from_memory(plane.data, width, height, plane.size // (width * height), vips_format)
        for plane in planes
    ]
    image = images[0].bandjoin(images[1]) if len(images) == 2 else images[0]
    metadata = picture.metadata
    across, down = metadata.resolution or (72 / 25.4, 72 / 25.4)
    image = image.copy(interpretation=grey if image.bands <= 2 else rgb, xres=across, yres=down)
    metadata_out(image, metadata, kind)
    return image, planes


def _planes(picture: Picture) -> list[Pixels]:
    """Colours and, if there is one, alpha: contiguous, native byte order; the caller's arrays if possible."""
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise InputError(
            f"a picture to store must be uint8, uint16 or float32, not {pixels.dtype}.", code="bad_array"
        )
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise InputError(
            f"alpha must be {pixels.shape[:2]} {pixels.dtype}, like the pixels, not "
            f"{alpha.shape} {alpha.dtype}.",
            code="bad_array",
        )
    planes = [
        np.ascontiguousarray(plane, dtype=pixels.dtype.newbyteorder("="))
        for plane in (pixels, alpha)
        if plane is not None
    ]
    if pixels.dtype.kind == "f" and not all(_finite(plane) for plane in planes):
        raise InputError("the picture has NaN or infinite values; they cannot be stored.", code="non_finite")
    return planes


def _finite(plane: Pixels) -> bool:
    rows = max(_PIECE // plane.strides[0], 1)
    for top in range(0, len(plane), rows):
        finite = bool(np.isfinite(plane[top : top + rows]).all())
        release(plane, top, top + rows)
        if not finite:
            return False
    return True


def _check_holds(picture: Picture, kind: Format) -> None:
    height, width = picture.pixels.shape[:2]
    why = None
    if picture.alpha is not None and kind == "jpeg":
        why = "JPEG has no alpha channel; store it as .png, .tiff, .webp or .avif"
    elif picture.pixels.dtype.itemsize == 2 and kind in ("jpeg", "webp"):
        why = f"{kind.upper()} holds 8 bits per channel, this picture has 16; store it as .png or .tiff"
    elif picture.pixels.dtype.kind == "f" and kind != "tiff":
        why = f"{kind.upper()} cannot hold float values; store it as .tiff or convert it to 8 or 16 bits"
    elif max(width, height) > _LARGEST_SIDE[kind]:
        why = f"{kind.upper()} holds at most {_LARGEST_SIDE[kind]:,} pixels a side; store it as .png or .tiff"
    if why is not None:
        raise UsageError(
            f"the picture ({width} x {height}) cannot be stored: {why}.", code="format_cannot_hold"
        )


def _how(
    image: Any, kind: Format, metadata: Metadata, quality: int | None, *, whole: bool = True
) -> dict[str, Any]:
    """The options of libvips's saver of a format; `whole` if it may hold the whole picture in memory."""
    # Without EXIF of its own libvips would make one up for the resolution.
    keep = ["xmp", "iptc", "icc", "other"] + (["exif"] if metadata.exif is not None else [])
    options: dict[str, Any] = {"keep": "|".join(keep)}
    lossless = metadata.lossless and quality is None
    match kind:
        case "png":
            return options | {"compression": 6, "filter": "sub|paeth"}
        case "tiff":
            # Horizontal differences suit integers; libtiff has another predictor for floats.
            return options | {
                "compression": "deflate",
                "predictor": "float" if image.format == "float" else "horizontal",
                "resunit": "cm" if metadata.resolution_unit == "cm" else "inch",
                "bigtiff": _raw_bytes(image) > _CLASSIC_TIFF,
            }
        case "jpeg":
            # The best Huffman tables take a second pass over all coefficients: 6 bytes a pixel and more.
            return options | {"Q": quality or 95, "subsample_mode": "off", "optimize_coding": whole}
        case "webp" if lossless:
            # exact: colours under full transparency belong to the picture too.
            return options | {"lossless": True, "exact": True}
        case "webp":
            return options | {"Q": quality or 95, "alpha_q": 100, "smart_subsample": True}
        case "avif":
            bits = 8 if image.format == "uchar" else (metadata.significant_bits or 12)
            bits = bits if image.format == "uchar" or bits in (10, 12) else 12
            how = {"lossless": True} if lossless else {"Q": quality or 95}
            return options | {
                "compression": "av1",
                "bitdepth": bits,
                "subsample_mode": "off",
                "effort": 1,
                **how,
            }


def _raw_bytes(image: Any) -> int:
    return image.width * image.height * image.bands * {"uchar": 1, "ushort": 2, "float": 4}[image.format]


def _saver(image: Any, kind: Format, where: str) -> Callable[..., Any]:
    return getattr(image, f"{'heif' if kind == 'avif' else kind}save_{where}")


def _save(image: Any, kind: Format, metadata: Metadata, quality: int | None, *, whole: bool) -> bytes:
    data = _saver(image, kind, "buffer")(**_how(image, kind, metadata, quality, whole=whole))
    return _with_jfif(data, image.xres, image.yres) if kind == "jpeg" else data


def _with_jfif(jpeg: bytes, across: float, down: float) -> bytes:
    """Put the JFIF segment in front: libvips leaves it, and the resolution, out where there is EXIF."""
    if jpeg[2:4] == b"\xff\xe0":
        return jpeg
    dots = [min(max(round(per_mm * 25.4), 1), 65_535) for per_mm in (across, down)]
    segment = b"JFIF\0\1\2" + struct.pack(">BHHBB", 1, *dots, 0, 0)  # unit 1: dots an inch
    return jpeg[:2] + b"\xff\xe0" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def _encoding_failed(error: Exception, kind: Format) -> OutputError:
    return OutputError(
        f"the picture could not be encoded as {kind}: {str(error).strip().splitlines()[-1].strip()}.",
        code="output_encoding",
    )


def _verify(data: Content, kind: Format, width: int, height: int) -> Opened:
    """Open what was encoded; a size or format that differs must never reach the disk."""
    try:
        opened = open_picture(data, _ENCODED, max_pixels=width * height)
    except InputError as error:
        raise OutputError(f"the picture was not encoded well: {error}", code="output_encoding") from error
    header = opened.header
    if (header.format, header.width, header.height) != (kind, width, height):
        raise OutputError(
            f"the picture was not encoded well: {header.width} x {header.height} instead of "
            f"{width} x {height}.",
            code="output_encoding",
        )
    return opened


# --------------------------------------------------------------------------------------------
# Large pictures: encoded into a file


class _Sink:
    """What libvips writes to: a file, and the first error of its system calls.

    libvips would only say that writing failed; whether the disk is full, or somebody pressed Ctrl-C while
    libvips was at work, is in `failure`. It also lets the picture's rows leave memory as they are encoded.
    """

    def __init__(self, descriptor: int, planes: list[Pixels], begin: Callable[[bytes], bytes]) -> None:
        self.failure: BaseException | None = None
        self._descriptor = descriptor
        self._planes = planes
        self._begin: Callable[[bytes], bytes] | None = begin
        self.target = pyvips.TargetCustom()
        self.target.on_write(self._write)
        self.target.on_read(self._read)  # libtiff reads its own file
        self.target.on_seek(self._seek)

    def watch(self, image: Any) -> None:
        """Follow how far the encoder has come with `image`."""
        image.set_progress(True)
        image.signal_connect("eval", self._advance)

    def _write(self, piece: Any) -> int:
        return self._guarded(lambda: self._store(bytes(piece)))

    def _store(self, piece: bytes) -> int:
        rest = memoryview(piece if self._begin is None else self._begin(piece))
        self._begin = None
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(piece)

    def _read(self, count: int) -> bytes | None:
        try:
            return os.read(self._descriptor, count)
        except BaseException as error:  # noqa: BLE001 (no exception may enter libvips; it is raised afterwards)
            self.failure = self.failure or error
            return None

    def _seek(self, offset: int, whence: int) -> int:
        return self._guarded(lambda: os.lseek(self._descriptor, offset, whence))

    def _guarded(self, call: Callable[[], int]) -> int:
        try:
            return -1 if self.failure is not None else call()
        except BaseException as error:  # noqa: BLE001 (as in _read)
            self.failure = error
            return -1

    def _advance(self, *_: object) -> None:
        self._guarded(self._release)

    def _release(self) -> int:
        # Rows that the encoder still looks at come back by themselves.
        for plane in self._planes:
            release(plane)
        return 0


def _encode_into(
    descriptor: int, picture: Picture, image: Any, planes: list[Pixels], *, kind: Format, quality: int | None
) -> None:
    """Encode into an empty file, and check that it holds the picture, which `_described` has described.

    Raises:
        OutputError: ``output_encoding``.
        OSError: The file could not be written.
    """

    def begin(first: bytes) -> bytes:
        return _with_jfif(first, image.xres, image.yres) if kind == "jpeg" else first

    metadata = picture.metadata
    sink = _Sink(descriptor, planes, begin)
    sink.watch(image)
    try:
        _saver(image, kind, "target")(sink.target, **_how(image, kind, metadata, quality, whole=False))
    except pyvips.Error as error:
        if sink.failure is None:
            raise _encoding_failed(error, kind) from error
    if sink.failure is not None:
        raise sink.failure
    if kind == "tiff" and (metadata.exif or metadata.iptc):
        patch = tags_for_tiff(StoredBytes(descriptor, _ENCODED), metadata.exif, metadata.iptc)
        with open(descriptor, "r+b", closefd=False) as file:
            for at, piece in ((patch.end, patch.tail), (patch.at, patch.pointer)):
                file.seek(at)
                file.write(piece)
    opened = _verify(StoredBytes(descriptor, _ENCODED), kind, image.width, image.height)
    _compare(opened, planes, lossless=kind in ("png", "tiff"))


def _compare(opened: Opened, planes: list[Pixels], *, lossless: bool) -> None:
    """Decode what was encoded, all of it; lossless formats must give the picture's own values."""
    try:
        for top, strip in strips(opened, _ENCODED):
            rows = [plane[top : top + len(strip)] for plane in planes]
            parts = [strip[..., 0] if rows[0].ndim == 2 else strip[..., :3], strip[..., -1]]
            if lossless and not all(map(np.array_equal, parts, rows)):
                raise OutputError(
                    f"the picture was not encoded well: rows from {top} on differ.", code="output_encoding"
                )
            for part in rows:
                release(part)
    except InputError as error:
        raise OutputError(f"the picture was not encoded well: {error}", code="output_encoding") from error
