"""Folders and object stores: what is found, what is safe, what is left behind. Manifests survive any cut."""

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from anyrestore import image
from anyrestore.batch import stores
from anyrestore.batch.records import Records
from anyrestore.batch.sharding import Shard
from anyrestore.batch.stores import Folder, Stamp, Stored, open_store
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.image import Picture
from anyrestore.storage import storing

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
SETTINGS = {"model": "tiny", "tile": "auto"}
STORED = Stored(3, "abc")


@pytest.fixture
def bucket() -> Iterator[str]:
    """An empty place of fsspec's object store in memory."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield "memory://bucket/deep"
    filesystem.store.clear()


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> stores.Store:
    """An empty store of either kind."""
    return open_store(str(tmp_path / "place") if request.param == "folder" else bucket)


def fill(store: stores.Store, tmp_path: Path, names: list[str]) -> None:
    """Put bytes under names, by the store itself."""
    for name in names:
        path = store.path_for(name, tmp_path / "spare.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"xyz")
        store.put(name, path)


def test_pictures_are_found_by_their_names_below_the_place(store: stores.Store, tmp_path: Path) -> None:
    assert store.listing() == {}
    assert list(store.manifests()) == []
    names = ["a.png", "b/c.JPG", "b/d/e.tiff", "b/._c.JPG", "notes.txt", ".a.png.0123456789ab.tmp"]
    fill(store, tmp_path, names)
    found = store.listing()
    assert list(found) == names[:3]
    assert {stamp.size for stamp in found.values()} == {3}
    assert store.address("b/c.JPG") == f"{store.place}/b/c.JPG"
    assert store.fetch("a.png", tmp_path / "copy" / "a.png").read_bytes() == b"xyz"


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    image.write(Picture(pixels=PIXELS), tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert list(Folder(str(tmp_path)).listing()) == ["a.png"]


def test_a_url_of_files_is_a_folder(tmp_path: Path) -> None:
    found = open_store(f"file://{tmp_path}/x y")
    assert isinstance(found, Folder)
    assert found.root == tmp_path / "x y"


def test_only_what_stores_in_one_step_is_a_target() -> None:
    for place in ("memory://a", "s3://bucket/a", "file:///a", "/a", "a b"):
        stores.check_target(place)
    with pytest.raises(UsageError, match="in one step, which ftp does not"):
        stores.check_target("ftp://host/a")


def test_places_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not a place that fsspec knows"):
        open_store("nowhere://a")

    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"anyrestore\[scale\]") as caught:
        open_store("s3://bucket")
    assert caught.value.code == "no_store"


@pytest.mark.parametrize(
    ("source", "target", "apart", "prefix"),
    [
        ("/a", "/b", True, None),
        ("/a", "/ab", True, None),
        ("/a", "/a", False, None),
        ("/a/b", "/a", False, None),
        ("/a", "/a/out", True, "out/"),
        ("/", "/out", True, "out/"),
        ("memory://a", "memory://a/b/", True, "b/"),
        ("memory://a/b", "memory://a", False, None),
        ("memory://a", "/a", True, None),
    ],
)
def test_results_and_pictures_do_not_meet(source: str, target: str, apart: bool, prefix: str | None) -> None:
    before, after = open_store(source), open_store(target)
    if not apart:
        with pytest.raises(UsageError, match="among the pictures"):
            stores.check_apart(before, after)
        return
    stores.check_apart(before, after)
    assert stores.inside(after, before) == prefix


def test_a_name_that_leads_out_is_not_safe() -> None:
    assert all(stores.is_safe(name) for name in ("a.png", "a/b.png", "..a.png", "a..b/c.png", "-rf.png"))
    assert not any(stores.is_safe(n) for n in ("../a.png", "a/../../b.png", "/a.png", "a//b.png", "./a.png"))


def test_errors_of_a_store_have_a_code(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bucket)
    (tmp_path / "x").write_bytes(b"xyz")
    with pytest.raises(InputError, match="not there any more") as caught:
        store.fetch("gone.png", tmp_path / "spare.png")
    assert caught.value.code == "not_found"

    def refuse(*_: object, **__: object) -> None:
        raise KeyError("a library's own")

    for method in ("pipe_file", "find", "get_file", "ls"):
        monkeypatch.setattr(fsspec.filesystem("memory"), method, refuse)
    with pytest.raises(OutputError, match="could not be written"):
        store.put("a.png", tmp_path / "x")
    with pytest.raises(InputError, match="cannot be read"):
        store.fetch("a.png", tmp_path / "spare.png")
    with pytest.raises(InputError, match="cannot be listed"):
        store.listing()
    with pytest.raises(InputError, match="cannot be read"):
        list(store.manifests())


def records(
    store: stores.Store, names: dict[str, Stamp], *, overwrite: bool = False, **changes: str
) -> Records:
    return Records(store, Shard(), SETTINGS | changes, names, overwrite=overwrite)


def test_what_is_recorded_and_there_is_done(store: stores.Store, tmp_path: Path) -> None:
    names = {name: Stamp(10, 1) for name in ("a.png", "b/c.png", "d.png", "e.png")}
    first = records(store, names)
    assert first.done == {}
    fill(store, tmp_path, ["a.png", "b/c.png", "e.png"])
    for name in ("a.png", "d.png"):  # b/c.png was stored and not recorded, d.png was recorded and is gone
        first.add(name, STORED)
    first.add("e.png", Stored(4, "another size"))
    first.close()
    again = records(store, {**names, "new.png": Stamp(1)})
    assert again.done == {"a.png": STORED}
    again.close()
    changed = records(store, {**names, "a.png": Stamp(10, 2)})
    assert changed.done == {}
    changed.close()


def test_shards_see_what_others_have_done(store: stores.Store, tmp_path: Path) -> None:
    names = {f"{i}.png": Stamp(10) for i in range(20)}
    for index in (1, 2):
        shard = Shard(index, 2)
        mine = {name: stamp for name, stamp in names.items() if shard.holds(name)}
        part = Records(store, shard, SETTINGS, mine, overwrite=False)
        fill(store, tmp_path, list(mine))
        for name in mine:
            part.add(name, STORED)
        part.close()
    assert len(list(store.manifests())) == 2
    whole = records(store, names)
    assert whole.done.keys() == names.keys()
    whole.close()


def test_other_settings_are_refused_or_replaced(store: stores.Store, tmp_path: Path) -> None:
    names = {"a.png": Stamp(10)}
    first = records(store, names)
    fill(store, tmp_path, ["a.png"])
    first.add("a.png", STORED)
    first.close()
    with pytest.raises(UsageError, match=r"model 'tiny' \(now 'other'\).*--overwrite") as caught:
        records(store, names, model="other")
    assert caught.value.code == "settings_differ"
    second = records(store, names, model="other", overwrite=True)
    assert second.done == {}
    second.add("a.png", STORED)
    second.close()
    third = records(store, names, model="other")
    assert third.done == {"a.png": STORED}
    third.close()


@pytest.mark.reliability("B10")
def test_replaced_results_of_other_shards_are_forgotten(store: stores.Store, tmp_path: Path) -> None:
    names = {f"{i}.png": Stamp(10) for i in range(6)}
    fill(store, tmp_path, list(names))
    for i in (1, 2):
        shard = Shard(i, 2)
        mine = {name: stamp for name, stamp in names.items() if shard.holds(name)}
        part = Records(store, shard, SETTINGS, mine, overwrite=True)
        for name in mine:
            part.add(name, STORED)
        part.close()
    other = records(store, names, model="other", overwrite=True)
    assert other.done == {}
    for name in names:
        other.add(name, STORED)  # of the same size as before: by their sizes they cannot be told apart
    other.close()
    for shard in (Shard(), Shard(1, 2)):
        with pytest.raises(UsageError) as caught:
            Records(store, shard, SETTINGS, names, overwrite=False)
        assert caught.value.code == "settings_differ"
    back = records(store, names, overwrite=True)
    assert back.done == {}
    back.add("0.png", STORED)
    back.close()
    again = records(store, names)
    assert again.done == {"0.png": STORED}
    again.close()


def test_a_run_that_stored_nothing_settles_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = Records(store, Shard(1, 2), SETTINGS, {}, overwrite=False)
    with pytest.raises(UsageError) as caught:  # it may store something yet
        records(store, {}, model="other")
    assert caught.value.code == "settings_differ"
    first.close()
    records(store, {}, model="other").close()
    Records(store, Shard(1, 2), SETTINGS | {"model": "third"}, {}, overwrite=False).close()


def test_a_manifest_without_a_header_is_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    fill(store, tmp_path, ["a.png"])
    (tmp_path / ".anyrestore.jsonl").touch()  # killed between making it and its first line
    for _ in range(2):
        with pytest.raises(OutputError) as caught:
            records(store, {"a.png": Stamp(10)})
        assert caught.value.code == "output_exists"


def test_a_manifest_of_a_newer_version_is_refused(store: stores.Store, tmp_path: Path) -> None:
    store.write_manifest(".anyrestore-1-of-2.jsonl", b'{"anyrestore": 2, "settings": {}}\n')
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="newer anyrestore") as caught:
            records(store, {}, overwrite=overwrite)
        assert caught.value.code == "newer_format"


def test_files_that_no_batch_made_stay(store: stores.Store, tmp_path: Path) -> None:
    fill(store, tmp_path, ["a.png"])
    with pytest.raises(OutputError, match="no batch made") as caught:
        records(store, {"a.png": Stamp(10)})
    assert caught.value.code == "output_exists"
    records(store, {"a.png": Stamp(10)}, overwrite=True).close()
    records(store, {"other.png": Stamp(10)}).close()


def test_one_process_for_a_shard_at_a_time(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = records(store, {})
    with pytest.raises(UsageError, match="another process") as caught:
        records(store, {})
    assert caught.value.code == "folder_in_use"
    Records(store, Shard(1, 2), SETTINGS, {}, overwrite=False).close()
    first.close()
    records(store, {}).close()


@pytest.mark.reliability("B11")
def test_a_manifest_cut_at_every_byte_still_counts_for_what_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for speed; no power is cut here
    store = open_store(str(tmp_path / "place"))
    names = {f"{i}.png": Stamp(10) for i in range(3)}
    first = records(store, names)
    fill(store, tmp_path, list(names))
    for name in names:
        first.add(name, STORED)
    first.close()
    path = tmp_path / "place" / ".anyrestore.jsonl"
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        if cut < header:  # nothing says any more whose files there are
            with pytest.raises(OutputError, match="--overwrite"):
                records(store, names)
        again = records(store, names, overwrite=cut < header)
        complete = whole[header:cut].split(b"\n")[:-1] if cut >= header else []
        assert list(again.done) == [json.loads(line)["output"] for line in complete]
        for name in names.keys() - again.done.keys():
            again.add(name, STORED)
        again.close()
        last = records(store, names)
        assert last.done.keys() == names.keys()
        last.close()


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "b").mkdir(parents=True)
    long = "ü" * 100 + ".png"
    ours = [place / ".a.png.0123456789ab.tmp", place / "b" / f".{'ü' * 100}.0123456789ab.tmp"]
    others = [place / ".z.png.0123456789ab.tmp", place / ".a.png.tmp", place / "a.png.0123456789ab.tmp"]
    for path in (*ours, *others):
        path.touch()
    with storing(place / "a.png", overwrite=True) as descriptor:  # by another shard, of another number
        os.write(descriptor, b"x")
        Folder(str(place)).sweep(["a.png", f"b/{long}", "not/there.png"])
    assert (place / "a.png").exists()
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)
