"""Bringing sets into their layout: crops of GoPro, plain addresses, archives that are not to be trusted."""

import io
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anyrestore.data import prepare as module
from anyrestore.data.catalog import CATALOG
from anyrestore.data.prepare import crop_positions, explain, prepare, unpack
from anyrestore.data.readers import read_set
from anyrestore.errors import DataError, UsageError
from anyrestore.image import Picture, read, write
from layouts import make_set


def test_a_frame_gives_eight_crops() -> None:
    assert crop_positions(720) == [0, 208]
    assert crop_positions(1280) == [0, 256, 512, 768]
    assert CATALOG["gopro-crops"].splits["train"].count == 2103 * 2 * 4


def test_gopro_crops(tmp_path: Path) -> None:
    make_set("gopro", tmp_path, count=2, size=(720, 1280))
    done = prepare("gopro-crops", tmp_path)
    assert done is not None
    assert (done.made, done.kept) == (2 * 2 * 8, 0)
    listing = read_set("gopro-crops", tmp_path)
    assert len(listing.pairs) == 16
    assert not listing.missing
    assert {pair.group for pair in listing.pairs} == {"GOPR0372_07_00", "GOPR0374_11_01"}
    # Row by row, numbered from 1: the sixth is the second of the lower row.
    frame = read(tmp_path / "GOPRO_Large/train/GOPR0372_07_00/sharp/000002.png").pixels
    crop = read(tmp_path / "GoPro-crops/target_crops/GOPR0372_07_00-000002-6.png").pixels
    assert (crop == frame[208:720, 256:768]).all()

    # Interrupted and taken up again: what is there stays, what is absent is made.
    gone = tmp_path / "GoPro-crops/input_crops/GOPR0372_07_00-000002-3.png"
    before = gone.read_bytes()
    gone.unlink()
    done = prepare("gopro-crops", tmp_path)
    assert done is not None
    assert (done.made, done.kept) == (1, 31)
    assert gone.read_bytes() == before


def test_frames_that_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="GoPro"):
        prepare("gopro-crops", tmp_path)
    make_set("gopro", tmp_path, count=1, size=(400, 600))
    with pytest.raises(DataError, match="720 x 1280"):
        prepare("gopro-crops", tmp_path)
    sharp = next((tmp_path / "GOPRO_Large/train").glob("*/sharp/*.png"))
    write(Picture(pixels=np.zeros((720, 1280, 3), np.uint8)), sharp, overwrite=True)
    with pytest.raises(DataError, match="differ in size"):
        prepare("gopro-crops", tmp_path)


def test_files_at_plain_addresses(tmp_path: Path) -> None:
    asked = []

    def fetch(url: str, path: Path, *, sha256: str) -> None:
        asked.append((url, sha256))
        path.write_bytes(b"")

    (tmp_path / "CBSD68").mkdir()
    (tmp_path / "CBSD68/0000.png").touch()
    done = prepare("cbsd68", tmp_path, fetch=fetch)
    assert done is not None
    assert (done.made, done.kept, done.folder) == (67, 1, tmp_path / "CBSD68")
    assert len(asked) == 68  # also what is there: its hash is looked at
    assert len(read_set("cbsd68", tmp_path, split="test").pairs) == 68
    assert all(url.startswith("https://raw.githubusercontent.com/") and len(sha) == 64 for url, sha in asked)


def test_the_hashes_are_those_of_the_public_copy(cbsd68_root: Path, tmp_path: Path) -> None:
    from anyrestore.data.download import sha256_of

    def fetch(_url: str, path: Path, *, sha256: str) -> None:
        assert sha256_of(cbsd68_root / "CBSD68" / path.name) == sha256

    prepare("cbsd68", tmp_path, fetch=fetch)


def test_an_archive_at_a_plain_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(CATALOG["kodak24"], download="https://example.invalid/{file}")
    monkeypatch.setitem(CATALOG, "kodak24", entry)
    monkeypatch.setattr(module, "load_hashes", lambda _: {"kodak.zip": "0" * 64})

    def fetch(_url: str, path: Path, *, sha256: str) -> None:
        path.write_bytes(zipped({"kodim01.png": b"1", "more/kodim02.png": b"2"}))

    done = prepare("kodak24", tmp_path, fetch=fetch)
    assert done is not None
    assert (done.folder / "more/kodim02.png").read_bytes() == b"2"

    (done.folder / "more/kodim02.png").unlink()  # unpacked once: what was taken out stays out
    prepare("kodak24", tmp_path, fetch=fetch)
    assert not (done.folder / "more/kodim02.png").exists()


@pytest.mark.parametrize("name", [name for name in CATALOG if name not in ("cbsd68", "gopro-crops")])
def test_every_other_set_is_explained(name: str, tmp_path: Path) -> None:
    assert prepare(name, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    text = "\n".join(explain(CATALOG[name]))
    assert CATALOG[name].page in text
    assert CATALOG[name].how in text
    assert CATALOG[name].splits.keys() <= set(text.split())


def test_an_unknown_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        prepare("nothing", tmp_path)


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return file.getvalue()


def tarred(*members: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


HARMLESS = {
    "zip": zipped({"set/": b"", "set/a.png": b"x", "b.png": b"x"}),
    "tar": tarred(member("set", tarfile.DIRTYPE), member("./set/a.png"), member("b.png")),
}
HARMFUL = {
    "up": zipped({"a.png": b"x", "../b.png": b"x"}),
    "up inside": zipped({"set/../../b.png": b"x"}),
    "absolute": zipped({"/b.png": b"x"}),
    "Windows": zipped({"..\\b.png": b"x"}),
    "drive": zipped({"C:\\b.png": b"x"}),
    "link": zipped({"b.png": b"/etc/hostname"}, stat.S_IFLNK | 0o777),
    "tar up": tarred(member("a.png"), member("../b.png")),
    "tar absolute": tarred(member("/b.png")),
    "tar symbolic link": tarred(member("b.png", tarfile.SYMTYPE, "/etc/hostname")),
    "tar hard link": tarred(member("a.png"), member("b.png", tarfile.LNKTYPE, "a.png")),
    "tar device": tarred(member("b.png", tarfile.CHRTYPE)),
    "tar pipe": tarred(member("b.png", tarfile.FIFOTYPE)),
    "file as folder": zipped({"a": b"x", "a/b.png": b"x"}),
    "cut": HARMLESS["tar"][:60],
    "nothing": b"no archive",
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_archives_are_unpacked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "archive").write_bytes(HARMLESS[kind])
    assert unpack(tmp_path / "archive", tmp_path / "out") == 2
    found = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    assert found == ["b.png", "set/a.png"]


@pytest.mark.parametrize("kind", HARMFUL)
def test_archives_that_lead_elsewhere_are_refused_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "archive").write_bytes(HARMFUL[kind])
    with pytest.raises(DataError):
        unpack(tmp_path / "archive", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "out"]
