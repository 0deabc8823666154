"""The composite mixture: what a batch holds, and that its index alone decides it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from anyrestore.data.crops import covering_crop, random_crop, random_scaled_crop, random_symmetry
from anyrestore.data.synthetic import TASKS, CompositeSource, draw_tasks
from anyrestore.errors import DataError, InputError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def source(training_root: Path) -> CompositeSource:
    return CompositeSource(training_root, progress=False)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_pairs_in_range(source: CompositeSource, task: str) -> None:
    batch = source.batch(32, [task] * 6, seeded())
    assert batch.degraded.shape == batch.clean.shape == (6, 3, 32, 32)
    assert batch.degraded.min() >= 0
    assert batch.degraded.max() <= 1
    assert torch.equal(batch.degraded, (batch.degraded * 255).round() / 255)
    changed = (batch.degraded != batch.clean).flatten(1).any(dim=1)
    assert changed.any() == (task != "clean")


def test_a_batch_depends_on_its_generators_seed_alone(source: CompositeSource) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (source.batch(32, TASKS, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(first.clean, again.clean)
    assert not torch.equal(first.degraded, other.degraded)
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_pictures_are_not_trained_on(training_root: Path, source: CompositeSource) -> None:
    held_out = CompositeSource(training_root, part="validation", progress=False)
    assert len(held_out.clean) == 3
    assert len(source.clean) == 9
    assert not any(torch.equal(a, b) for a in held_out.clean for b in source.clean)


def test_kernels_with_negative_lobes_are_no_blur(source: CompositeSource) -> None:
    assert len(source.kernels) == 1
    assert source.kernels[0].sum() == pytest.approx(1.0)


def test_shares_are_kept_over_many_batches() -> None:
    shares = {"noise": 0.5, "rain": 0.3, "clean": 0.2}
    drawn = [task for i in range(500) for task in draw_tasks(shares, 8, seeded(i))]
    for task, share in shares.items():
        assert drawn.count(task) / len(drawn) == pytest.approx(share, abs=0.02)


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(DataError, match="came fog"):
        draw_tasks({"fog": 1.0}, 4, seeded())


def test_a_missing_folder_or_half_of_a_pair_is_named(training_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(training_root, broken)
    (broken / "LOLv1-our485-288" / "low" / "2.png").unlink()
    with pytest.raises(DataError, match=r"\['2'\]"):
        CompositeSource(broken, progress=False)
    shutil.rmtree(broken / "SunHays80")
    with pytest.raises(DataError, match="SunHays80"):
        CompositeSource(broken, progress=False)


def test_a_broken_picture_is_named(training_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(training_root, broken)
    (broken / "SunHays80" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"SunHays80/1\.png"):
        CompositeSource(broken, progress=False)


def test_crops_of_a_pair_are_the_same_window() -> None:
    picture = torch.arange(3 * 40 * 50).view(3, 40, 50) % 251
    for seed in range(20):
        a, b = random_symmetry(random_crop([picture, picture + 1], 16, seeded(seed)), seeded(seed))
        assert a.shape == (3, 16, 16)
        assert torch.equal(a + 1, b)


def test_crops_reach_every_corner_and_small_pictures_are_extended() -> None:
    picture = torch.arange(9.0).view(1, 3, 3)
    corners = {random_crop([picture], 2, seeded(seed))[0][0, 0, 0].item() for seed in range(40)}
    assert corners == {0.0, 1.0, 3.0, 4.0}
    assert random_crop([picture], 5, seeded())[0].shape == (1, 5, 5)


def test_layers_cover_pictures_larger_than_themselves() -> None:
    layer = torch.arange(12.0).view(1, 3, 4)
    window = covering_crop(layer, 7, 3, seeded())
    assert window.shape == (1, 7, 3)
    assert set(window.unique().tolist()) <= set(range(12))
    assert torch.equal(covering_crop(layer, 3, 4, seeded()), layer)


def test_large_pictures_are_sometimes_halved() -> None:
    stripes = torch.zeros(3, 96, 96, dtype=torch.uint8)
    stripes[..., ::2] = 200
    values = {tuple(random_scaled_crop(stripes, 16, seeded(seed)).unique().tolist()) for seed in range(20)}
    assert values == {(0, 200), (100,)}
