"""The page in a browser: headless Chromium, with an engine that inverts pictures."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

import browsers
import page_service
import pictures
from anyrestore import image
from page_service import ONE, TWO, Inverter, wait_until

pytestmark = browsers.NEEDED


@dataclass
class Watch:
    """What this process does while it is on: addresses that it asks for, files that it opens for writing."""

    on: bool = False
    addresses: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            self.addresses.append(str(arguments[1][0]))
        elif event == "socket.getaddrinfo":
            self.addresses.append(str(arguments[0]))
        elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and isinstance(arguments[0], str):
            self.written.append(arguments[0])


WATCH = Watch()
sys.addaudithook(WATCH)


@pytest.fixture(scope="module")
def engine() -> Inverter:
    return Inverter()


@pytest.fixture(scope="module")
def url(engine: Inverter) -> Iterator[str]:
    WATCH.on = True
    with page_service.serving(page_service.application(engine)) as address:
        yield address
    WATCH.on = False


@dataclass
class Visit:
    """A page that is open, and what it asked for."""

    page: Page
    requests: list[str]
    complaints: list[str]

    def choose(self, data: bytes, name: str) -> None:
        self.page.set_input_files("#file", files=[{"name": name, "mimeType": "", "buffer": data}])

    def text(self, where: str) -> str:
        return self.page.text_content(where) or ""

    def result(self) -> tuple[bytes, str]:
        """The downloaded file, and its name."""
        self.page.wait_for_selector("#compare.two")
        wait_until(lambda: self.text("#status").startswith("Done"))
        with self.page.expect_download() as waiting:
            self.page.click("#download")
        return Path(waiting.value.path()).read_bytes(), waiting.value.suggested_filename


Visitor = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, url: str, engine: Inverter) -> Iterator[Visitor]:
    """Opens the page; everything that it asks for must be on this machine, and nothing may go wrong in it."""
    engine.offers, engine.seconds, engine.busy, engine.dropped = ONE, 0.15, False, 0
    engine.orders.clear()
    contexts = []

    def go(*, width: int = 1280, dark: bool = False, ready: bool = True) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
            has_touch=width < 500,
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        one = Visit(context.new_page(), [], [])
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("dialog", lambda dialog: (one.complaints.append("a dialog"), dialog.dismiss()))
        one.page.goto(url)
        one.page.wait_for_selector("#drop")
        if ready:
            wait_until(lambda: one.page.input_value("#model input"))
        visits.append(one)
        return one

    visits = list[Visit]()
    yield go
    for one in visits:
        foreign = [asked for asked in one.requests if not re.match(rf"(blob:)?{url}/|data:", asked)]
        assert foreign == []
        assert one.complaints == []
    for context in contexts:
        context.close()


def cut(page: Page) -> float:
    return float(
        page.evaluate("document.querySelector('#compare').style.getPropertyValue('--cut')").rstrip("%")
    )


def sixteen() -> tuple[bytes, np.ndarray]:
    array = pictures.ramp("uint16", width=96, height=64)
    return pictures.png(array), array


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_restores_a_16_bit_png_and_a_jpeg(visit: Visitor, width: int, dark: bool) -> None:
    one = visit(width=width, dark=dark)
    page = one.page
    sent, array = sixteen()
    one.choose(sent, "rain in May.PNG")
    data, name = one.result()
    assert name == "rain in May-restored.PNG"
    back = image.decode(data)
    assert back.format == "png"
    np.testing.assert_array_equal(back.pixels, 65535 - array)
    assert "96 × 64 pixels, 16 bit, PNG" in one.text("#status")

    box = page.locator("#compare").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert cut(page) == pytest.approx(25, abs=1)
    page.focus("#compare input")
    page.keyboard.press("ArrowRight")
    assert cut(page) == pytest.approx(26, abs=1)
    page.keyboard.press("End")
    assert cut(page) == 100
    assert page.get_attribute("#compare input", "aria-valuetext") == "100 % before, 0 % after"

    jpeg = image.encode(image.Picture(pixels=pictures.ramp(width=90, height=60)), "jpeg")
    one.choose(jpeg, "second.jpeg")
    wait_until(lambda: "90 × 60 pixels, 8 bit, JPEG" in one.text("#status"))
    data, name = one.result()
    assert name == "second-restored.jpeg"
    want = 255 - image.decode(jpeg).pixels
    got = image.decode(data)
    assert (got.format, got.pixels.shape, got.pixels.dtype) == ("jpeg", want.shape, want.dtype)
    assert np.abs(got.pixels.astype(int) - want).mean() < 2

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", ground)[:3]]
    assert max(levels) < 64 if dark else min(levels) > 192
    stage, panel = (page.locator(where).bounding_box() for where in ("#stage", "#panel"))
    assert stage is not None
    assert panel is not None
    assert (panel["x"] > stage["x"] + stage["width"]) == (width > 1000)


def test_what_a_browser_cannot_show_comes_with_a_view(visit: Visitor, engine: Inverter) -> None:
    one = visit()
    array = pictures.ramp("uint16", width=80, height=50)
    tiff = image.encode(image.Picture(pixels=array), "tiff")
    engine.seconds = 1.0
    one.choose(tiff, "scan.tif")
    one.page.wait_for_selector("#blind")
    data, name = one.result()
    assert name == "scan-restored.tif"
    np.testing.assert_array_equal(image.decode(data).pixels, 65535 - array)
    assert one.page.is_visible("#compare .after")
    assert one.page.evaluate("document.querySelector('#compare .after').naturalWidth") == 80


def test_shows_real_progress_and_cancels(visit: Visitor, engine: Inverter) -> None:
    one = visit()
    engine.seconds = 4.0
    one.choose(sixteen()[0], "a.png")
    wait_until(lambda: re.search(r"Restoring… [1-9]\d %", one.text("#status")))
    assert one.page.evaluate("document.querySelector('#work progress').value") > 0
    one.page.click("#cancel")
    wait_until(lambda: "Cancelled" in one.text("#status"))
    wait_until(lambda: engine.dropped == 1)
    engine.seconds = 0.1
    one.page.click("#restore")
    assert one.result()[1] == "a-restored.png"


def test_who_leaves_has_the_order_dropped(visit: Visitor, engine: Inverter) -> None:
    one = visit()
    engine.seconds = 30.0
    one.choose(sixteen()[0], "a.png")
    wait_until(lambda: one.text("#status").startswith("Restoring"))  # it listens
    one.page.close()
    wait_until(lambda: engine.dropped == 1, seconds=8)


def test_errors_are_one_sentence(visit: Visitor, engine: Inverter) -> None:
    one = visit()
    one.choose(sixteen()[0][:300], "cut.png")
    wait_until(lambda: one.text("#alarm"))
    assert one.text("#alarm").startswith("This picture is cut short")
    assert one.text("#name") == "cut.png"
    assert one.page.is_visible("#drop")  # half a picture is not shown, nor is another try offered

    one.choose(b"", "empty.png")
    wait_until(lambda: one.text("#alarm") == "This file is empty (0 bytes); choose another.")

    engine.busy = True
    one.choose(sixteen()[0], "a.png")
    wait_until(lambda: "Try again in about 7 s." in one.text("#alarm"))
    one.complaints[:] = [text for text in one.complaints if "429" not in text]  # Chromium tells of every 4xx
    engine.busy = False
    one.page.click("#restore")
    assert one.result()[1] == "a-restored.png"


def test_the_instruction_belongs_to_models_that_take_one(visit: Visitor, engine: Inverter) -> None:
    engine.offers = TWO
    one = visit()
    page = one.page
    assert page.is_visible("#model")
    assert not page.is_visible("#instruction")
    page.focus("#model input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#instruction :is(textarea, input)")
    one.choose(sixteen()[0], "a.png")
    wait_until(lambda: "Say in a few words" in one.text("#status"))
    page.keyboard.type("remove the rain")  # the box has the focus
    page.click("#restore")
    one.result()
    assert [(order.model, order.instruction) for order in engine.orders] == [("told", "remove the rain")]
    assert not page.is_visible("#look")


def test_where_it_did_what(visit: Visitor, engine: Inverter) -> None:
    one = visit()
    one.choose(sixteen()[0], "a.png")
    one.result()
    assert not one.page.is_visible("#model")  # there is one only
    one.page.click("#look")
    one.page.wait_for_selector("#looked img[src]")
    assert [order.wish for order in engine.orders] == ["restore", "look"]
    assert one.page.is_visible("#download")


def test_everything_by_keyboard(visit: Visitor) -> None:
    one = visit()
    page = one.page
    seen = list[str]()
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(str(page.evaluate("document.activeElement.id || document.activeElement.textContent")))
    assert seen[:5] == ["file", "Rain", "Haze", "Darkness", "Noise"]
    page.focus("#examples button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#compare.two")
    wait_until(lambda: page.evaluate("document.activeElement.id") == "download")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "rain-restored.jpg"
    page.click("#zoom")
    assert page.get_attribute("#zoom", "aria-pressed") == "true"


def test_waits_for_the_models(visit: Visitor, engine: Inverter) -> None:
    engine.offers = ()
    one = visit(ready=False)
    wait_until(lambda: "The models are being loaded" in one.text("#status"))
    engine.offers = ONE
    # The page comes anew; Gradio may have told the old one of the model before that.
    wait_until(lambda: "being loaded" not in one.text("#status"))
    wait_until(lambda: one.page.input_value("#model input") == "inverse")
    one.choose(sixteen()[0], "a.png")
    one.result()


HOSTILE = [
    "<script>alert(1)</script>.png",
    "<img src=x onerror=alert(1)>.png",
    '"><svg onload=alert(1)>.png',
    "'-alert(1)-'.png",
    "javascript:alert(1).png",
    "{{constructor.constructor('alert(1)')()}}.png",
    "${alert(1)}.png",
    "<iframe srcdoc='<script>alert(1)<\\script>'>.png",
    "<details open ontoggle=alert(1)>.png",
    "&lt;script&gt;alert(1)&lt;script&gt;.png",
    "a\u202egnp.<b onmouseover=alert(1)>.png",
    "<style>@import 'http:evil'<style>.png",
    "<math><mtext><img src onerror=alert(1)>.png",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E.png",
    "<a href=javascript:alert(1)>x<a>.png",
    "`;alert(1);`.png",
    "\\u003cscript\\u003ealert(1).png",
    "<base href=http:evil>.png",
    "<object data=javascript:alert(1)>.png",
    "]]><script>alert(1)<.png",
]


@pytest.mark.reliability("S32")
def test_file_names_are_text_only(visit: Visitor, engine: Inverter) -> None:
    engine.seconds = 0.0
    one = visit()
    for name in HOSTILE:
        one.choose(sixteen()[0], name)
        # (a file's name has no slashes; the browser has put other marks in their place)
        shown = re.sub(r"[/\\]", ":", name)
        wait_until(lambda shown=shown: re.sub(r"[/\\]", ":", one.text("#name")) == shown)
        wait_until(lambda: one.text("#status").startswith("Done"))
    assert len(engine.orders) == len(set(HOSTILE)) == 20
    assert one.page.locator("#stage :is(script, svg, iframe, details, base, object, a)").count() == 0
    # (the fixture's check: no dialog, no console message, no foreign request)


def test_the_engine_is_called_in_the_loop_of_the_service(visit: Visitor, engine: Inverter, url: str) -> None:
    one = visit()
    one.choose(sixteen()[0], "a.png")
    one.result()
    assert engine.loop is not None
    assert engine.loop.is_running()


def test_nothing_is_written_and_no_other_host_is_asked(visit: Visitor) -> None:
    """From the import of Gradio on, in this process; Chromium's own files are its own."""
    one = visit()
    temporary = Path(tempfile.gettempdir()).resolve()
    WATCH.written.clear()
    one.choose(sixteen()[0], "canary.png")
    wait_until(lambda: one.text("#status").startswith("Done"))
    assert [name for name in WATCH.written if str(temporary) in str(Path(name).resolve())] == []
    assert set(WATCH.addresses) <= {"127.0.0.1", "localhost", "::1"}
