"""Chromium, for what needs a browser: the tests of the pages, the printed book, the benchmarks of the explorers."""

import os
import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


class NoChromium(SystemExit):
    """None is installed: the end of a script, unless it says otherwise."""


@contextmanager
def launched():
    """A headless browser.

    Raises:
        NoChromium: with what to install.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("KDLIB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not chromium:
        raise NoChromium("no Chromium: install Debian's chromium or Google Chrome, or set KDLIB_CHROMIUM to its path")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=FLAGS) as browser:
        yield browser


def settle(page):
    """Wait until formulas are typeset and figures drawn: both move what is below them."""
    waiting = ".math:not(:has(mjx-container)), .kd-figure:not(:has(svg.main-svg .trace))"
    page.wait_for_function("(waiting) => !document.querySelector(waiting)", arg=waiting)
