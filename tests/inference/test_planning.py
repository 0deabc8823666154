"""The way through a model follows from the memory at hand, and keeps to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anyrestore import Restorer, image, scratch, strips
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.inference import memory, planning
from anyrestore.inference.planning import Request, Way, plan_ways
from anyrestore.inference.transparency import conceal, fill
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import create_model

CPU = torch.device("cpu")
MIB = 1 << 20


class Plain(nn.Module):
    size_multiple = 8
    bytes_per_pixel = 1000.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def kinds(ways: list[Way]) -> list[str]:
    return [way.kind for way in ways]


def test_a_network_of_its_own_goes_in_strips_others_whole() -> None:
    request = Request(height=256, width=256, budget=1 << 30)
    assert kinds(plan_ways(create_model("tiny"), request, CPU)) == ["strips", "tiles"]
    assert kinds(plan_ways(create_model("tiny").double(), request, CPU)) == ["whole", "tiles"]
    assert kinds(plan_ways(Plain(), request, CPU)) == ["whole", "tiles"]
    assert kinds(plan_ways(create_model("tiny"), request, torch.device("cuda"))) == ["whole", "tiles"]


def test_maps_go_to_files_where_memory_is_short(tmp_path: Path) -> None:
    model = create_model("cea-t")
    footprint = strips.Footprint.of(model, 4096, 4096)
    threads = torch.get_num_threads()
    everything = footprint.total(threads)
    for levels in ((0,), (0, 1), (0, 1, 2)):
        budget = footprint.total(threads, levels)
        request = Request(height=4096, width=4096, budget=budget, scratch=tmp_path, tile="off")
        (way,) = plan_ways(model, request, CPU)
        assert way == Way(kind="strips", bytes=budget, in_files=levels)
    request = Request(height=4096, width=4096, budget=everything, scratch=tmp_path, tile="off")
    assert plan_ways(model, request, CPU)[0] == Way(kind="strips", bytes=everything)
    # Without a folder tiles are left.
    request = Request(height=4096, width=4096, budget=everything - 1)
    assert kinds(plan_ways(model, request, CPU)) == ["tiles"]


def test_files_are_planned_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = planning.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    request = Request(height=4096, width=4096, budget=400 * MIB, scratch=tmp_path)
    assert kinds(plan_ways(create_model("cea-t"), request, CPU)) == ["tiles"]


@pytest.mark.parametrize("budget", [40 * MIB, 200 * MIB, 1000 * MIB])
@pytest.mark.parametrize("side", [100, 1000, 5000])
def test_no_way_is_above_a_budget_that_was_named(budget: int, side: int, tmp_path: Path) -> None:
    for model in (Plain(), create_model("tiny")):
        request = Request(height=side // 8 * 8, width=side // 8 * 8, budget=budget, scratch=tmp_path)
        ways = plan_ways(model, request, CPU)
        assert ways
        assert all(way.bytes <= budget for way in ways)


def test_too_small_a_budget_is_refused_and_says_what_is_needed() -> None:
    for tile in ("auto", "off", 512):
        request = Request(height=512, width=512, tile=tile, budget=1000)
        with pytest.raises(InputError, match=r"raise it, or use a smaller model") as caught:
            plan_ways(Plain(), request, CPU)
        assert caught.value.code == "memory_limit"
    # Nobody named a budget: then it is tried all the same.
    assert plan_ways(Plain(), Request(height=10**6, width=10**6, tile="off"), CPU)


def test_the_limit_is_of_the_process_and_counts_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident", lambda: 500 * MIB)
    picture = np.zeros((64, 64, 3), np.uint8)
    Restorer(create_model("tiny"), device="cpu", memory_limit=700 * MIB)(picture)
    with pytest.raises(InputError) as caught:
        Restorer(create_model("tiny"), device="cpu", memory_limit=501 * MIB)(picture)
    assert caught.value.code == "memory_limit"
    with pytest.raises(UsageError, match="memory_limit"):
        Restorer(create_model("tiny"), device="cpu", memory_limit=0)


def test_strips_are_what_the_network_gives_at_every_small_size() -> None:
    model = create_model("tiny").eval()
    restorer = Restorer(model, device="cpu", progress=True)
    for height, width in ((1, 1), (1, 30), (7, 9), (8, 8), (17, 40), (33, 8)):
        picture = torch.rand(3, height, width)
        padded, size = pad_to_multiple(picture[None], 8)
        with torch.inference_mode():
            expected = crop_to(model(padded), size)[0]
        assert (restorer(picture) - expected).abs().max() < 1e-5


def test_memory_that_runs_out_in_strips_goes_on_in_files_then_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[str]()

    def fail(name: str, error: type[Exception]) -> Any:
        def allocate(*_: Any) -> Any:
            tried.append(name)
            raise error("out of memory")

        return allocate

    monkeypatch.setattr(strips, "in_memory", fail("memory", MemoryError))
    model = create_model("tiny").eval()
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    restored = Restorer(model, device="cpu", scratch=tmp_path)(picture)
    assert restored.shape == picture.shape
    assert "memory" in tried


def test_a_disk_that_fills_up_meanwhile_is_gone_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OutputError("no room", code="disk_full")

    model, picture = create_model("tiny").eval(), np.zeros((64, 64, 3), np.uint8)
    in_files = Way(kind="strips", bytes=0, in_files=(0,))
    monkeypatch.setattr(strips, "in_file", full)
    restorer = Restorer(model, device="cpu", scratch=tmp_path)
    ways = [in_files, Way(kind="tiles", bytes=0, tile=64)]
    monkeypatch.setattr(planning, "plan_ways", lambda *_: ways)
    assert restorer(picture).shape == picture.shape
    ways[:] = [in_files]
    with pytest.raises(OutputError, match="no room"):
        restorer(picture)


def test_a_batch_that_does_not_fit_goes_picture_by_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()

    class Listening(Plain):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            sizes.append(len(image))
            return image

    monkeypatch.setattr(memory, "resident", lambda: 0)
    batch = torch.rand(3, 3, 64, 64)
    each, results = 64 * 64 * 1000, batch.nbytes
    for limit, tile, expected in (
        (3 * each + results, "auto", [3]),
        (3 * each + results, "off", [3]),
        (3 * each + results - 1, "off", [1, 1, 1]),
        (each + results // 3, "off", [1, 1, 1]),
        (None, "off", [3]),
        (None, 64, [1, 1, 1]),
    ):
        sizes.clear()
        restorer = Restorer(Listening(), device="cpu", tile=tile, memory_limit=limit)
        assert torch.equal(restorer(batch), batch)
        assert sizes == expected
    with pytest.raises(InputError, match="memory limit"):  # the result has its share too
        Restorer(Plain(), device="cpu", tile="off", memory_limit=each + results // 3 - 1)(batch)


def test_a_system_without_such_files_has_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "SUPPORTED", False)
    assert Restorer(Plain(), device="cpu").scratch is None
    with pytest.raises(UsageError, match="cannot keep maps in files"):
        Restorer(Plain(), device="cpu", scratch=tmp_path)


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (64, 9), (65, 40), (200, 33)])
def test_bands_of_what_alpha_hides_are_filled_as_the_whole_would_be(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*shape, 3), np.uint8)
    alpha = (generator.random(shape) < 0.05).astype(np.uint8)
    alpha[0, 0] = 1
    visible = torch.from_numpy(alpha)[None, None].float()
    expected = image.from_tensor(fill(image.to_tensor(pixels), visible), pixels)
    assert np.array_equal(conceal(pixels, alpha), expected)


def test_a_picture_in_a_file_gives_one_in_a_file(tmp_path: Path) -> None:
    source = np.random.default_rng(0).integers(0, 256, (70, 50, 4), np.uint8)
    source[:20, :20, 3] = 0
    backed = scratch.allocate(source.shape, np.uint8, tmp_path)
    backed[:] = source
    restorer = Restorer(create_model("tiny").eval(), device="cpu", scratch=tmp_path)
    result = restorer._pixels(backed[..., :3], backed[..., 3])
    assert scratch.is_backed(result)
    assert np.array_equal(backed, source)
    hidden = source[..., 3] == 0
    assert np.array_equal(result[hidden], source[..., :3][hidden])
    plain = restorer._pixels(source[..., :3], source[..., 3])
    assert np.mean(np.abs(result.astype(int) - plain.astype(int)) > 1) < 0.1  # beside what alpha hides


@pytest.mark.parametrize("folder", ["none", None])
def test_scratch_is_a_folder_or_nowhere(folder: str | None, tmp_path: Path) -> None:
    if folder is None:
        assert Restorer(Plain(), device="cpu", scratch=None).scratch is None
        return
    with pytest.raises(UsageError, match="scratch: expected a folder"):
        Restorer(Plain(), device="cpu", scratch=tmp_path / folder)


def test_a_folder_whose_files_are_in_memory_is_no_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYRESTORE_SCRATCH", str(tmp_path))
    monkeypatch.setattr(planning, "_is_in_memory", lambda _: False)
    assert planning.default_scratch() == tmp_path
    monkeypatch.setattr(planning, "_is_in_memory", lambda _: True)
    assert planning.default_scratch() is None
    monkeypatch.undo()
    if Path("/dev/shm").is_dir() and "/dev/shm tmpfs" in Path("/proc/mounts").read_text():
        assert planning._is_in_memory(Path("/dev/shm"))
