"""The page with the service behind it, as people start it: a photo in, the slider, the result out.

In the suite a small network; with `ANYRESTORE_FULL=1` the model that people get, `cea-t`. The picture in
docs/server.md is made by

    export ANYRESTORE_FULL=1 ANYRESTORE_PAGE_PICTURE=docs/images/page.jpg
    pytest tests/server/test_page_real.py -k documentation
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Browser, Page

import browsers
import folder_runs
import pictures
import served
from anyrestore import image
from folder_runs import FULL
from page_service import wait_until
from served import Service

pytestmark = browsers.NEEDED
SAMPLE = Path(__file__).parents[2] / "samples" / "rocket-rain.png"
DRAWN = os.environ.get("ANYRESTORE_PAGE_PICTURE", "")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> object:
    return "cea-t" if FULL else folder_runs.weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def running(model: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with apart(served.service(folder, "--model", model, "--workers", 1, page=True)) as service:
        yield service


@contextlib.contextmanager
def apart(service: contextlib.AbstractContextManager[Service]) -> Iterator[Service]:
    """A service, started in a thread of its own: its start needs a loop, and Playwright has this one's."""
    with ThreadPoolExecutor(1) as thread, contextlib.ExitStack() as last:
        running = thread.submit(service.__enter__).result()
        last.callback(service.__exit__, None, None, None)
        yield running


def text(page: Page, where: str) -> str:
    return page.text_content(where) or ""


def open_page(browser: Browser, service: Service, *, width: int, dark: bool, **more: Any) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if dark else "light",
        has_touch=width < 500,
        **more,
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{service.port}")
    page.wait_for_selector("#drop")
    wait_until(lambda: page.input_value("#model input"))
    return page


def restored(page: Page, data: bytes, name: str) -> bytes:
    """What is downloaded when this was chosen, and the slider was pulled."""
    page.set_input_files("#file", files=[{"name": name, "mimeType": "", "buffer": data}])
    wait_until(lambda: text(page, "#name") == name)
    wait_until(lambda: text(page, "#status").startswith("Done"), seconds=60)
    assert text(page, "#alarm") == ""
    page.focus("#compare input")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('#compare').style.getPropertyValue('--cut')") == "1%"
    for where in ("before", "after"):
        assert page.evaluate(f"document.querySelector('#compare .{where}').naturalWidth") > 0
    with page.expect_download() as waiting:
        page.click("#download")
    stem, dot, ending = name.rpartition(".")
    assert waiting.value.suggested_filename == f"{stem}-restored{dot}{ending}"
    return Path(waiting.value.path()).read_bytes()


def photos() -> dict[str, bytes]:
    deep = pictures.ramp("uint16", width=90, height=64)
    turned, exif = io.BytesIO(), PIL.Image.Exif()
    exif[0x112] = 6  # as telephones write pictures that stand upright
    shallow = PIL.Image.fromarray(pictures.ramp(width=88, height=60))
    shallow.save(turned, "jpeg", quality=92, exif=exif)
    return {"deep.png": pictures.png(deep), "IMG_0042.JPG": turned.getvalue()}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_photo_in_and_out(browser: Browser, running: Service, width: int, dark: bool) -> None:
    page = open_page(browser, running, width=width, dark=dark)
    asked, complaints = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    # (Gradio ends a stream of events itself once there is nothing more to tell)
    page.on(
        "requestfailed",
        lambda request: None if "queue/data" in request.url else complaints.append(request.url),
    )
    page.reload()
    wait_until(lambda: page.input_value("#model input"))
    assert page.title() == "Restore a photo"
    assert page.evaluate("document.documentElement.lang") == "en"
    for name, data in photos().items():
        sent, got = image.decode(data), image.decode(restored(page, data, name))
        assert (got.format, got.pixels.shape) == (sent.format, sent.pixels.shape)
        assert got.pixels.dtype == sent.pixels.dtype
        assert not np.array_equal(got.pixels, sent.pixels)
    own = rf"(blob:)?http://127\.0\.0\.1:{running.port}/"
    assert [url for url in asked if not re.match(own, url)] == []
    assert complaints == []
    page.context.close()


_CONTRASTS = Path(__file__).with_name("contrasts.js").read_text("utf-8")


def flaws(page: Page) -> list[str]:
    """Texts of too little contrast, and what is too small for a finger, of all that is to be seen now."""
    return page.evaluate(_CONTRASTS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_can_be_read_and_touched(browser: Browser, running: Service, dark: bool) -> None:
    """WCAG 2.2: contrast of 4.5:1 (1.4.3); 40 pixels to touch, more than its 24 (2.5.8); less motion."""
    page = open_page(browser, running, width=390, dark=dark, reduced_motion="reduce")
    assert flaws(page) == []
    deep = photos()["deep.png"]
    page.set_input_files("#file", files=[{"name": "cut.png", "mimeType": "", "buffer": deep[:200]}])
    wait_until(lambda: text(page, "#alarm"))
    assert page.is_visible("#drop")  # not half a picture
    assert page.evaluate("document.querySelector('#alarm').getBoundingClientRect().bottom <= innerHeight")
    assert flaws(page) == []
    restored(page, deep, "deep.png")
    assert flaws(page) == []
    assert page.get_attribute("#told", "role") == "status"
    assert text(page, "#told") == text(page, "#status")
    moving = (
        "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration))"
    )
    assert page.evaluate(f"{moving}.length") == 0
    page.context.close()


def test_a_result_survives_the_end_of_the_service(browser: Browser, model: object, tmp_path: Path) -> None:
    """SIGTERM while an order of the page is being done: the page gets its result, in a further request."""
    with apart(served.service(tmp_path, "--model", model, "--workers", 1, page=True)) as service:
        page = open_page(browser, service, width=1280, dark=False)
        large = pictures.png(np.tile(pictures.ramp(width=100, height=100), (7, 7, 1)))
        page.set_input_files("#file", files=[{"name": "a.png", "mimeType": "", "buffer": large}])
        wait_until(lambda: text(page, "#status").startswith("Restoring"))
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: text(page, "#status").startswith("Done") or text(page, "#alarm"), seconds=60)
        assert text(page, "#alarm") == ""
        assert service.process.wait(20) == 0
        page.click("#restore")
        wait_until(lambda: "connection" in text(page, "#alarm"))
        assert page.is_visible("#download")  # what there is stays
        page.context.close()


@pytest.mark.skipif(not DRAWN, reason="draws docs/images/page.jpg; name it in $ANYRESTORE_PAGE_PICTURE")
def test_picture_for_the_documentation(browser: Browser, running: Service) -> None:
    parts = list[PIL.Image.Image]()
    for width, height, dark in ((1280, 800, False), (390, 800, True)):
        page = open_page(browser, running, width=width, dark=dark)
        page.set_viewport_size({"width": width, "height": height})
        data = SAMPLE.read_bytes()
        page.set_input_files("#file", files=[{"name": "rocket.png", "mimeType": "", "buffer": data}])
        wait_until(lambda page=page: text(page, "#status").startswith("Done"), seconds=60)
        page.evaluate("document.activeElement.blur()")
        page.evaluate("scrollTo(0, 0)")
        parts.append(PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        page.context.close()
    gap = 24
    sheet = PIL.Image.new("RGB", (sum(part.width for part in parts) + gap, 800), "white")
    sheet.paste(parts[0], (0, 0))
    sheet.paste(parts[1], (parts[0].width + gap, 0))
    sheet.save(DRAWN, quality=68, optimize=True)
    assert Path(DRAWN).stat().st_size < 120_000
