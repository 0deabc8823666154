"""What goes into a `Restorer` comes out as the same kind, restored; tiles or not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anyrestore import image
from anyrestore.errors import InputError, ModelError, UsageError
from anyrestore.image import Picture
from anyrestore.inference import memory
from anyrestore.inference.restorer import Restorer
from anyrestore.zoo import create_model

DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)


class Identity(nn.Module):
    """Gives back its input, and insists on its size multiple."""

    size_multiple = 16
    bytes_per_pixel = 100.0

    def forward(self, picture: Tensor, condition: object = None) -> Tensor:
        assert picture.shape[-2] % self.size_multiple == picture.shape[-1] % self.size_multiple == 0
        assert picture.dtype == torch.float32
        return picture.clone()


class Local(nn.Module):
    """Three 3 x 3 convolutions: a receptive field that reaches 3 pixels."""

    size_multiple = 4
    reach = 3

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def forward(self, picture: Tensor) -> Tensor:
        return self.layers(picture)


class MeanRemover(nn.Module):
    """Global: subtracts the mean of what it sees, or of what `share` saw."""

    size_multiple = 8

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> Tensor:
        mean = picture.mean(dim=(-2, -1), keepdim=True) if condition is None else condition
        return picture - mean

    def share(self, tiles: Any) -> Tensor:
        means = []
        for tile in tiles:
            self.seen.append(tuple(tile.shape))
            means.append(tile.mean(dim=(-2, -1), keepdim=True))
        return torch.stack(means).mean(dim=0)


class Hungry(Identity):
    """Runs out of memory above so many pixels."""

    def __init__(self, limit: int, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.limit = limit
        self.error = error
        self.sizes: list[tuple[int, int]] = []

    def forward(self, picture: Tensor, condition: object = None) -> Tensor:
        self.sizes.append((picture.shape[-2], picture.shape[-1]))
        if picture.shape[-2] * picture.shape[-1] > self.limit:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate much")
        return super().forward(picture)


def random_array(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("tile", ["off", 16])
def test_identity_is_bit_equal_at_every_small_size(tile: Any) -> None:
    restorer = Restorer(Identity(), device="cpu", tile=tile, overlap=8)
    for height in (*range(1, 41, 7), 16, 17, 32, 33, 40):
        for width in (*range(1, 36, 3), 32, 33, 40):
            array = random_array((height, width, 3), np.uint16 if width % 2 else np.uint8, seed=width)
            assert np.array_equal(restorer(array), array), (height, width)


@pytest.mark.parametrize("tile", ["auto", 48])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70, 51, 3), (70, 51, 4), (70, 51)])
def test_arrays_keep_shape_type_and_values(shape: tuple[int, ...], dtype: Any, tile: Any) -> None:
    array = random_array(shape, dtype)
    before = array.copy()
    result = Restorer(Identity(), device="cpu", tile=tile)(array)
    assert result.dtype == array.dtype
    assert result.shape == shape
    assert np.array_equal(array, before)
    if np.dtype(dtype).kind == "f":
        assert np.abs(result.astype(np.float64) - array).max() <= (1e-3 if dtype is np.float16 else 1e-6)
    else:
        assert np.array_equal(result, array)


def test_strides_byte_order_and_read_only_make_no_difference() -> None:
    array = random_array((30, 41, 3), np.uint16)
    restorer = Restorer(Local(), device="cpu", tile=20)
    expected = restorer(array)
    locked = array.copy()
    locked.flags.writeable = False
    wide = np.zeros((60, 82, 3), np.uint16)
    wide[::2, ::2] = array
    for same in (np.asfortranarray(array), array[::-1][::-1], wide[::2, ::2], locked, array.astype(">u2")):
        assert np.array_equal(restorer(same), expected)


@pytest.mark.parametrize("shape", [(3, 40, 33), (1, 3, 40, 33), (2, 3, 40, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensors_keep_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    result = Restorer(Identity(), device="cpu", tile=16)(tensor)
    assert (result.shape, result.dtype, result.device) == (tensor.shape, tensor.dtype, tensor.device)
    assert torch.allclose(result, tensor, atol=1e-6)
    assert not result.is_inference()  # may take part in training afterwards


def test_a_batch_equals_its_items() -> None:
    batch = torch.rand(3, 3, 50, 30, generator=torch.Generator().manual_seed(0))
    for tile in ("off", 24):
        restorer = Restorer(Local(), device="cpu", tile=tile)
        assert torch.allclose(restorer(batch), torch.stack([restorer(item) for item in batch]), atol=1e-6)


def test_a_path_gives_a_picture_ready_to_be_written(tmp_path: Path) -> None:
    picture = Picture(pixels=random_array((20, 31), np.uint8), alpha=random_array((20, 31), np.uint8))
    image.write(picture, tmp_path / "a.png")
    restored = Restorer(Identity(), device="cpu")(tmp_path / "a.png")
    image.write(restored, tmp_path / "b.png")
    again = image.read(tmp_path / "b.png")
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.alpha is not None
    assert np.array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("size", [(97, 61), (64, 64), (33, 150)])
def test_tiles_equal_the_whole_for_a_local_model(size: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    whole = Restorer(Local(), device="cpu", tile="off")(picture)
    for tile in (32, 40):
        tiled = Restorer(Local(), device="cpu", tile=tile, overlap=4 * Local.reach)(picture)
        assert (tiled - whole).abs().max() <= 1e-5
    # The test can fail: without an overlap the borders of the tiles show.
    naive = Restorer(Local(), device="cpu", tile=32, overlap=0)(picture)
    assert (naive - whole).abs().max() > 1e-3


def test_two_grids_give_one_result_for_a_local_model() -> None:
    picture = torch.rand(1, 3, 90, 90, generator=torch.Generator().manual_seed(1))
    results = [Restorer(Local(), device="cpu", tile=side, overlap=12)(picture) for side in (28, 36, 52)]
    assert all((result - results[0]).abs().max() <= 1e-5 for result in results)


def test_the_condition_is_shared_between_tiles() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 48, 64).clone()
    whole = Restorer(MeanRemover(), device="cpu", tile="off")(ramp)
    shared = Restorer(MeanRemover(), device="cpu", tile=16)(ramp)
    alone = Restorer(MeanRemover(), device="cpu", tile=16, share="off")(ramp)
    assert (shared - whole).abs().max() < 1e-5
    assert (alone - whole).abs().max() > 0.3


def test_the_sample_that_is_shared_is_bounded_and_whole_pictures_need_none() -> None:
    model = MeanRemover()
    Restorer(model, device="cpu", tile=64)(torch.zeros(3, 700, 900))
    assert 1 < len(model.seen) <= 16
    model.seen.clear()
    Restorer(model, device="cpu", tile="off")(torch.zeros(3, 100, 100))
    assert model.seen == []


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_out_of_memory_falls_back_to_smaller_tiles(error: type[Exception]) -> None:
    model = Hungry(100 * 100, error)
    array = random_array((250, 300, 3), np.uint8)
    assert np.array_equal(Restorer(model, device="cpu")(array), array)
    assert model.sizes[0] == (256, 304)
    assert model.sizes[-1][0] * model.sizes[-1][1] <= 100 * 100


def test_out_of_memory_for_good_is_one_sentence() -> None:
    for tile, pattern in (("auto", "smaller model"), ("off", "leave tiling on"), (128, "smaller model")):
        model = Hungry(0)
        with pytest.raises(InputError, match=pattern) as caught:
            Restorer(model, device="cpu", tile=tile)(np.zeros((200, 200, 3), np.uint8))
        assert caught.value.code == "out_of_memory"
        assert min(model.sizes[-1]) >= memory.SMALLEST_TILE


def test_other_errors_of_the_model_are_not_mistaken_for_memory() -> None:
    class Broken(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        Restorer(Broken(), device="cpu")(np.zeros((20, 20, 3), np.uint8))


def test_a_result_that_is_not_finite_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            return picture / 0

    with pytest.raises(ModelError) as caught:
        Restorer(Broken(), device="cpu")(np.zeros((20, 20, 3), np.uint8))
    assert caught.value.code == "non_finite"


@pytest.mark.parametrize(
    ("array", "pattern"),
    [
        (np.zeros((3, 20, 30), np.uint8), r"\(3, 20, 30\)"),
        (np.zeros((20, 30, 5), np.uint8), r"\(20, 30, 5\)"),
        (np.zeros((20, 30, 1), np.uint8), r"\(20, 30, 1\)"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"\(1, 20, 30, 3\)"),
        (np.zeros(20, np.uint8), r"\(20,\)"),
        (np.zeros((0, 30, 3), np.uint8), r"\(0, 30, 3\)"),
        (np.zeros((20, 0), np.uint8), r"\(20, 0\)"),
        (np.zeros((20, 30, 3), np.int32), "int32"),
        (np.zeros((20, 30, 3), bool), "bool"),
        (np.zeros((20, 30, 3), np.complex64), "complex64"),
        (np.zeros((20, 30, 3), object), "object"),
        (np.full((20, 30, 3), np.nan), "NaN"),
        (torch.zeros(3, 20, 30, dtype=torch.uint8), "uint8"),
        (torch.zeros(20, 30, 3), r"\(20, 30, 3\)"),
        (torch.zeros(20, 30), r"\(20, 30\)"),
        (torch.zeros(3, 0, 30), r"\(3, 0, 30\)"),
        (torch.full((3, 20, 30), float("inf")), "infinity"),
    ],
)
def test_what_is_not_a_picture_is_refused_not_guessed(array: Any, pattern: str) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        Restorer(Identity(), device="cpu")(array)
    assert caught.value.code in ("bad_array", "non_finite")


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="list"):
        Restorer(Identity(), device="cpu")([[1, 2], [3, 4]])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [{"tile": 0}, {"tile": "big"}, {"overlap": -1}, {"threads": 0}, {"device": "tpu"}, {"share": "some"}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Restorer(Identity(), **{"device": "cpu"} | options)


def test_hidden_colour_neither_bleeds_nor_changes() -> None:
    model = Local()
    pixels = np.full((40, 40, 3), 120, np.uint8)
    alpha = np.full((40, 40, 1), 255, np.uint8)
    alpha[10:30, 10:30] = 0
    loud, quiet = pixels.copy(), pixels.copy()
    loud[10:30, 10:30] = (255, 0, 255)
    restorer = Restorer(model, device="cpu")
    shown = alpha[..., 0] > 0
    result = restorer(np.dstack((loud, alpha)))
    assert np.array_equal(result[shown], restorer(np.dstack((quiet, alpha)))[shown])
    assert np.array_equal(result[..., 3:], alpha)
    assert np.array_equal(result[~shown][:, :3], loud[~shown])


def test_a_picture_that_is_hidden_altogether_comes_back() -> None:
    array = np.dstack((random_array((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)))
    assert np.array_equal(Restorer(Local(), device="cpu")(array), array)


def test_random_state_and_gradients_are_left_alone() -> None:
    restorer = Restorer(Local(), device="cpu")
    state = torch.random.get_rng_state()
    tensor = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    result = restorer(tensor)
    assert not result.requires_grad
    assert torch.is_grad_enabled()
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["nafnet-tiny", "moce-tiny", "promptir-tiny"])
def test_a_progress_bar_ends_full(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though layers are computed from their weights alone, and experts are left out."""
    bars = list[Any]()

    class Bar:
        disable = False

        def __init__(self, *, total: int, **_: object) -> None:
            self.total, self.done = total, 0
            bars.append(self)

        def update(self, steps: int = 1) -> None:
            self.done += steps

        def close(self) -> None:
            pass

    monkeypatch.setattr("anyrestore.inference.restorer.tqdm", Bar)
    Restorer(create_model(name), device="cpu", tile=32, share="off", progress=True)(torch.rand(3, 48, 32))
    (bar,) = bars
    assert bar.done == bar.total > 20


def test_a_progress_bar_leaves_no_hooks_behind(capsys: pytest.CaptureFixture[str]) -> None:
    model = Local()
    Restorer(model, device="cpu", tile=16, progress=True)(np.zeros((50, 50, 3), np.uint8))
    assert all(len(module._forward_hooks) == 0 for module in model.modules())
    assert capsys.readouterr().err == ""  # quicker than a second: nothing to show


@pytest.mark.parametrize("tile", ["auto", 32])
def test_a_function_follows_and_may_end_the_run(tile: int | str) -> None:
    """In strips and in tiles; what it raises comes out, and the restorer is as good as before."""
    told = list[tuple[int, int]]()
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    model = create_model("tiny").eval()
    restorer = Restorer(model, device="cpu", tile=tile, progress=lambda *steps: told.append(steps))
    restored = restorer(picture)
    assert np.array_equal(restored, Restorer(model, device="cpu", tile=tile)(picture))
    assert told == sorted(told)
    (total,) = {total for _, total in told}
    assert told[-1] == (total, total)

    def end(done: int, _total: int) -> None:
        if done > total // 2:
            raise InterruptedError

    restorer.progress = end
    with pytest.raises(InterruptedError):
        restorer(picture)
    restorer.progress = False
    assert np.array_equal(restorer(picture), restored)


def test_what_the_process_occupies_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the way depends on the picture alone."""
    restorer = Restorer(create_model("tiny"), device="cpu", memory_limit=2**30)
    restorer.occupied = 2**30 - 2**20
    monkeypatch.setattr("anyrestore.inference.memory.resident", lambda: 0)
    with pytest.raises(InputError, match="this one leaves 1 MiB"):
        restorer(np.zeros((64, 64, 3), np.uint8))
