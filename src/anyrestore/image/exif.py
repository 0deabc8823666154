"""EXIF and TIFF tags: structures of tag lists (IFDs), taken apart and put together.

A block of EXIF is a small TIFF. libvips only deletes GPS tags that libexif knows, and neither reads nor
writes EXIF of TIFF files, so both are done here, for classic TIFF and for BigTIFF (offsets of 8 bytes, files
above 4 GiB). Sources: EXIF 2.32 (CIPA DC-008), TIFF 6.0, the BigTIFF design of libtiff.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anyrestore.image.content import Content

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_WORDS = {
    3: 2,
    4: 4,
    5: 4,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}  # what byte order turns
_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
IPTC = 0x83BB
_MOST_ENTRIES, _MOST_BYTES = 65_535, 2**28  # of one list: what classic TIFF can count, and 256 MiB of values
# Tags of a TIFF's own layout, colour or embedded blocks: they describe a file, not a photograph.
LAYOUT_TAGS = frozenset(
    (
        *range(0xFE, 0x10B),  # subfile type, size, depth, compression, photometric, fill order
        *(0x111, 0x112, 0x115, 0x116, 0x117, 0x118, 0x119, 0x11A, 0x11B, 0x11C),  # strips, resolution
        *range(0x11D, 0x12A),  # page name and position, fax options, resolution unit, page number
        *(0x12D, 0x13D, 0x13E, 0x13F, *range(0x140, 0x146)),  # transfer, predictor, palette, tiles
        *(0x14A, 0x14C, *range(0x150, 0x15C), *range(0x200, 0x215)),  # sub-files, inks, samples, JPEG
        *(0x2BC, IPTC, 0x8649, 0x8773, 0x935C, 0xC612),  # XMP, IPTC, Photoshop, ICC, layers, DNG
        *(_EXIF_IFD, _GPS_IFD, _INTEROP_IFD),
    )
)


class BadExifError(Exception):
    """The EXIF block is not a readable TIFF structure."""


@dataclass(frozen=True)
class Form:
    """How a TIFF structure writes its numbers: byte order (``"<"`` or ``">"``), and whether it is BigTIFF."""

    order: str
    big: bool = False

    @property
    def word(self) -> str:
        """The struct letter of an offset."""
        return "Q" if self.big else "I"

    @property
    def width(self) -> int:
        """The bytes of an offset, which are also those of a value that stands in the list itself."""
        return 8 if self.big else 4

    def offset(self, data: Content, at: int) -> int:
        """The offset that stands at `at`."""
        return struct.unpack(self.order + self.word, data[at : at + self.width])[0]

    def first(self, data: Content) -> int:
        """Where the first list is."""
        return self.offset(data, 8 if self.big else 4)


def form_of(data: Content) -> Form | None:
    """What the first bytes say; None if they are not those of a TIFF structure, or nothing follows them."""
    forms = {b"II*\0": Form("<"), b"MM\0*": Form(">"), b"II+\0": Form("<", True), b"MM\0+": Form(">", True)}
    form = forms.get(data[:4])
    return form if form is not None and len(data) >= (16 if form.big else 8) else None


@dataclass(frozen=True)
class Entry:
    """One tag: TIFF's number of its type, how many values, and their bytes."""

    tag: int
    kind: int
    count: int
    value: bytes

    def integers(self, form: Form) -> tuple[int, ...]:
        """The values, if they are whole numbers without a sign; else one zero."""
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        if letter is None:
            return (0,)
        return struct.unpack(f"{form.order}{self.count}{letter}", self.value)

    def integer(self, form: Form) -> int:
        """The first of them."""
        return (*self.integers(form), 0)[0]


def place_of(data: Content, at: int, form: Form, tag: int) -> tuple[int, int] | None:
    """Where in an IFD a tag's entry stands, and the bytes of its values; None without it.

    `unpack_ifd` has to have found the list whole.
    """
    head, one = (8, 20) if form.big else (2, 12)
    (count,) = struct.unpack(form.order + ("Q" if form.big else "H"), data[at : at + head])
    for place in range(at + head, at + head + one * count, one):
        found, kind, number = struct.unpack(
            form.order + "HH" + form.word, data[place : place + 4 + form.width]
        )
        if found == tag:
            return place, _SIZES.get(kind, 0) * number
    return None


def unpack_ifd(
    data: Content, at: int, form: Form, *, skip: Container[int] = frozenset()
) -> tuple[list[Entry], int]:
    """One IFD and the place of the next; entries of unknown type or outside the data are left out.

    Tags in `skip` are left out unread: layers of Photoshop can be larger than the picture.
    """
    order, width = form.order, form.width
    head, one = (8, 20) if form.big else (2, 12)
    if at < 8 or at + head > len(data):
        raise BadExifError("a tag list lies outside of it")
    (count,) = struct.unpack(order + ("Q" if form.big else "H"), data[at : at + head])
    end = at + head + one * count
    if count > _MOST_ENTRIES or end > len(data):
        raise BadExifError("a tag list is cut short")
    table = data[at + head : end]
    entries, total = list[Entry](), 0
    for place in range(0, len(table), one):
        tag, kind, number = struct.unpack_from(order + "HH" + form.word, table, place)
        size = _SIZES.get(kind, 0) * number
        inside = at + head + place + 4 + width
        start = inside if size <= width else form.offset(data, inside)
        if kind in _SIZES and start + size <= len(data) and tag not in skip:
            total += size
            if total > _MOST_BYTES:
                raise BadExifError("a tag list is too large")
            entries.append(Entry(tag, kind, number, data[start : start + size]))
    following = form.offset(data, end) if end + width <= len(data) else 0
    return entries, following


def _swap(entry: Entry) -> Entry:
    word = _WORDS.get(entry.kind, 1)
    turned = np.frombuffer(entry.value, np.uint8).reshape(-1, word)[:, ::-1].tobytes()
    return replace(entry, value=turned)


def _pack_ifd(entries: Sequence[Entry], at: int, form: Form) -> bytes:
    """One IFD (no next) as it stands at offset `at`, its long values right behind it."""
    entries = sorted(entries, key=lambda entry: entry.tag)
    order, width = form.order, form.width
    table, heap = [struct.pack(order + ("Q" if form.big else "H"), len(entries))], bytearray()
    base = at + len(table[0]) + (20 if form.big else 12) * len(entries) + width
    for entry in entries:
        table.append(struct.pack(order + "HH" + form.word, entry.tag, entry.kind, entry.count))
        if len(entry.value) <= width:
            table.append(entry.value.ljust(width, b"\0"))
        else:
            table.append(struct.pack(order + form.word, base + len(heap)))
            heap += entry.value + b"\0" * (len(entry.value) & 1)
    return b"".join(table) + bytes(width) + bytes(heap)


def _narrow(entry: Entry, form: Form) -> Entry | None:
    """The entry with numbers of 4 bytes for those of 8, which EXIF does not know; None if they do not fit."""
    if entry.kind not in (16, 17, 18):
        return entry
    kind, wide, narrow = (9, "q", "i") if entry.kind == 17 else (4, "Q", "I")
    values = struct.unpack(f"{form.order}{entry.count}{wide}", entry.value)
    try:
        return replace(entry, kind=kind, value=struct.pack(f"{form.order}{entry.count}{narrow}", *values))
    except struct.error:
        return None


def _exif_lists(block: Content) -> tuple[Form, dict[int, list[Entry]]]:
    """How it writes numbers, and the tag lists by pointer tag (0 is the main list). No thumbnail list."""
    form = form_of(block)
    if form is None:
        raise BadExifError("it does not start like EXIF")
    pointers = {_EXIF_IFD, _GPS_IFD, _INTEROP_IFD}
    main, _ = unpack_ifd(block, form.first(block), form, skip=LAYOUT_TAGS - pointers)
    lists = {0: main}
    for parent, pointer in ((0, _EXIF_IFD), (0, _GPS_IFD), (_EXIF_IFD, _INTEROP_IFD)):
        for entry in lists.get(parent, []):
            if entry.tag == pointer:
                # A broken sub-list must not cost the camera and the date of the main one.
                with contextlib.suppress(BadExifError):
                    lists[pointer] = unpack_ifd(block, entry.integer(form), form)[0]
    for key, entries in lists.items():
        narrow = [_narrow(entry, form) for entry in entries if entry.tag not in pointers]
        lists[key] = [entry for entry in narrow if entry is not None]
    return form, lists


def _lay_out(lists: dict[int, list[Entry]], at: int, form: Form) -> bytes:
    """All tag lists, the main one at offset `at`, with the pointers between them filled in."""

    def pointer(tag: int, where: int) -> Entry:
        return Entry(tag, 18 if form.big else 4, 1, struct.pack(form.order + form.word, where))

    children = {0: [_EXIF_IFD, _GPS_IFD], _EXIF_IFD: [_INTEROP_IFD], _GPS_IFD: [], _INTEROP_IFD: []}
    present = [key for key in (0, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD) if key == 0 or lists.get(key)]
    places = dict.fromkeys(present, 0)
    packed = dict[int, bytes]()
    for _ in range(2):  # first to learn the lengths, then with the right places
        where = at
        for key in present:
            links = [pointer(tag, places[tag]) for tag in children[key] if tag in places]
            places[key], packed[key] = where, _pack_ifd([*lists[key], *links], where, form)
            where += len(packed[key])
    return b"".join(packed[key] for key in present)


def clean_exif(block: Content, *, keep_gps: bool) -> bytes | None:
    """An EXIF block without thumbnail and layout tags, orientation 1, and GPS only if kept.

    Args:
        block: EXIF, or a whole TIFF or BigTIFF.
        keep_gps: Keep the place where the picture was taken.

    Raises:
        BadExifError: It is not readable.
    """
    form, lists = _exif_lists(block)
    if not keep_gps:
        lists.pop(_GPS_IFD, None)
    if _INTEROP_IFD in lists and not lists.get(_EXIF_IFD):
        del lists[_INTEROP_IFD]
    if not any(lists.values()):
        return None
    start = b"II*\0\x08\0\0\0" if form.order == "<" else b"MM\0*\0\0\0\x08"
    lists[0] = [*lists[0], Entry(_ORIENTATION, 3, 1, struct.pack(form.order + "H", 1))]
    return start + _lay_out(lists, 8, Form(form.order))


class _AllBut:
    """Every tag but one: to look a single one up in a file whose others may be large."""

    def __init__(self, tag: int) -> None:
        self._tag = tag

    def __contains__(self, tag: object) -> bool:
        return tag != self._tag


def bad_orientation(block: Content) -> str | None:
    """What stands where EXIF says how the picture was held, if that is none of the numbers 1 to 8."""
    form = form_of(block)
    if form is None:
        return None
    with contextlib.suppress(BadExifError):
        entries, _ = unpack_ifd(block, form.first(block), form, skip=_AllBut(_ORIENTATION))
        for entry in entries:
            if entry.kind != 3 or entry.count < 1:
                return f"of type {entry.kind}"
            if not 1 <= entry.integer(form) <= 8:
                return str(entry.integer(form))
    return None


@dataclass(frozen=True)
class Patch:
    """What turns an encoded TIFF into one with more tags: `pointer` written at `at`, `tail` at `end`."""

    at: int
    pointer: bytes
    end: int
    tail: bytes


def tags_for_tiff(tiff: Content, exif: bytes | None, iptc: bytes | None) -> Patch:
    """A new main tag list, with EXIF and IPTC, for the end of an encoded TIFF, and the pointer to it."""
    form = form_of(tiff)
    if form is None:
        raise BadExifError("the encoded picture is no TIFF")
    layout, _ = unpack_ifd(tiff, form.first(tiff), form)
    own, lists = _exif_lists(exif) if exif is not None else (form, {0: list[Entry]()})
    if own.order != form.order:
        lists = {key: [_swap(entry) for entry in entries] for key, entries in lists.items()}
    if iptc is not None:
        lists[0].append(Entry(IPTC, 7, len(iptc), iptc))
    taken = {entry.tag for entry in layout}
    lists[0] = [*layout, *(entry for entry in lists[0] if entry.tag not in taken)]
    pad = len(tiff) & 1
    end = len(tiff) + pad
    return Patch(
        at=8 if form.big else 4,
        pointer=struct.pack(form.order + form.word, end),
        end=len(tiff),
        tail=bytes(pad) + _lay_out(lists, end, form),
    )
