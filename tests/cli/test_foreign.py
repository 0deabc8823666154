"""`anyrestore restore --weights FILE` with files that anyrestore did not write."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore import Restorer, image
from anyrestore.cli.main import main
from anyrestore.image import Picture
from anyrestore.zoo import foreign
from public_weights import lightning, public_state

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        assert "Warning" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """8 bit, with alpha, of an odd size."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (37, 53, 3), np.uint8)
    image.write(Picture(pixels=pixels, alpha=draw.integers(1, 256, (37, 53), np.uint8)), tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    """The weights of a small DnCNN."""
    if not foreign.is_installed():
        pytest.skip('the extra "foreign" (spandrel) is not installed')
    foreign._spandrel(Path("none"))
    dncnn = importlib.import_module("spandrel.architectures.DnCNN").DnCNN
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = dncnn(in_nc=3, out_nc=3, nc=8, nb=9, act_mode="R")
    torch.save(net.state_dict(), tmp_path / "dncnn.pth")
    return tmp_path / "dncnn.pth"


@pytest.mark.parametrize("option", ["--weights", "--model"])
def test_a_public_checkpoint_of_ours_is_run_by_our_network(option: str, run: Run, picture: Path) -> None:
    model, state = public_state()
    weights = picture.parent / "public.ckpt"
    torch.save(lightning(state), weights)
    out = picture.parent / "b.png"
    code, _, err = run("restore", picture, "-o", out, option, weights, "--device", "cpu")
    assert code == 0
    assert err == "anyrestore: MoCE weights, run by anyrestore's own network; licence as they came\n"
    before, after = image.read(picture), image.read(out)
    assert np.array_equal(after.pixels, Restorer(model, device="cpu")(before).pixels)
    assert np.array_equal(after.alpha, before.alpha)


def test_other_weights_and_no_spandrel_is_one_sentence(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "is_installed", lambda: False)
    torch.save({"m_head.0.weight": torch.ones(1)}, picture.parent / "w.pth")
    code, out, err = run("restore", picture, "--weights", picture.parent / "w.pth")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert 'pip install "anyrestore[foreign]"' in err
    assert sorted(p.name for p in picture.parent.iterdir()) == ["a.png", "w.pth"]


@pytest.mark.parametrize("tile", ["off", "auto", "24"])
def test_a_network_of_spandrels_restores_a_picture(
    tile: str, run: Run, picture: Path, denoiser: Path
) -> None:
    out = picture.parent / "b.png"
    code, said, err = run(
        "restore", picture, "-o", out, "--weights", denoiser, "--tile", tile, "--device", "cpu"
    )
    assert code == 0
    assert "53x37" in said
    assert err == "anyrestore: DnCNN weights, licence of its code: MIT (the weights may have another)\n"
    before, after = image.read(picture), image.read(out)
    model = foreign.load_public(denoiser)
    expected = image.from_tensor(model(image.to_tensor(before.pixels)), like=before.pixels)
    difference = np.abs(after.pixels.astype(int) - expected.astype(int))
    assert difference.max() <= (0 if tile != "24" else 255)
    assert difference[:4, :4].max() <= 1  # deep inside a tile's own part, tiles change nothing
    assert not np.array_equal(after.pixels, before.pixels)
    assert np.array_equal(after.alpha, before.alpha)


def test_weights_of_another_network_than_the_named_model_are_refused(
    run: Run, picture: Path, denoiser: Path
) -> None:
    code, _, err = run("restore", picture, "--model", "cea-t", "--weights", denoiser)
    assert code == 2
    assert "--weights: expected those of cea" in err


def test_convert_says_that_restore_would_take_them(run: Run, tmp_path: Path, denoiser: Path) -> None:
    code, _, err = run("convert", denoiser, "-o", tmp_path / "w.safetensors")
    assert code == 2
    assert "came tensors: 18" in err
    assert f"they are of DnCNN and need no conversion: use anyrestore restore --weights {denoiser}" in err
    assert not (tmp_path / "w.safetensors").exists()
