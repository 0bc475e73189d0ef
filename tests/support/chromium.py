"""Debian's Chromium, without a window, driven by playwright."""

import contextlib
import shutil

import pytest
from playwright.sync_api import sync_playwright

PATH = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(PATH is None, reason="needs Debian's package chromium")


@contextlib.contextmanager
def running(*options):
    """Start a browser with some of its options; end it behind the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PATH, args=["--no-sandbox", "--disable-dev-shm-usage", *options]
        )
        yield browser
        browser.close()
