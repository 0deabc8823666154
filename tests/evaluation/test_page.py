import base64
import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from anyrestore.errors import UsageError
from anyrestore.evaluation import gallery
from anyrestore.evaluation.page import page
from anyrestore.evaluation.plots import histograms, interval_mark, sorted_gains, ticks
from anyrestore.evaluation.results import Results, read_results
from anyrestore.image import decode
from stored_results import content_of, entries_from, entry_of, image_of, write, write_pictures

VALUES = [22.0 + i for i in range(12)]


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of every element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def a_run(folder: Path, *, shade: int = 0, pictures: bool = True, **more: Any) -> Results:
    entries = entries_from({"rain": [value + shade for value in VALUES], "clean": [None, None, 40.0]})
    for image in entries[1]["images"]:
        image["input_psnr"] = None
    write(folder, content_of(entries, **more))
    if pictures:
        write_pictures(folder, entries, shade=shade)
    return read_results(folder)


def test_the_page_holds_all_it_needs_and_loads_nothing(tmp_path: Path) -> None:
    text = page([a_run(tmp_path)], resamples=50)
    elements = Elements(text)
    sources = [
        value
        for _, attributes in elements.found
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "data", "action") and value is not None
    ]
    assert sources
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in sources)
    assert not elements.all("link")
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [m["content"] for m in elements.all("meta") if m.get("http-equiv")]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    words = " ".join(elements.words)
    for told in ("promptir", "a" * 64, "d" * 64, "abacus", "anyrestore evaluate --model tiny", "0.1.0"):
        assert told in words
    assert page([read_results(tmp_path)], resamples=50) == text


def test_a_name_with_markup_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    images = [image_of(f"{evil}{i}".replace("/", "∕"), 30.0 + i) for i in range(3)]
    entries = [entry_of(evil, images, data_sha256=evil)]
    run = read_results(
        write(tmp_path, content_of(entries, model=evil, command=evil, protocol=evil, machine={evil: evil}))
    )
    elements = Elements(page([run, run], resamples=20))
    assert len(elements.all("script")) == 1
    assert not elements.all("img")
    assert not [key for _, attributes in elements.found for key in attributes if key.startswith("on")]
    assert any(evil in word for word in elements.words)


def test_sliders_show_the_best_the_median_and_the_worst(tmp_path: Path) -> None:
    elements = Elements(page([a_run(tmp_path)], resamples=20))
    alts = [str(image["alt"]) for image in elements.all("img")]
    shown = [
        f"{name} of rain: {version}" for name in ("11", "5", "0") for version in ("input", "tiny", "target")
    ]
    assert alts[:9] == shown
    assert len(alts) == 18
    ranges = list(elements.all("input"))
    assert len(ranges) == 6
    assert all(r["type"] == "range" and r["aria-label"] for r in ranges)
    # Input, output and target, cut out of the sheet where that is needed: greys of 40, 120 and 200.
    greys = [
        decode(base64.b64decode(str(image["src"]).partition(",")[2])).pixels.mean()
        for image in elements.all("img")[:3]
    ]
    assert greys == pytest.approx([40, 120, 200], abs=2)
    # At first the input is on the left and the output on the right; the target waits.
    assert [
        "left" if i.get("class") else "hidden" if "hidden" in i else "" for i in elements.all("img")[:3]
    ] == [
        "left",
        "",
        "hidden",
    ]


def test_pictures_keep_their_coloured_noise(tmp_path: Path) -> None:
    entries = entries_from({"noise": [20.0]})
    entries[0]["images"][0].update(height=96, width=128)
    run = read_results(write(tmp_path, content_of(entries)))
    noise = np.random.default_rng(0).normal(0, 25, (96, 128, 3))
    noisy = (128 + noise).clip(0, 255).astype(np.uint8)
    for kind in ("restored", "sheets"):
        (tmp_path / kind / "noise").mkdir(parents=True)
    save = functools.partial(Image.Image.save, format="png")
    save(Image.fromarray(noisy), tmp_path / "restored/noise/0.png")
    save(Image.fromarray(np.pad(noisy, ((0, 0), (0, 3 * 132), (0, 0)))), tmp_path / "sheets/noise/0.png")
    sources = [str(image["src"]) for image in Elements(page([run], resamples=5)).all("img")]
    shown = decode(base64.b64decode(sources[0].partition(",")[2])).pixels.astype(float)
    chroma = shown - shown.mean(axis=2, keepdims=True)
    assert chroma.std() == pytest.approx((noise - noise.mean(axis=2, keepdims=True)).std(), rel=0.15)


def test_the_only_run_with_pictures_is_shown_against_its_input(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a", model="x"), a_run(tmp_path / "b", model="y", pictures=False)]
    first = Elements(page(runs, resamples=5)).all("img")[:3]
    assert [str(image["alt"]).partition(": ")[2] for image in first] == ["input", "x", "target"]
    assert ["hidden" in image for image in first] == [False, False, True]


def test_ranks_are_by_gain_and_by_psnr_where_inputs_are_exact(tmp_path: Path) -> None:
    entries = [
        entry_of("a", [image_of("x", 30.0, before=29.0), image_of("y", 25.0), image_of("z", None)]),
        entry_of("b", [image_of("x", 30.0, before=None), image_of("y", 31.0, before=None)]),
        entry_of("c", [image_of("x", 30.0)]),
    ]
    run = read_results(write(tmp_path, content_of(entries)))
    names = [[(word, image.name) for word, image in gallery.choose(entry)] for entry in run.entries]
    assert names == [
        [("Best", "z"), ("Median", "y"), ("Worst", "x")],
        [("Best", "y"), ("Worst", "x")],
        [("Only", "x")],
    ]


def test_without_pictures_the_page_says_how_to_get_them(tmp_path: Path) -> None:
    elements = Elements(page([a_run(tmp_path, pictures=False)], resamples=20))
    assert not elements.all("img")
    assert any("--save" in word for word in elements.words)


def test_pictures_outside_the_results_folder_are_not_read(tmp_path: Path) -> None:
    write_pictures(tmp_path, [entry_of("secret", [image_of("x", 1.0)])])
    for entry, name in (("rain", "../../../restored/secret/x"), ("../../restored/secret", "x"), ("a", "x\0")):
        run = read_results(write(tmp_path / "run", content_of([entry_of(entry, [image_of(name, 30.0)])])))
        assert gallery.versions([("run", run)], entry, run.entries[0].images[0]) == []
    inside = read_results(write(tmp_path, content_of([entry_of("secret", [image_of("x", 30.0)])])))
    assert len(gallery.versions([("run", inside)], "secret", inside.entries[0].images[0])) == 3


def test_pictures_shrink_and_then_go_to_keep_the_page_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path)
    monkeypatch.setattr(gallery, "_SIZES", ((32, 90), (16, 10)))
    full = page([run], resamples=5)
    needed = sum(len(str(image["src"])) for image in Elements(full).all("img"))
    small = page([run], resamples=5, picture_bytes=needed - 1)
    assert 'width="32"' in full
    assert 'width="32"' not in small
    assert 'width="16" height="12"' in small
    few = page([run], resamples=5, picture_bytes=needed // 4)
    assert len(Elements(few).all("img")) < 18
    assert "left out, to keep the page small" in few


def test_several_runs_stand_side_by_side_with_verdicts(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a", model="first"), a_run(tmp_path / "b", shade=2, model="second")]
    elements = Elements(page(runs, resamples=50))
    words = " ".join(elements.words)
    assert "second against first" in words
    assert "second is better" in words
    options = [word for word in elements.words if word in ("input", "first", "second", "target")]
    assert options.count("target") == 12  # in both lists of each of six sliders
    twins = Elements(page([runs[0], runs[0]], resamples=5))
    assert any("first (a) #2" in word for word in twins.words)
    with pytest.raises(UsageError, match="protocols differ"):
        page([runs[0], a_run(tmp_path / "c", protocol="moce")], resamples=5)


def test_a_part_of_a_set_is_said_to_be_one(tmp_path: Path) -> None:
    assert "at most 12 images of each entry" in page([a_run(tmp_path, limit=12)], resamples=5)


def test_plots_are_well_formed_and_drawn_to_scale() -> None:
    gains = np.array([3.0, -1.0, 2.0, np.nan])
    tree = ET.fromstring(sorted_gains(gains, label="<b>", name="x"))
    bars = list(tree.iter("rect"))
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] / heights[1] == pytest.approx(3 / 2, rel=0.01)
    assert [bar.attrib["class"] for bar in bars] == ["fill-accent", "fill-accent", "fill-loss"]
    assert "2 of 3 images are better than their input" in tree.attrib["aria-label"]
    assert len(list(ET.fromstring(sorted_gains(np.arange(5000.0), label="", name="")).iter("rect"))) == 120

    rows = [("input", np.array([1.0, 1.0, 2.0])), ("out", np.array([4.0, np.inf]))]
    tree = ET.fromstring(histograms(rows, unit="PSNR (dB)", decimals=2, name="x"))
    heights = [float(bar.attrib["height"]) for bar in tree.iter("rect")]
    assert heights == pytest.approx([48, 24, 24])
    assert {text.text for text in tree.iter("text")} >= {
        "PSNR (dB)",
        "images",
        "input",
        "out",
        "mean 4.00 dB",
    }
    assert histograms([("input", np.array([np.inf]))], unit="", decimals=2, name="") == ""

    mark = ET.fromstring(interval_mark(1.0, 0.5, 1.5, ends=(-1.0, 2.0), sure=True))
    zero, whole = mark.iter("line")
    assert float(zero.attrib["x1"]) < float(whole.attrib["x1"]) < float(whole.attrib["x2"])


def test_ticks_are_round_numbers() -> None:
    assert ticks(24.3, 36.9) == [25, 30, 35]
    assert ticks(-0.21, 0.42) == pytest.approx([-0.2, 0.0, 0.2, 0.4])
    assert ticks(3.0, 3.0) == [3.0]


def test_the_script_and_style_are_those_the_policy_names(tmp_path: Path) -> None:
    import hashlib

    text = page([a_run(tmp_path, pictures=False)], resamples=5)
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in text
