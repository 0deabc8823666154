"""Cutting samples: the same window of both halves, seeds, what is held out, what cannot be read."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore.data.mixtures import MIXTURES, Mixture, Part
from anyrestore.data.samples import MixtureData, Sample, check_degrade
from anyrestore.data.sampling import Choice
from anyrestore.errors import DataError, UsageError
from anyrestore.image import Picture, write
from layouts import make_set


def same(a: Sample, b: Sample) -> bool:
    return (
        torch.equal(a.target, b.target)
        and torch.equal(a.degraded, b.degraded)
        and (a.task, a.seed, a.recipe, a.weight, a.bad) == (b.task, b.seed, b.recipe, b.weight, b.bad)
        and a.layers.keys() == b.layers.keys()
        and all(torch.equal(a.layers[kind], b.layers[kind]) for kind in a.layers)
    )


@pytest.fixture(scope="module")
def composite(training_root: Path) -> MixtureData:
    return MixtureData(MIXTURES["composite"], training_root, held_out=1)


def clean_mixture(folder: str = "photos", *, halve: bool = False) -> Mixture:
    return Mixture(name="test", parts=(Part(task="clean", sets=(f"clean:{folder}",)),), halve=halve)


def numbered_pairs(root: Path, count: int = 12, size: tuple[int, int] = (40, 56)) -> Mixture:
    """Pairs whose degraded value is the clean value plus 1, so that windows can be compared."""
    for i in range(count):
        values = np.random.default_rng(i).integers(0, 255, (*size, 3)).astype(np.uint8)
        for half, pixels in (("high", values), ("low", values + 1)):
            (root / half).mkdir(exist_ok=True)
            write(Picture(pixels=pixels), root / half / f"{i:02}.png")
    return Mixture(name="pairs", parts=(Part(task="plus_one", sets=("pairs:low|high",)),))


def test_both_halves_are_cut_alike_in_all_eight_symmetries(tmp_path: Path) -> None:
    data = MixtureData(numbered_pairs(tmp_path, count=1, size=(16, 16)), tmp_path)
    seen = set()
    for index in range(100):
        sample = data.sample(index, 16)
        assert torch.equal(sample.target + 1, sample.degraded)
        seen.add(sample.target.numpy().tobytes())
    assert len(seen) == 8
    original = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8))
    assert original.permute(2, 0, 1).contiguous().numpy().tobytes() in seen


def test_a_sample_depends_on_its_index_alone(training_root: Path, composite: MixtureData) -> None:
    other = MixtureData(MIXTURES["composite"], training_root, held_out=1, cache_bytes=1 << 24)
    state = torch.get_rng_state()
    forwards = [composite.sample(i, 24) for i in range(40)]
    backwards = [other.sample(i, 24) for i in reversed(range(40))][::-1]
    assert all(map(same, forwards, backwards))
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(forwards[0], composite.sample(composite.epoch, 24))
    seeded = MixtureData(MIXTURES["composite"], training_root, held_out=1, seed=1)
    assert not same(forwards[0], seeded.sample(0, 24))


def test_samples_do_not_alias_the_cache(training_root: Path) -> None:
    data = MixtureData(MIXTURES["composite"], training_root, cache_bytes=1 << 24)
    whole = [data.sample(i, 72) for i in range(30)]
    before = [s.target.clone() for s in whole]
    for sample in whole:
        sample.target.zero_()
        for layer in sample.layers.values():
            layer.zero_()
    again = [data.sample(i, 72) for i in range(30)]
    assert all(torch.equal(a, s.target) for a, s in zip(before, again, strict=True))


def test_recipes_are_those_of_the_tasks(composite: MixtureData) -> None:
    kinds = {
        "rain": {"rain", "rain_layer"},
        "snow": {"snow", "snow_layer"},
        "noise": {"noise", "poisson_noise"},
        "blur": {"motion_blur", "defocus_blur", "gaussian_blur", "kernel_blur"},
    }
    seen = {task: set[str]() for task in composite.tasks}
    for number, part in enumerate(composite.mixture.parts):
        for seed in range(60):
            sample = composite.make(Choice(number, seed % 3, seed), 16)
            assert sample.weight == part.weight
            names = [step.kind for step in sample.recipe]
            seen[part.task].update(names)
            assert set(sample.layers) == {n for n in names if n.endswith("_layer") or n == "kernel_blur"}
            most = 0.7 if part.task == "mixture" else 1.0
            assert all(0.1 * most <= step.amount <= most for step in sample.recipe)
            assert len(names) == {"clean": 0, "pair": 0}.get(part.task, len(names) if most < 1 else 1)
            if part.task == "mixture":
                assert len(names) in (2, 3)
                assert not ({"rain", "rain_layer"} & {*names} and {"snow", "snow_layer"} & {*names})
    assert seen["clean"] == seen["pair"] == set()
    for task in ("rain", "snow", "noise", "blur", "haze", "low_light", "jpeg"):
        assert seen[task] == kinds.get(task, {task})
    assert len(seen["mixture"]) == 13


def test_a_named_company_is_always_that_company(training_root: Path) -> None:
    part = Part(task="low_haze_rain", sets=("clean:SunHays80",), degrade="low_light+haze+rain")
    data = MixtureData(Mixture(name="company", parts=(part,)), training_root)
    for index in range(8):
        recipe = data.sample(index, 16).recipe
        assert [step.kind for step in recipe] == ["low_light", "haze", "rain"]
        assert all(0.07 <= step.amount <= 0.7 for step in recipe)  # milder than alone


@pytest.mark.parametrize("text", ["haze+fog", "haze+haze", "haze+", "+", "haze+noise:25", "none+haze"])
def test_no_such_company(text: str) -> None:
    with pytest.raises(UsageError, match="joined by"):
        check_degrade(text)


def test_kernels_sum_to_one_and_negative_ones_are_left_out(composite: MixtureData) -> None:
    blur = composite.tasks.index("blur")
    samples = [composite.make(Choice(blur, 0, seed), 16) for seed in range(40)]
    kernels = [s.layers["kernel_blur"] for s in samples if s.layers]
    assert kernels
    assert all(k.sum().item() == pytest.approx(1.0) and k.shape == (5, 5) for k in kernels)
    assert len({k.numpy().tobytes() for k in kernels}) == 1


def test_held_out_pictures_are_never_trained_on(training_root: Path, composite: MixtureData) -> None:
    validation = MixtureData(MIXTURES["composite"], training_root, part="validation", held_out=1)

    def files(data: MixtureData) -> set[str]:
        return {data._files[n] for pairs in data.pairs for n in pairs.flatten().tolist() if n >= 0}

    assert not files(composite) & files(validation)
    assert len(files(composite) | files(validation)) == 3 * 4 + 2 * 4
    assert [len(p) for p in validation.pairs] == [3] * 9 + [1]
    everything = MixtureData(MIXTURES["composite"], training_root)
    assert files(everything) == files(composite) | files(validation)
    streaks = [{d._files[n] for n in d._layers["rain_layer"]} for d in (composite, validation)]
    assert len(streaks[0]) == 3
    assert len(streaks[1]) == 1
    assert not streaks[0] & streaks[1]


def test_a_scene_of_several_sets_is_held_out_of_all_of_them(tmp_path: Path) -> None:
    make_set("cdd11", tmp_path, count=10, size=(24, 24))
    data = MixtureData(MIXTURES["cdd11"], tmp_path, held_out=3)
    validation = MixtureData(MIXTURES["cdd11"], tmp_path, held_out=3, part="validation")
    assert data.epoch == 11 * 9
    scenes = {validation._files[pairs[0][0]] for pairs in validation.pairs}
    assert len(scenes) == 1
    assert scenes.isdisjoint(data._files[n] for pairs in data.pairs for n in pairs[:, 0])


def test_pictures_that_cannot_be_read_are_replaced_and_named(tmp_path: Path) -> None:
    mixture = numbered_pairs(tmp_path, count=12)
    whole = MixtureData(mixture, tmp_path, cache_bytes=1 << 24)
    (tmp_path / "low" / "03.png").write_bytes(b"no picture")
    data = MixtureData(mixture, tmp_path, cache_bytes=1 << 24)
    for index in range(12):
        sample = data.sample(index, 16)
        choice = data.stream.choose(index)
        if choice.picture == 3:
            assert len(sample.bad) == 1
            assert "low/03.png" in sample.bad[0]
            following = whole.make(Choice(0, 4, choice.seed), 16)
            assert torch.equal(sample.target, following.target)
        else:
            assert same(sample, whole.sample(index, 16))


def test_halves_of_different_sizes_are_bad_pictures(tmp_path: Path) -> None:
    mixture = numbered_pairs(tmp_path, count=2)
    write(Picture(pixels=np.zeros((40, 50, 3), np.uint8)), tmp_path / "low" / "00.png", overwrite=True)
    data = MixtureData(mixture, tmp_path)
    bad = [bad for i in range(2) for bad in data.sample(i, 16).bad]
    assert len(bad) == 1
    assert "high/00.png has (channels, height, width) (3, 40, 56)" in bad[0]
    assert "low/00.png has (3, 40, 50)" in bad[0]
    (tmp_path / "low" / "01.png").write_bytes(b"")
    with pytest.raises(DataError, match="'plus_one', 2 in a row were not"):
        data.sample(0, 16)


def test_bad_layers_are_replaced_and_named(training_root: Path, tmp_path: Path) -> None:
    shutil.copytree(training_root, tmp_path / "broken")
    for i in range(3):
        (tmp_path / "broken" / "rain-streaks" / f"{i}.png").write_bytes(b"no picture")
    data = MixtureData(MIXTURES["composite"], tmp_path / "broken")
    rain = data.tasks.index("rain")
    samples = [data.make(Choice(rain, 0, seed), 16) for seed in range(30)]
    assert all(bool(s.bad) <= ("rain_layer" in s.layers) for s in samples)
    assert any("rain-streaks" in name for s in samples for name in s.bad)


def test_missing_names_are_told_and_left_out(tmp_path: Path) -> None:
    mixture = numbered_pairs(tmp_path, count=4)
    (tmp_path / "low" / "02.png").unlink()
    told = list[str]()
    data = MixtureData(mixture, tmp_path, warn=told.append)
    assert data.epoch == 3
    assert len(told) == 1
    assert "02" in told[0]
    assert "1 expected" in told[0]
    with pytest.raises(DataError):
        MixtureData(clean_mixture("nowhere"), tmp_path)


def test_the_fingerprint_sees_names_and_sizes(tmp_path: Path) -> None:
    mixture = numbered_pairs(tmp_path, count=4)
    before = MixtureData(mixture, tmp_path).fingerprint
    assert list(before) == ["pairs:low|high", "pairs:low|high (in use)"]
    assert MixtureData(mixture, tmp_path, limit=4, seed=5).fingerprint == before
    for fewer in ({"limit": 2}, {"held_out": 1}):
        now = MixtureData(mixture, tmp_path, **fewer).fingerprint
        assert [key for key in before if now[key] != before[key]] == ["pairs:low|high (in use)"]
    write(Picture(pixels=np.zeros((40, 56, 3), np.uint8)), tmp_path / "low" / "01.png", overwrite=True)
    changed = MixtureData(mixture, tmp_path).fingerprint
    assert changed != before
    for half in ("low", "high"):
        (tmp_path / half / "03.png").unlink()
    assert MixtureData(mixture, tmp_path).fingerprint not in (before, changed)


def test_the_fingerprint_sees_layers_and_kernels(training_root: Path, tmp_path: Path) -> None:
    root, mixture = tmp_path / "data", MIXTURES["composite"]
    shutil.copytree(training_root, root)
    before = MixtureData(mixture, root).fingerprint

    def changed(**options: int) -> set[str]:
        now = MixtureData(mixture, root, **options).fingerprint
        return {key for key in before.keys() | now.keys() if now.get(key) != before.get(key)}

    assert changed() == set()
    limited = changed(limit=2)
    assert {"layers.streaks"} <= limited
    assert "layers.kernels" not in limited
    (root / "rain-streaks" / "0.png").rename(root / "rain-streaks" / "other.png")
    assert changed() == {"layers.streaks"}
    mask = next((root / "snow-masks").iterdir())
    mask.write_bytes(mask.read_bytes() + b" ")
    assert changed() == {"layers.streaks", "layers.snow_masks"}
    kernels = np.full((3, 3), 1 / 9, np.float32)
    np.savez(root / "blur-kernels.npz", only=kernels)
    assert changed() == {"layers.streaks", "layers.snow_masks", "layers.kernels"}


def test_a_limit_and_the_number_of_files(training_root: Path) -> None:
    data = MixtureData(MIXTURES["composite"], training_root, limit=2)
    assert [len(pairs) for pairs in data.pairs] == [6] * 9 + [2]
    assert data.pictures == 3 * 2 + 2 * 2 + 2 + 2


def test_large_clean_pictures_are_halved_half_of_the_time_if_asked(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 200
    write(Picture(pixels=stripes), tmp_path / "photos" / "1.png")
    for halve, expected in ((True, {(0, 200), (100,)}), (False, {(0, 200)})):
        data = MixtureData(clean_mixture(halve=halve), tmp_path)
        assert {tuple(data.sample(i, 16).target.unique().tolist()) for i in range(30)} == expected


def test_medical_pictures_are_floats(tmp_path: Path) -> None:
    for name in ("ixi", "aapm", "pet"):
        make_set(name, tmp_path)
    data = MixtureData(MIXTURES["amir"], tmp_path, cache_bytes=1 << 24)
    assert data.tasks == ("mri", "ct", "pet")
    for index in range(12):
        first, again = data.sample(index, 24), data.sample(index, 24)
        assert first.target.dtype == torch.float32
        assert first.target.shape == (3, 24, 24)
        assert 0 <= first.target.min() < first.target.max() <= 1
        assert same(first, again)
    halved = MixtureData(dataclasses.replace(data.mixture, halve=True), tmp_path).sample(0, 8)
    assert halved.target.dtype == torch.float32


@pytest.mark.parametrize("name", [n for n in MIXTURES if n != "composite"])
def test_published_mixtures_are_made_from_the_canonical_layouts(name: str, tmp_path: Path) -> None:
    mixture = MIXTURES[name]
    for family in {s.partition("/")[0] for part in mixture.parts for s in part.sets}:
        make_set(family, tmp_path, count=4, size=(24, 32))
    data = MixtureData(mixture, tmp_path)
    assert data.tasks == tuple(part.task for part in mixture.parts)
    sample = data.sample(data.epoch - 1, 16)
    assert sample.target.shape == sample.degraded.shape == (3, 16, 16)
    for number, part in enumerate(mixture.parts):
        sample = data.make(Choice(number, 0, 1), 16)
        assert [(s.kind, s.amount) for s in sample.recipe] == (
            [("sigma", float(part.degrade.partition(":")[2]))] if part.degrade != "none" else []
        )
        assert torch.equal(sample.target, sample.degraded) == (part.degrade != "none")
