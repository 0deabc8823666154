"""Degrading on the device: what a batch holds, and that every sample of it stands alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anyrestore.data.crops import covering_crop, random_crop, random_scaled_crop, random_symmetry
from anyrestore.data.loading import Request, collate, make_batch
from anyrestore.data.mixtures import MIXTURES
from anyrestore.data.samples import MixtureData, Sample, Step
from anyrestore.data.sampling import Choice
from anyrestore.data.synthetic import _APPLY, degrade_batch, validation_batches
from layouts import make_set

CPU = torch.device("cpu")
TASKS = [part.task for part in MIXTURES["composite"].parts]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(training_root: Path) -> MixtureData:
    return MixtureData(MIXTURES["composite"], training_root)


def flat(recipe: tuple[Step, ...], *, seed: int = 3, value: int = 128) -> Sample:
    """A grey sample with a recipe."""
    grey = torch.full((3, 32, 32), value, dtype=torch.uint8)
    layer = torch.zeros(1, 32, 32, dtype=torch.uint8)
    layer[:, :16] = 255
    kernel = torch.zeros(5, 5)
    kernel[2] = 0.2
    layers = {
        step.kind: kernel if step.kind == "kernel_blur" else layer
        for step in recipe
        if step.kind.endswith("_layer") or step.kind == "kernel_blur"
    }
    return Sample(grey, grey, "test", seed, recipe, layers, 1.0, ())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_pairs_in_range(data: MixtureData, task: str) -> None:
    number = TASKS.index(task)
    batch = degrade_batch(
        collate([data.make(Choice(number, 0, seed), 32) for seed in range(6)], "round"), CPU
    )
    assert batch.degraded.shape == batch.clean.shape == (6, 3, 32, 32)
    assert batch.degraded.dtype == batch.clean.dtype == torch.float32
    assert batch.degraded.min() >= 0
    assert batch.degraded.max() <= 1
    assert torch.equal(batch.degraded, (batch.degraded * 255).round() / 255)
    assert batch.tasks == (task,) * 6
    assert batch.weights.tolist() == pytest.approx([MIXTURES["composite"].parts[number].weight] * 6)
    changed = (batch.degraded != batch.clean).flatten(1).any(dim=1)
    assert changed.any() == (task != "clean")


def test_a_sample_is_the_same_whatever_its_neighbours_are(data: MixtureData) -> None:
    indexes = tuple(range(24))
    together = degrade_batch(make_batch(data, Request(indexes, 32)), CPU)
    backwards = degrade_batch(make_batch(data, Request(indexes[::-1], 32)), CPU)
    torch.testing.assert_close(together.degraded, backwards.degraded.flip(0), rtol=0, atol=1.01 / 255)
    for i in indexes:
        alone = degrade_batch(make_batch(data, Request((i,), 32)), CPU)
        assert torch.equal(alone.clean[0], together.clean[i])
        # Up to the last bits of batched sums, which rounding to 8 bits may show as a level, here and there.
        difference = (alone.degraded[0] - together.degraded[i]).abs()
        assert difference.max() <= 1.01 / 255
        assert (difference > 1e-6).float().mean() < 0.01


def test_torchs_own_generator_is_left_alone(data: MixtureData) -> None:
    before = torch.get_rng_state()
    first, again = (degrade_batch(make_batch(data, Request(tuple(range(12)), 24)), CPU) for _ in range(2))
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", _APPLY)
def test_every_step_changes_the_picture_and_more_is_worse(kind: str) -> None:
    picture = random_crop([_stripes()], 32, seeded())[0]
    errors = list[float]()
    for amount in (5.0, 50.0) if kind == "sigma" else (0.2, 1.0):
        sample = flat((Step(kind, amount),))
        sample = Sample(picture, picture, "t", 3, sample.recipe, sample.layers, 1.0, ())
        batch = degrade_batch(collate([sample], "round"), CPU)
        errors.append((batch.degraded - batch.clean).square().mean().item())
    assert errors[0] > 0
    assert errors[1] == errors[0] if kind == "kernel_blur" else errors[1] > errors[0]


def _stripes() -> torch.Tensor:
    picture = torch.zeros(3, 40, 40, dtype=torch.uint8)
    picture[:, :, ::4] = 180
    picture[0, 10:20] = 90
    return picture


def test_steps_are_followed_in_their_physical_order_whatever_the_recipe_says() -> None:
    steps = (Step("jpeg", 0.5), Step("haze", 0.6), Step("low_light", 0.6))
    one, other = (degrade_batch(collate([flat(s)], "round"), CPU) for s in (steps, steps[::-1]))
    assert torch.equal(one.degraded, other.degraded)
    order = list(_APPLY)
    names = ["low_light", "rain", "snow", "haze", "motion_blur", "noise", "jpeg"]
    assert sorted(names, key=order.index) == names


def test_noise_has_the_strength_it_says_and_its_bits_are_rounded_or_cut_off() -> None:
    samples = [flat((Step("sigma", 25.0),), seed=seed) for seed in range(16)]
    means = dict[str, float]()
    for bits in ("round", "truncate"):
        batch = degrade_batch(collate(samples, bits), CPU)
        values = batch.degraded * 255
        torch.testing.assert_close(values, values.round(), rtol=0, atol=1e-4)
        assert values.std().item() == pytest.approx(25, abs=0.5)
        means[bits] = values.double().mean().item()
    assert means["round"] - means["truncate"] == pytest.approx(0.5, abs=0.01)


def test_layers_reach_their_samples() -> None:
    samples = [flat(()), flat((Step("rain_layer", 1.0),)), flat((Step("snow_layer", 1.0),)), flat(())]
    batch = degrade_batch(collate(samples, "round"), CPU)
    assert torch.equal(batch.degraded[0], batch.clean[0])
    assert (batch.degraded[1, :, :16] == 1).all()
    assert torch.equal(batch.degraded[1:, :, 16:], batch.clean[1:, :, 16:])
    assert (batch.degraded[2, :, :16] > 0.9).all()


def test_pictures_with_more_than_eight_bits_keep_them(tmp_path: Path) -> None:
    make_set("ixi", tmp_path)
    make_set("aapm", tmp_path)
    make_set("pet", tmp_path)
    data = MixtureData(MIXTURES["amir"], tmp_path)
    batch = degrade_batch(make_batch(data, Request((0, 1, 2), 16)), CPU)
    assert not torch.equal(batch.degraded, (batch.degraded * 255).round() / 255)
    sample = data.sample(0, 32)
    mixed = degrade_batch(collate([flat(()), sample], "round"), CPU)
    assert torch.equal(mixed.clean[1], sample.target)
    assert torch.equal(mixed.clean[0], torch.full((3, 32, 32), 128 / 255))


def test_the_batch_is_no_view_of_the_raw_one(tmp_path: Path) -> None:
    make_set("ixi", tmp_path)
    make_set("aapm", tmp_path)
    make_set("pet", tmp_path)
    raw = make_batch(MixtureData(MIXTURES["amir"], tmp_path), Request((0, 1), 16))
    before = raw.target.clone()
    batch = degrade_batch(raw, CPU)
    batch.clean.zero_()
    batch.degraded.zero_()
    assert torch.equal(raw.target, before)


def test_validation_samples_are_fixed_and_of_every_task(training_root: Path, data: MixtureData) -> None:
    held_out = MixtureData(MIXTURES["composite"], training_root, part="validation", held_out=1)
    first, again = (validation_batches(held_out, 3, 24) for _ in range(2))
    assert list(first) == TASKS
    for task, batch in first.items():
        assert batch.degraded.shape == (3, 3, 24, 24)
        assert torch.equal(batch.degraded, again[task].degraded)
        assert batch.tasks == (task,) * 3
    assert len({picture.numpy().tobytes() for picture in first["noise"].clean}) == 3


def test_a_task_without_held_out_pictures_is_left_out(tmp_path: Path) -> None:
    for name in ("ixi", "aapm", "pet"):
        make_set(name, tmp_path, count=1 if name == "pet" else 4)
    data = MixtureData(MIXTURES["amir"], tmp_path, part="validation", held_out=2)
    assert list(validation_batches(data, 2, 16)) == ["mri", "ct"]


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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_halving_takes_means_of_four(dtype: torch.dtype) -> None:
    picture = (torch.rand(3, 48, 48, generator=seeded(1)) * 255).to(dtype)
    found = next(
        crop
        for crop in (random_scaled_crop(picture, 16, seeded(s)) for s in range(99))
        if _means(picture, crop)
    )
    assert found.dtype == dtype


def _means(picture: torch.Tensor, crop: torch.Tensor) -> bool:
    """Whether ``crop`` is a window of the picture at half its size, wherever it begins."""
    for top in range(picture.shape[1] - 31):
        for left in range(picture.shape[2] - 31):
            window = picture[:, top : top + 32, left : left + 32].float()
            mean = torch.nn.functional.avg_pool2d(window, 2)
            mean = mean if picture.is_floating_point() else mean.round()
            if torch.allclose(mean.to(crop.dtype).float(), crop.float(), rtol=0, atol=1e-4):
                return True
    return False
