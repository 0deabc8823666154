"""`anyrestore gallery`: the command, from photographs to pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anyrestore import image, zoo
from anyrestore.image import Picture
from pictures import ramp
from tiny_models import make, moved


def test_photographs_become_pages(command: Any, tmp_path: Path) -> None:
    image.write(Picture(pixels=ramp(height=60, width=80)), tmp_path / "my photo.png")
    zoo.save_weights(moved(make("tiny")), tmp_path / "mine.safetensors", dtype=torch.float32)
    arguments = ["gallery", tmp_path / "my photo.png", "--recipe", "noise:0.5", "--recipe", "", "--seed", "3"]
    arguments += ["--model", tmp_path / "mine.safetensors", "-o", tmp_path / "out"]
    done = command(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "2 photographs" in done.out
    names = [f"{number}-my-photo-{what}" for number, what in enumerate(("noise-0-5", "clean"), start=1)]
    versions = ("input", "mine", "original")
    assert sorted(path.name for path in (tmp_path / "out/images/gallery").iterdir()) == sorted(
        f"{name}-{version}.jpg" for name in names for version in versions
    )
    pages = [(tmp_path / "out" / name).read_bytes() for name in ("gallery.md", "gallery-compare.html")]
    assert b"--recipe noise:0.5 --recipe '' --seed 3" in pages[0]
    assert command(*arguments).code == 0  # the same again, over it
    assert [
        (tmp_path / "out" / name).read_bytes() for name in ("gallery.md", "gallery-compare.html")
    ] == pages


def test_what_does_not_fit_is_told(command: Any, tmp_path: Path) -> None:
    for arguments, words in (
        (["docs/gallery.toml", "--seed", "3"], "expected one list, alone"),
        (["a.png", "--model", "cea-t", "--model", "x/cea-t.safetensors"], "of different names"),
        (["a.png", "--recipe", "fog:1"], "fog"),
        (["a.png", "--model", "tiny"], "a.png"),
        (["none.toml"], "in TOML, but No such file or directory; see"),
    ):
        done = command("gallery", *arguments, "-o", tmp_path / "out")
        assert done.code in (2, 3)
        assert words in done.err
