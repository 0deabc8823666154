"""`anyrestore batch`: everything below a place, once, whatever happens on the way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from anyrestore import image
from anyrestore.batch.settings import Settings
from anyrestore.image import Picture

NAMES = ["a.png", "b/c.png", "b/d/e.png", "b/d/f.png", "g.png"]


@pytest.fixture
def pictures(tmp_path: Path, dark: np.ndarray) -> Path:
    """A folder in/ with NAMES, each of its own size."""
    for i, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.write(Picture(pixels=dark[: 10 + i]), path)
    return tmp_path / "in"


@pytest.fixture
def bucket(pictures: Path) -> Iterator[str]:
    """The same pictures in fsspec's object store in memory."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    for name in NAMES:
        filesystem.pipe_file(f"/bucket/in/{name}", (pictures / name).read_bytes())
    yield "memory://bucket"
    filesystem.store.clear()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".anyrestore")
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tree_is_restored_and_a_second_run_finds_it_done(
    command: Any, pictures: Path, tmp_path: Path, dark: np.ndarray
) -> None:
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    done = command("batch", pictures, out, "--report", report)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == len(NAMES)
    assert list(contents(out)) == NAMES
    assert np.array_equal(image.read(out / "b/c.png").pixels, dark[:11] * 2)
    first = {row["name"]: row for row in lines(report)}
    assert list(first) == NAMES
    assert first["a.png"]["status"] == "done"
    assert (first["a.png"]["width"], first["a.png"]["height"]) == (37, 10)

    before = {name: (out / name).stat().st_mtime_ns for name in NAMES}
    (out / "g.png").unlink()
    done = command("batch", pictures, out, "--report", report)
    assert done.code == 0
    again = {row["name"]: row for row in lines(report)}
    assert [name for name in NAMES if again[name]["status"] == "done"] == ["g.png"]
    assert all(again[name]["sha256"] == first[name]["sha256"] for name in NAMES)
    assert all((out / name).stat().st_mtime_ns == before[name] for name in NAMES[:-1])


def test_a_changed_picture_is_done_again(command: Any, pictures: Path, tmp_path: Path) -> None:
    command("batch", pictures, tmp_path / "out")
    image.write(Picture(pixels=np.zeros((5, 5, 3), np.uint8)), pictures / "a.png", overwrite=True)
    assert command("batch", pictures, tmp_path / "out").out.startswith("a.png -> ")
    assert image.read(tmp_path / "out" / "a.png").pixels.shape == (5, 5, 3)


def test_shards_do_every_picture_once(command: Any, pictures: Path, tmp_path: Path) -> None:
    command("batch", pictures, tmp_path / "whole")
    for i in (1, 2, 3):
        done = command(
            "batch", pictures, tmp_path / "out", "--shard", f"{i}/3", "--report", tmp_path / "r.jsonl"
        )
        assert (done.code, done.err) == (0, "")
    parts = [lines(tmp_path / f"r-{i}-of-3.jsonl") for i in (1, 2, 3)]
    assert sorted(row["name"] for part in parts for row in part) == NAMES
    assert {row["status"] for part in parts for row in part} == {"done"}
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    done = command("batch", pictures, tmp_path / "out", "--report", tmp_path / "all.jsonl")
    assert (done.code, done.out) == (0, "")
    assert {row["status"] for row in lines(tmp_path / "all.jsonl")} == {"skipped"}


def test_a_bad_picture_does_not_stop_the_rest(command: Any, pictures: Path, tmp_path: Path) -> None:
    (pictures / "b" / "c.png").write_text("no picture")
    done = command("batch", pictures, tmp_path / "out", "--report", tmp_path / "r.jsonl")
    assert done.code == 1
    assert "b/c.png" in done.err
    rows = {row["name"]: row for row in lines(tmp_path / "r.jsonl")}
    assert (rows["b/c.png"]["code"], rows["b/c.png"]["output"]) == ("not_an_image", None)
    assert sorted(contents(tmp_path / "out")) == sorted({*NAMES} - {"b/c.png"})


def test_object_stores_give_what_folders_give(
    command: Any, pictures: Path, bucket: str, tmp_path: Path
) -> None:
    command("batch", pictures, tmp_path / "whole")
    done = command("batch", f"{bucket}/in", f"{bucket}/in/out", "--report", tmp_path / "r.jsonl")
    assert (done.code, done.err) == (0, "")
    done = command("batch", f"{bucket}/in", tmp_path / "local")
    assert (done.code, done.err) == (0, "")
    filesystem = fsspec.filesystem("memory")
    whole = contents(tmp_path / "whole")
    assert {name: filesystem.cat_file(f"/bucket/in/out/{name}") for name in NAMES} == whole
    assert {name: contents(tmp_path / "local")[f"{name}"] for name in NAMES} == whole
    # Results that lie below the source are not taken for pictures; what is done stays.
    done = command("batch", f"{bucket}/in", f"{bucket}/in/out", "--report", tmp_path / "r.jsonl")
    assert (done.code, done.out) == (0, "")
    assert [row["status"] for row in lines(tmp_path / "r.jsonl")] == ["skipped"] * len(NAMES)


def test_a_put_that_fails_leaves_nothing_under_the_name(
    command: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem = fsspec.filesystem("memory")
    put = type(filesystem).pipe_file

    def refuse(self: Any, path: str, *rest: Any, **options: Any) -> Any:
        if path.endswith("c.png"):
            raise PermissionError("not here")
        return put(self, path, *rest, **options)

    monkeypatch.setattr(type(filesystem), "pipe_file", refuse)
    done = command("batch", f"{bucket}/in", f"{bucket}/out")
    assert done.code == 4
    assert "could not be written: not here" in done.err
    stored = [path.removeprefix("/bucket/out/") for path in filesystem.find("/bucket/out")]
    assert sorted(name for name in stored if name.endswith(".png")) == sorted({*NAMES} - {"b/c.png"})
    monkeypatch.undo()


def test_a_key_that_leads_out_is_refused(
    command: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem = fsspec.filesystem("memory")
    evil = {"/bucket/in/../../../evil.png": {"size": 3}, "/bucket/in/a.png": {"size": 9}}
    monkeypatch.setattr(type(filesystem), "find", lambda *_, **__: evil)
    done = command("batch", f"{bucket}/in", tmp_path / "x" / "y" / "out")
    assert done.code == 1
    assert "leads out of its folder" in done.err
    assert [path.name for path in tmp_path.rglob("*.png") if "in" not in path.parts] == ["a.png"]


def test_other_settings_and_other_files_are_not_replaced_unasked(
    command: Any, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"mine")
    done = command("batch", pictures, out)
    assert (done.code, contents(out)) == (4, {"a.png": b"mine"})
    assert "no batch made" in done.err
    assert command("batch", pictures, out, "--overwrite").code == 0
    before = contents(out)
    done = command("batch", pictures, out, "--tile", "16")
    assert (done.code, done.out) == (2, "")
    assert "tile 'auto' (now 16)" in done.err
    assert contents(out) == before
    assert command("batch", pictures, out, "--tile", "16", "--overwrite").out.count("\n") == len(NAMES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["in", "in"], "among the pictures"),
        (["empty", "out"], "no pictures below"),
        (["in", "out", "--shard", "4/3"], "i/n"),
        (["in", "out", "--workers", "2"], "--engine ray"),
        (["in", "out", "--model", "none-such"], "expected a model among"),
        (["in", "ftp://host/out"], "in one step"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    command: Any, pictures: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    places = [one if "://" in one else str(tmp_path / one) for one in arguments[:2]]
    done = command("batch", *places, *arguments[2:])
    assert done.code == 2
    assert sentence in done.err
    assert not (tmp_path / "out").exists()


def test_a_report_does_not_replace_a_picture(command: Any, pictures: Path, tmp_path: Path) -> None:
    before = contents(pictures)
    done = command("batch", pictures, tmp_path / "out", "--report", pictures / "a.png")
    assert (done.code, done.out) == (2, "")
    assert "named like a picture" in done.err
    assert contents(pictures) == before


def test_settings_name_the_weights_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    settings = Settings(model=str(path))
    one = settings.that_change_results()
    assert one["model"] == "w.safetensors"
    path.write_bytes(b"two")
    assert settings.that_change_results()["weights"] != one["weights"]
    shipped = Settings(model="cea-t", threads=3, device="cuda").that_change_results()
    assert shipped["weights"] is not None
    assert shipped == Settings(model="cea-t").that_change_results()
