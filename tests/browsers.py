"""A browser for tests of pages: Chromium, where there is one."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.sync_api import Browser, Playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
NEEDED = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; name one in $CHROMIUM")


def launch(play: Playwright) -> Browser:
    """Headless; containers have no rights for its sandbox."""
    return play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
