"""What tests of connections need to know, and a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

import browsers
from anyrestore.server.protocol import DeadlineProtocol


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = browsers.launch(play)
        yield browser
        browser.close()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the service has taken from its clients' connections."""
    sizes = list[int]()
    real = DeadlineProtocol.data_received

    def note(self: DeadlineProtocol, data: bytes) -> None:
        sizes.append(len(data))
        real(self, data)

    monkeypatch.setattr(DeadlineProtocol, "data_received", note)
    return sizes
