"""Miniature copies of the public data sets in their canonical layouts; imports anyrestore inside functions.

The layouts are written down here a second time on purpose: the catalogue is compared with them.
"""

from pathlib import Path

import numpy as np

CDD11 = (
    *("low", "haze", "rain", "snow", "low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
    *("low_haze_rain", "low_haze_snow"),
)
BSD400 = ("2018", "2092", "3063", "5096", "6046", "8049", "8068", "8143", "10081", "12003")
LOL_TRAIN = ("2", "5", "6", "9", "10", "12", "13", "14", "15", "16")
LOL_TEST = ("1", "22", "23", "55", "79", "111", "146", "179", "493", "547", "665", "669", "748", "778", "780")
PARTS = ("part1", "part2", "part3", "part4")
HAZES = ("0.8_0.04", "1_0.2")


def _clean(count: int):
    """Sets of clean pictures: (file)."""
    numbers = range(1, count + 1)
    return {
        "bsd400": [f"BSD400/{BSD400[i % 10]}.png" if i < 10 else f"BSD400/x{i}.png" for i in range(count)],
        "bsd500": [
            f"BSDS500/data/images/{s}/{100 + i}.png" for s in ("train", "val", "test") for i in numbers
        ],
        "wed": [f"WED/{i:05}.bmp" for i in numbers],
        "cbsd68": [f"CBSD68/{i - 1:04}.png" for i in numbers],
        "urban100": [f"Urban100/img_{i:03}.png" for i in numbers],
        "kodak24": [f"Kodak24/kodim{i:02}.png" for i in numbers],
    }


def _rain(letter: str, count: int):
    train, test = f"RainTrain{letter}", f"Rain100{letter}"
    return [
        *((f"{train}/rainy/rain-{i}.png", f"{train}/gt/norain-{i}.png") for i in range(1, count + 1)),
        *((f"{test}/input/{i}.png", f"{test}/target/{i}.png") for i in range(1, count + 1)),
    ]


def _paired(count: int):
    """Sets of pairs: (degraded file, clean file)."""
    numbers = range(1, count + 1)
    halves = [
        (f"{split}/LQ/p{i % 2}-{i:03}.npy", f"{split}/HQ/p{i % 2}-{i:03}.npy")
        for split in ("train", "validation", "test")
        for i in numbers
    ]
    videos = {
        "train": ("GOPR0372_07_00", "GOPR0374_11_01"),
        "test": ("GOPR0384_11_00", "GOPR0385_11_01"),
    }
    frames = [f"{split}/{names[i % 2]}/{{}}/{i:06}.png" for split, names in videos.items() for i in numbers]
    hazes = [(i, HAZES[i % 2], PARTS[i % 4]) for i in range(count)]
    snow = ["Snow100K-training/all", *(f"test/Snow100K-{size}" for size in "SML")]
    raindrop = [("train", "rain"), ("test_a", "rain"), ("test_b", "rain")]
    return {
        "rain100l": _rain("L", count),
        "rain100h": _rain("H", count),
        "ots": [
            (f"OTS/{part}/{25 + i // 2:04}_{haze}.jpg", f"OTS/clear/{25 + i // 2:04}.jpg")
            for i, haze, part in hazes
        ],
        "sots": [(f"SOTS/outdoor/hazy/{i:04}_0.8_0.2.jpg", f"SOTS/outdoor/gt/{i:04}.png") for i in numbers],
        "gopro": [(f"GOPRO_Large/{f.format('blur')}", f"GOPRO_Large/{f.format('sharp')}") for f in frames],
        "gopro-crops": [
            (f"GoPro-crops/input_crops/{name}", f"GoPro-crops/target_crops/{name}")
            for name in (f"{videos['train'][i % 2]}-{i // 2:06}-{i + 1}.png" for i in range(count))
        ],
        "lolv1": [
            *((f"LOLv1/our485/low/{n}.png", f"LOLv1/our485/high/{n}.png") for n in LOL_TRAIN[:count]),
            *((f"LOLv1/eval15/low/{n}.png", f"LOLv1/eval15/high/{n}.png") for n in LOL_TEST[:count]),
        ],
        "cdd11": [
            (f"CDD-11_{split}/{category}/{i:05}.png", f"CDD-11_{split}/clear/{i:05}.png")
            for split in ("train", "test")
            for category in CDD11
            for i in numbers
        ],
        "snow100k": [
            (f"Snow100K/{where}/synthetic/snow_{i:05}.jpg", f"Snow100K/{where}/gt/snow_{i:05}.jpg")
            for where in snow
            for i in numbers
        ],
        "outdoor-rain": [
            (
                f"Outdoor-Rain/{folder}/im_{1 + i // 2:04}_s80_a0{4 + i % 2}.png",
                f"Outdoor-Rain/{folder.replace('/in', '/gt').removesuffix('put')}/im_{1 + i // 2:04}.png",
            )
            for folder in ("train/in", "test1/input")
            for i in range(count)
        ],
        "raindrop": [
            (f"RainDrop/{split}/data/{i}_{word}.png", f"RainDrop/{split}/gt/{i}_clean.png")
            for split, word in raindrop
            for i in numbers
        ],
        "allweather": [
            (f"allweather/input/{name}", f"allweather/gt/{name}")
            for name in (
                ("im_{:04}_s80_a04.png", "{}_rain.png", "snow_{:05}.jpg")[i % 3].format(i) for i in numbers
            )
        ],
        "csd": [(f"CSD/{s}/Snow/{i}.tif", f"CSD/{s}/Gt/{i}.tif") for s in ("Train", "Test") for i in numbers],
        "weatherbench": [
            (
                f"WeatherBench/{split}/{weather}/input/{i}.png",
                f"WeatherBench/{split}/{weather}/target/{i}.png",
            )
            for split in ("train", "test")
            for weather in ("haze", "rain", "snow")
            for i in numbers
        ],
        "uieb": [(f"UIEB/raw-890/{i}_img_.png", f"UIEB/reference-890/{i}_img_.png") for i in numbers],
        "ixi": [(f"MRI/{low}", f"MRI/{high}") for low, high in halves],
        "aapm": [(f"CT/{low}", f"CT/{high}") for low, high in halves],
        "pet": [(f"PET/{low}", f"PET/{high}") for low, high in halves],
    }


RANGES = {"MRI": (0.0, 4095.0), "CT": (-1024.0, 3071.0), "PET": (0.0, 20.0)}


def make_set(name: str, root: Path, *, count: int = 4, size: tuple[int, int] = (48, 64)) -> list[Path]:
    """Write a miniature copy of a set, every split of it, and give the files.

    Args:
        name: A set of the catalogue.
        root: The folder that holds the sets.
        count: Pairs (clean pictures) of every split; of every subset where there are subsets.
        size: Height and width in pixels.
    """
    random = np.random.default_rng(sum(name.encode()))
    made = list[Path]()
    clean = _clean(count)
    for file in clean.get(name, ()):
        _store(root / file, _scene(random, size), made)
    scenes = dict[str, np.ndarray]()
    for low, high in () if name in clean else _paired(count)[name]:
        if high not in scenes:
            scenes[high] = _scene(random, size)
            _store(root / high, scenes[high], made)
        darker = 0.6 * scenes[high] + 0.1 * random.random(size)[..., None]
        _store(root / low, darker.astype(np.float32), made)
    return made


def _scene(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth colours in [0, 1] that differ from scene to scene: h w 3, float32."""
    rows, columns = (np.linspace(0, 1, side)[:, None] for side in size)
    planes = [
        0.5 + 0.25 * (np.sin(6 * a * rows + b) + np.sin(6 * c * columns.T + d))
        for a, b, c, d in random.random((3, 4))
    ]
    return np.stack(planes, -1).astype(np.float32)


def _store(path: Path, scene: np.ndarray, made: list[Path]) -> None:
    from anyrestore.image import SUFFIXES, Picture, encode

    path.parent.mkdir(parents=True, exist_ok=True)
    made.append(path)
    if path.suffix == ".npy":
        low, high = RANGES[path.parts[-4]]
        np.save(path, (low + (high - low) * scene[..., 0]).astype(np.float32))
        return
    pixels = np.rint(scene * 255).clip(0, 255).astype(np.uint8)
    if path.suffix == ".bmp":
        write_bmp(path, pixels)
        return
    path.write_bytes(encode(Picture(pixels=pixels), SUFFIXES[path.suffix]))  # write() would sync every file


def write_bmp(path: Path, pixels: np.ndarray) -> None:
    """An uncompressed BMP of 24 bits from h w 3 RGB."""
    height, width, _ = pixels.shape
    stride = (3 * width + 3) // 4 * 4
    rows = np.zeros((height, stride), np.uint8)
    rows[:, : 3 * width] = pixels[::-1, :, ::-1].reshape(height, 3 * width)
    fields = (54 + rows.size, 0, 54, 40, width, height, 1 | 24 << 16, 0, rows.size, 2835, 2835, 0, 0)
    path.write_bytes(b"BM" + np.array(fields, "<i4").tobytes() + rows.tobytes())
