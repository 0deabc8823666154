"""Other people's networks: a wrapper that behaves like a model of ours, and what it refuses.

spandrel is an extra: without it, the tests that need it are skipped. The others use a descriptor made here.
"""

from __future__ import annotations

import enum
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anyrestore import Restorer
from anyrestore.errors import ModelError
from anyrestore.inference.memory import choose_tile
from anyrestore.layers.padding import pad_to_multiple
from anyrestore.zoo import create_model, foreign, is_public, load_model, save_weights
from anyrestore.zoo.foreign import LARGE, LICENSES, MARGIN, Foreign, load_public, peak_bytes
from public_weights import lightning, public_state

CPU = torch.device("cpu")


class Tiling(enum.Enum):
    SUPPORTED = 1
    DISCOURAGED = 2
    INTERNAL = 3


@dataclass
class Needs:
    minimum: int = 0
    multiple_of: int = 1
    square: bool = False


@dataclass
class Described:
    """What spandrel calls a descriptor, as far as it is used."""

    model: nn.Module
    input_channels: int = 3
    output_channels: int = 3
    scale: int = 1
    purpose: str = "Restoration"
    size_requirements: Needs = field(default_factory=Needs)
    tiling: Tiling = Tiling.SUPPORTED
    architecture: Any = field(default_factory=lambda: SimpleNamespace(id="SCUNet"))

    def __call__(self, image: Tensor) -> Tensor:
        return self.model(image)

    def to(self, device: str) -> Described:
        self.model.to(device)
        return self


class Halve(nn.Module):
    """Halves its input, in place as some public networks do, by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        return image.mul_(self.weight)


def wrapped(model: nn.Module | None = None, **fields: Any) -> Foreign:
    return Foreign(Described(model or Halve(), **fields), Path("file.pth"))


# The wrapper --------------------------------------------------------------------------------------------


def test_it_is_called_like_a_model_and_leaves_the_picture_alone() -> None:
    picture = torch.rand(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))
    before = picture.clone()
    model = wrapped()
    assert torch.equal(model(picture), before / 2)
    assert torch.equal(picture, before)
    assert torch.equal(Restorer(model, device="cpu", tile="off")(picture), before / 2)
    torch.testing.assert_close(Restorer(model, device="cpu", tile=20)(picture), before / 2)
    assert (model.architecture, model.license, model.training) == ("SCUNet", "Apache-2.0", False)
    assert "SCUNet weights, licence of its code: Apache-2.0" in model.summary
    assert [name for name, _ in model.named_parameters()] == ["network.weight"]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    unknown = wrapped(architecture=SimpleNamespace(id="Newer"))
    assert unknown.license is None
    assert "licence not known" in unknown.summary


def test_a_grey_network_takes_each_colour_alone_and_a_grey_picture_once() -> None:
    seen = list[tuple[int, ...]]()

    class Shift(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(tuple(image.shape))
            return image + 0.25

    model = wrapped(Shift(), input_channels=1, output_channels=1)
    assert model.grey
    assert "each colour" in model.summary
    colour = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    seen.clear()
    assert torch.equal(model(colour), colour + 0.25)
    assert seen == [(1, 1, 20, 30)] * 3
    seen.clear()
    grey = colour[:, :1].expand(1, 3, 20, 30)
    assert torch.equal(model(grey), grey + 0.25)
    assert seen == [(1, 1, 20, 30)]


def test_pictures_below_16_pixels_are_padded_first() -> None:
    class Picky(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            assert min(image.shape[-2:]) >= 16
            return image * 2

    picture = torch.rand(1, 3, 1, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(wrapped(Picky())(picture), picture * 2)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scale": 4, "purpose": "SR"}, "magnifies pictures 4 times"),
        ({"purpose": "SR"}, "magnifies pictures"),
        ({"purpose": "FaceSR"}, "faces"),
        ({"purpose": "Inpainting"}, "masked holes"),
        ({"input_channels": 4, "output_channels": 4}, "takes 4 channels and gives 4"),
        ({"input_channels": 1}, "takes 1 channels and gives 3"),
    ],
)
def test_what_does_not_restore_at_its_own_size_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        wrapped(**fields)
    assert refused.value.code == "not_restoration"
    assert "\n" not in str(refused.value)


def test_a_network_that_fails_or_gives_another_size_is_refused() -> None:
    class Fails(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise KeyError("two\nlines")

    with pytest.raises(ModelError, match="look like those of SCUNet") as refused:
        wrapped(Fails())
    assert refused.value.code == "bad_weights"
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="does not restore at the same size") as refused:
        wrapped(nn.MaxPool2d(2))
    assert refused.value.code == "not_restoration"


# Memory -------------------------------------------------------------------------------------------------


def test_the_peak_is_what_is_held_at_once() -> None:
    held = torch.zeros(1 << 20)

    def run() -> Tensor:
        first = held[:1000] + 1  # 4,000 bytes; `held` was there before
        second = torch.cat([first, first])  # 8,000
        del first
        third = second.view(-1)[:1000] * 2  # a view costs nothing; 4,000, while the first are gone
        return third.add_(1)

    assert peak_bytes(run) == 12_000


def test_memory_is_counted_with_a_margin_and_a_square_need_is_stated_for_large_pictures() -> None:
    class Wide(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.repeat(1, 9, 1, 1)[:, :3] * 1.0  # 27 floats and 3 floats a pixel

    # The probe's own copy of the picture counts too: 3 floats.
    assert wrapped(Wide()).bytes_per_pixel == pytest.approx(MARGIN * 4 * (27 + 3 + 3), rel=0.01)

    class Everywhere(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            pixels = image.shape[-2] * image.shape[-1]
            return image + image.new_empty(pixels, pixels).shape[0] * 0.0

    need = wrapped(Everywhere()).bytes_per_pixel / MARGIN
    pixels = (
        LARGE / need
    )  # of the picture that takes LARGE bytes: 4 n^2, and 12 n or 24 n for what else is held
    assert 4 * pixels**2 + 12 * pixels <= LARGE * 1.001 <= 4 * pixels**2 + 25 * pixels + LARGE * 0.002


def test_a_network_with_tiles_of_its_own_needs_none() -> None:
    model = wrapped(tiling=Tiling.INTERNAL)
    assert choose_tile(20_000, 20_000, model, CPU, budget=1 << 30) is None
    assert wrapped(tiling=Tiling.DISCOURAGED).whole
    assert not wrapped().whole


def test_a_network_of_squares_is_tiled_by_its_longer_side() -> None:
    model = wrapped(size_requirements=Needs(multiple_of=128, square=True))
    assert (model.size_multiple, model.square) == (128, True)
    budget = int(model.bytes_per_pixel * 1000 * 1000)
    assert choose_tile(1000, 100, model, CPU, budget=budget) is None
    assert choose_tile(1100, 100, model, CPU, budget=budget) == 1000
    assert choose_tile(1100, 100, wrapped(), CPU, budget=budget) is None


# Files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_public_weights_of_ours_become_our_network(form: str, tmp_path: Path) -> None:
    model, state = public_state()
    path = tmp_path / f"public.{form}"
    if form == "pth":
        torch.save(lightning(state), path)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    for found in (load_model(path), load_model(str(path)), Restorer(path, device="cpu").model):
        assert type(found) is type(model)
        assert torch.equal(found(x), model(x))


def test_files_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    own, renamed, public = (tmp_path / name for name in ("own.safetensors", "own.pth", "public.safetensors"))
    save_weights(create_model("tiny"), own)
    renamed.write_bytes(own.read_bytes())
    save_file({"a": torch.ones(1)}, public)
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.pth").read_bytes())
    assert [is_public(p) for p in (own, renamed, public)] == [False, False, True]
    assert is_public(tmp_path / "a.pth")
    assert is_public(tmp_path / "b.safetensors")
    assert is_public(tmp_path / "missing.CKPT")
    assert not is_public(tmp_path / "junk.safetensors")
    assert type(load_model(renamed)).__name__ == "CEA"


def test_without_the_extra_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "is_installed", lambda: False)
    torch.save({"m_head.0.weight": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r'pip install "anyrestore\[foreign\]"') as refused:
        load_model(tmp_path / "a.pth")
    assert refused.value.code == "no_spandrel"
    assert "\n" not in str(refused.value)


def test_a_spandrel_that_cannot_be_imported_is_one_sentence_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name} is not\nfor this machine")

    monkeypatch.setattr(foreign, "is_installed", lambda: True)
    monkeypatch.setattr(foreign, "importlib", SimpleNamespace(import_module=broken))
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="spandrel is not for this machine") as refused:
        load_public(tmp_path / "a.pth")
    assert refused.value.code == "no_spandrel"


def test_hostile_damaged_and_missing_files_are_refused_before_spandrel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, ("canary",)

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Attack()}, "hostile.pt")
    Path("damaged.pth").write_bytes(Path("hostile.pt").read_bytes()[:100])
    Path("words.ckpt").write_text("not weights")
    Path("empty.pth").touch()
    Path("folder.pth").mkdir()
    save_file({k: v.int().contiguous() for k, v in public_state()[1].items()}, "integers.safetensors")
    save_file({"a": torch.ones(1000)}, "short.safetensors")
    Path("short.safetensors").write_bytes(Path("short.safetensors").read_bytes()[:-9])
    codes = dict[str, str]()
    wrong = ("hostile.pt", "damaged.pth", "words.ckpt", "empty.pth", "folder.pth", "integers.safetensors")
    for name in (*wrong, "short.safetensors", "missing.pth"):
        with pytest.raises(ModelError, match=name) as refused:
            load_model(name)
        codes[name] = refused.value.code
    assert codes.pop("hostile.pt") == "unsafe_format"
    assert set(codes.values()) == {"bad_weights"}
    assert not Path("canary").exists()


def test_weights_of_8_bits_are_read(tmp_path: Path) -> None:
    model, state = public_state()
    save_file(
        {k: v.to(torch.float8_e4m3fn).contiguous() for k, v in state.items()}, tmp_path / "a.safetensors"
    )
    found = load_model(tmp_path / "a.safetensors")
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=0.07, atol=2e-3)


# spandrel -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def spandrel() -> Any:
    if not foreign.is_installed():
        pytest.skip('the extra "foreign" (spandrel) is not installed')
    return foreign._spandrel(Path("none"))


#: Small networks of spandrel's: architecture, class, arguments.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "SCUNet": ("SCUNet", {"config": [1] * 7, "dim": 64}),
    "SCUNet of grey": ("SCUNet", {"in_nc": 1, "config": [1] * 7, "dim": 64}),
    "FBCNN": ("FBCNN", {"nc": [8, 16, 16, 512], "nb": 2}),
    "DnCNN of grey": ("DnCNN", {"in_nc": 1, "out_nc": 1, "nc": 8, "nb": 6, "act_mode": "BR"}),
    "DRUNet": ("DRUNet", {"in_nc": 4, "out_nc": 3, "nc": [4, 8, 8, 8], "nb": 2}),
    "SwinIR": (
        "SwinIR",
        {
            "img_size": 16,
            "window_size": 8,
            "depths": [2],
            "embed_dim": 12,
            "num_heads": [2],
            "upscale": 1,
            "upsampler": "",
            "resi_connection": "1conv",
        },
    ),
    "RCAN": ("RCAN", {"scale": 1, "n_resgroups": 1, "n_resblocks": 1, "n_feats": 64}),
    "Uformer": ("Uformer", {"embed_dim": 4, "depths": [1] * 9}),
}


@pytest.fixture
def saved(spandrel: Any, tmp_path: Path) -> Callable[..., Path]:
    """Write the weights of a small network, from `SMALL` or given, drawn from a seed."""

    def save(name: str, **arguments: Any) -> Path:
        architecture, small = SMALL.get(name, (name, {}))
        made = getattr(importlib.import_module(f"spandrel.architectures.{architecture}"), architecture)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            torch.save({"params_ema": made(**(small | arguments)).state_dict()}, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return save


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # in spandrel's own code, called directly here
def test_a_network_of_spandrels_gives_what_spandrel_gives(
    name: str, saved: Callable[..., Path], spandrel: Any
) -> None:
    path = saved(name)
    model = load_model(path)
    assert isinstance(model, Foreign)
    assert model.architecture == SMALL[name][0]
    assert model.license == LICENSES[model.architecture]
    assert model.grey == name.endswith("grey")
    assert model.bytes_per_pixel > 50
    picture = torch.rand(1, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    restored = Restorer(model, device="cpu", tile="off")(picture)
    own = spandrel.ModelLoader().load_from_state_dict(
        torch.load(path, weights_only=True)["params_ema"]  # a file of ours
    )
    padded = pad_to_multiple(picture, model.size_multiple)[0]
    expected = (
        torch.cat([own(c.clone()) for c in padded.split(1, 1)], 1) if model.grey else own(padded.clone())
    )
    assert torch.equal(restored, expected[..., :37, :50])
    assert float((restored - picture).abs().mean()) > 1e-4  # it does something
    one = Restorer(model, device="cpu", tile=24)(picture[..., :1, :1])
    assert one.shape == (1, 3, 1, 1)


def test_every_licence_is_of_an_architecture_that_spandrel_has(spandrel: Any) -> None:
    assert set(LICENSES) <= {str(s.architecture.id) for s in spandrel.MAIN_REGISTRY.architectures()}


def test_what_spandrel_knows_and_does_not_restore_is_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="ESRGAN, which magnifies pictures 4 times") as refused:
        load_model(saved("ESRGAN", num_filters=8, num_blocks=1, scale=4))
    assert refused.value.code == "not_restoration"


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_weights_that_spandrel_does_not_know_or_cannot_load_are_refused(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "a.pth")
    with pytest.raises(
        ModelError, match=r"or of a network that spandrel knows, came tensors: 1 \(conv.weight\)"
    ) as refused:
        load_model(tmp_path / "a.pth")
    assert refused.value.code == "bad_weights"
    state = torch.load(saved("SCUNet"), weights_only=True)["params_ema"]
    del state["m_body.0.trans_block.ln1.weight"]
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(ModelError, match="look like those of SCUNet") as refused:
        load_model(tmp_path / "b.pth")
    assert refused.value.code == "bad_weights"
    torch.save(state | {"m_body.300000000.weight": torch.ones(1)}, tmp_path / "d.pth")
    with pytest.raises(ModelError, match="counts more layers than there are"):
        load_model(tmp_path / "d.pth")
    state["m_head.0.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(ModelError, match=r"not finite floating-point numbers, in m_head\.0\.weight"):
        load_model(tmp_path / "c.pth")
