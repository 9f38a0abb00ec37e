"""A page of the built book in a browser, watched.

Every page runs in a fresh profile, and a request that leaves the site, fails or is refused, and an error in a script,
fail the test that opened it.
"""

import re
from contextlib import contextmanager
from pathlib import Path

from chromium import settle

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text("utf-8"))

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE = 300_000  # milliseconds: beside other work a long page may take more than a minute

# The theme's own complaint: it finds no stored colour mode on a first visit.
KNOWN = ("Got invalid theme mode: . Resetting to auto.",)

# A script that was preloaded although scripts are switched off; what was still to come when a test left the page.
HARMLESS = ("csp", "net::ERR_ABORTED")

# What takes most of a page's time, formulas, icons and figures, and what stands in for it where the rest is tested.
STAND_INS = {"mathjax": "", "fontawesome": "", "plotly": "globalThis.Plotly = { newPlot() {} };"}

ALONE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Alone</title>
<link rel="icon" href="data:,"></head><body><main style="max-width: 50rem; margin: auto">%s</main></body></html>"""


@contextmanager
def opened(browser, site, path, *, whole=True, only=None, viewport=DESKTOP, **settings):
    """A page of the site; on leaving, asserts that it gave no trouble.

    One that is not to be whole is there sooner, without formulas, icons and figures; one explorer `only`, at once.
    """
    troubles = []
    with browser.new_context(viewport=viewport, **settings) as context:
        context.set_default_timeout(60_000)
        context.set_default_navigation_timeout(PATIENCE)
        context.on("request", lambda r: r.url.startswith((site, "data:", "blob:")) or troubles.append(f"left: {r.url}"))
        context.on("requestfailed", lambda r: r.failure in HARMLESS or troubles.append(f"failed: {r.url} {r.failure}"))
        context.on("response", lambda r: r.status < 400 or troubles.append(f"{r.status}: {r.url}"))
        context.on("weberror", lambda e: troubles.append(f"script: {e.error}"))
        context.on("console", lambda m: m.type == "error" and troubles.append(f"console: {m.text}"))
        for name, script in ({} if whole else STAND_INS).items():
            serve(context, rf"/_static/.*{name}\b.*\.js", "text/javascript", script)
        if only:
            file = path.split("#")[0]
            serve(context, re.escape(site + file), "text/html; charset=utf-8", ALONE % cut_out(file, only))
        page = context.new_page()
        page.goto(site + path)
        if settings.get("java_script_enabled", True):
            (settle if whole and not only else explorers_are_live)(page)
        yield page
    assert not [trouble for trouble in troubles if not any(known in trouble for known in KNOWN)]


def serve(context, address, kind, text):
    """In place of what is at such addresses."""
    context.route(re.compile(address), lambda route: route.fulfill(content_type=kind, body=text))


def cut_out(file, selector):
    """An explorer as it is in a page: styles, element and script."""
    page = (HTML / file).read_text("utf-8")
    kind = selector.removeprefix(".")
    [found] = re.findall(rf'<style>[^<]*</style>\s*<div class="kd-explorer {kind}".*?</script>', page, re.DOTALL)
    return found


def explorers_are_live(page):
    """Wait until their scripts have drawn them in place of the still pictures, at the width that they have at last."""
    page.wait_for_function("!document.querySelector('.kd-explorer > .kd-still')")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
