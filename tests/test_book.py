"""The built pages in a browser: self-contained, whole, accessible, and in agreement with the library.

Every page runs in a fresh profile, once served and once from the disk, and is watched: a request
that leaves the site, fails or is refused, and an error in a script, fail the test that opened it.
"""

import base64
import os
import re
import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import plotly.offline
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from tolerances import BROWSER

from kdlib import effective_logit, split_threshold

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())
EXPLORERS = ["book/index", "book/02_problem_setup"]

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

# The theme's own complaints: it declares Thebe's settings twice on every page, and finds no stored
# colour mode on a first visit.
KNOWN = ("Identifier 'THEBE_JS_URL' has already been declared", "Got invalid theme mode: . Resetting to auto.")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


# --- A browser, a site, a page that is watched --------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("KDLIB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not chromium:
        missing = "no Chromium: install Debian's chromium or Google Chrome, or set KDLIB_CHROMIUM to its path"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=FLAGS) as browser:
        yield browser


@pytest.fixture(scope="module")
def on_disk():
    if not (HTML / "index.html").exists():
        pytest.fail(f"no pages in {HTML.relative_to(ROOT)}: run make book first")
    return HTML.as_uri() + "/"


@pytest.fixture(scope="module")
def served(on_disk):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(params=["served", "on_disk"])
def site(request):
    return request.getfixturevalue(request.param)


@contextmanager
def opened(browser, site, path, *, viewport=DESKTOP, **settings):
    """A settled page of the site; on leaving, asserts that it gave no trouble."""
    troubles = []
    with browser.new_context(viewport=viewport, **settings) as context:
        context.set_default_timeout(20_000)
        context.on("request", lambda r: r.url.startswith((site, "data:", "blob:")) or troubles.append(f"left: {r.url}"))
        # "csp" is a script that was preloaded although scripts are switched off.
        context.on("requestfailed", lambda r: r.failure == "csp" or troubles.append(f"failed: {r.url} {r.failure}"))
        context.on("response", lambda r: r.status < 400 or troubles.append(f"{r.status}: {r.url}"))
        context.on("weberror", lambda e: troubles.append(f"script: {e.error}"))
        context.on("console", lambda m: m.type == "error" and troubles.append(f"console: {m.text}"))
        page = context.new_page()
        page.goto(site + path)
        if settings.get("java_script_enabled", True):
            settle(page)
        yield page
    assert not [trouble for trouble in troubles if not any(known in trouble for known in KNOWN)]


def settle(page):
    """Wait until formulas are typeset and figures drawn: both move what is below them."""
    page.wait_for_function("[...document.querySelectorAll('.math')].every((m) => m.querySelector('mjx-container'))")
    for figure in page.locator(".kd-figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg .trace").first.wait_for(state="attached")


# --- Every page ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_page_is_whole_on_a_phone(browser, site, path):
    with opened(browser, site, f"{path}.html", viewport=PHONE) as page:
        assert page.locator("mjx-merror").count() == 0
        # A formula that MathJax never saw stands in the text as it was typed.
        prose = page.locator("article").evaluate(
            "(n) => { n = n.cloneNode(true); n.querySelectorAll('pre, code, script, style, mjx-container')"
            ".forEach((code) => code.remove()); return n.textContent; }"
        )
        assert not re.search(r"\$|\\\(|\\\[", prose)
        assert page.locator("figure:not(:has(svg, img))").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def accessibility_violations(page):
    """What axe-core finds with everything unfolded: one line for each rule and element."""
    page.evaluate(
        "document.querySelectorAll('details').forEach((d) => { d.open = true; });"
        "document.querySelectorAll('.toggle-button-hidden').forEach((b) => b.click());"
    )
    # What unfolds fades in; its contrast counts when it has.
    page.evaluate("new Promise(requestAnimationFrame)")
    page.evaluate("Promise.all(document.getAnimations().map((a) => a.finished)).then(() => null)")
    # Preloading would fetch the style sheets anew, by addresses that it gets wrong.
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [f"{rule['id']}: {node['target']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_page_is_accessible(browser, served, path, scheme):
    with opened(browser, served, f"{path}.html", color_scheme=scheme) as page:
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


def test_page_is_accessible_in_a_chosen_theme(browser, served):
    """Dark by the page's own switch, on a system that prefers light."""
    chosen = [{"name": "mode", "value": "dark"}, {"name": "theme", "value": "dark"}]
    profile = {"cookies": [], "origins": [{"origin": served.rstrip("/"), "localStorage": chosen}]}
    with opened(browser, served, "book/02_problem_setup.html", color_scheme="light", storage_state=profile) as page:
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert accessibility_violations(page) == []


def test_search_finds_the_threshold(browser, served):
    with opened(browser, served, "search.html?q=threshold") as page:
        page.locator("#search-results li a").first.wait_for()


def test_vendored_plotly_is_the_one_python_writes_for():
    start = (ROOT / "book/vendor/plotly/plotly-basic.min.js").read_text()[:200]
    assert re.search(r"plotly\.js .*v(\S+)", start)[1] == plotly.offline.get_plotlyjs_version()


# --- The explorer -------------------------------------------------------------------------------


@pytest.fixture(params=EXPLORERS)
def explorer(request):
    return f"{request.param}.html"


def number(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def sliders(page):
    """rho, T and z_t, as the page shows them."""
    names = page.locator(".kd-explorer input").evaluate_all("(inputs) => inputs.map((i) => i.name)")
    return dict(zip(names, map(number, page.locator(".kd-explorer output").all_inner_texts()), strict=True))


def reading(page, name):
    return number(page.locator(f".kd-explorer [data-read={name}]").inner_text())


def curves(page):
    return [page.locator(f".kd-explorer svg path.kd-{side}").get_attribute("d") for side in ("right", "wrong")]


def wait_for_address(page):
    """Until the page's address holds what the sliders show."""
    shown = sliders(page)
    page.wait_for_url(lambda url: {name: float(value) for name, value in parse_qsl(urlsplit(url).fragment)} == shown)


def centred(locator):
    """The element's box in the viewport, scrolled away from the theme's sticky bars."""
    locator.evaluate("(n) => n.scrollIntoView({block: 'center', behavior: 'instant'})")
    return locator.bounding_box()


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


@pytest.mark.parametrize("name", ["rho", "T"])
def test_explorer_follows_the_keyboard(browser, site, explorer, name):
    with opened(browser, site, explorer) as page:
        before, drawn = sliders(page), curves(page)
        page.locator(f"input[name={name}]").focus()
        page.keyboard.press("ArrowRight")
        after = sliders(page)
        assert after[name] > before[name]
        assert all(new != old for new, old in zip(curves(page), drawn, strict=True))
        wait_for_address(page)


def test_explorer_follows_the_mouse(browser, site, explorer):
    with opened(browser, site, explorer) as page:
        before, drawn = sliders(page), curves(page)
        box = centred(page.locator("input[name=rho]"))
        middle, thumb = box["y"] + box["height"] / 2, 16
        start = box["x"] + thumb / 2 + before["rho"] * (box["width"] - thumb)
        drag(page, (start, middle), (start + box["width"] / 4, middle))
        after = sliders(page)
        assert after["rho"] == pytest.approx(before["rho"] + 0.25, abs=0.03)
        assert all(new != old for new, old in zip(curves(page), drawn, strict=True))

        box = centred(page.locator(".kd-explorer svg"))
        middle, right = box["y"] + box["height"] / 2, box["x"] + box["width"] - 1
        drag(page, (box["x"] + box["width"] / 3, middle), (right, middle))
        assert sliders(page) == {**after, "z_t": 10}
        wait_for_address(page)


def test_explorer_follows_a_finger(browser, site, explorer):
    with opened(browser, site, explorer, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        before = sliders(page)
        box = centred(page.locator(".kd-explorer svg"))
        page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
        assert 4 < sliders(page)["z_t"] < 8
        assert reading(page, "right") != reading(page, "wrong")
        assert sliders(page) == {**before, "z_t": sliders(page)["z_t"]}


def test_explorer_restores_a_link_and_agrees_with_the_library(browser, site, explorer):
    with opened(browser, site, explorer) as page:
        for rho, T, z_t in ((0.3, 2, -1), (0.95, 0.2, 7.5), (1, 5, 0)):
            state = {"rho": rho, "T": T, "z_t": z_t}
            page.goto("about:blank")  # else the page would stay, and only its address change
            page.goto(f"{site}{explorer}#" + "&".join(f"{name}={value}" for name, value in state.items()))
            assert sliders(page) == state
            label = int(z_t >= 0)
            expected = {
                "t": split_threshold(rho=rho, T=T),
                "right": effective_logit(z_t, label, rho=rho, T=T),
                "wrong": effective_logit(z_t, 1 - label, rho=rho, T=T),
            }
            for name, value in expected.items():
                assert abs(reading(page, name) - value) <= 0.005 + BROWSER  # two decimals are shown


def test_explorer_ignores_an_address_that_is_not_its_own(browser, served, explorer):
    seen = {}
    for fragment in ("", "rho=abc&T=-1", "rho=&T=", "%E0%A4%A", "rho=2&T=1e999", "some-section"):
        with opened(browser, served, f"{explorer}#{fragment}") as page:
            seen[fragment] = sliders(page), curves(page)
    assert seen == dict.fromkeys(seen, seen[""])


def test_explorer_says_that_hard_labels_alone_have_no_minimiser(browser, served, explorer):
    with opened(browser, served, explorer) as page:
        page.locator("input[name=rho]").focus()
        page.keyboard.press("Home")
        assert reading(page, "t") == np.inf
        assert "no finite minimiser" in page.locator(".kd-note").inner_text()


def test_explorer_is_a_still_picture_without_scripts(browser, site, explorer):
    with opened(browser, site, explorer, java_script_enabled=False) as page:
        assert page.locator("svg.kd-still").is_visible()


# --- The explorer's own solver ------------------------------------------------------------------


@pytest.fixture(scope="module")
def solver(browser):
    """effectiveLogit of the explorer's module, mapped over rows of arguments; errors by their names."""
    source = base64.b64encode((ROOT / "kdlib/explorers/effective_logit.js").read_bytes()).decode()
    with browser.new_context() as context:
        page = context.new_page()
        yield lambda rows: page.evaluate(
            """async ([url, rows]) => {
                const {effectiveLogit} = await import(url);
                const solve = (row) => { try { return effectiveLogit(...row); } catch (error) { return error.name; } };
                return rows.map(solve);
            }""",
            [f"data:text/javascript;base64,{source}", rows],
        )


def test_browser_and_library_agree(solver):
    sizes = [0, 1e-3, 1, 8, 40, 1e3]
    rows = [*product([*sizes, *(-z for z in sizes)], [0, 1], [0, 1e-300, 1e-6, 0.05, 0.5, 0.95, 1 - 1e-15, 1],
                     [0.05, 0.5, 1, 5, 1e3])]
    z_t, y_g, rho, T = np.array(rows).T
    z = np.asarray(effective_logit(z_t, y_g, rho=rho, T=T))
    in_browser = np.array(solver(rows), float)
    finite = np.isfinite(z)
    assert np.array_equal(in_browser[~finite], z[~finite])
    z, in_browser = z[finite], in_browser[finite]
    assert (np.abs(in_browser - z) <= BROWSER * np.maximum(1, np.abs(z))).all()


def test_browser_refuses_what_the_library_refuses(solver):
    nan, inf = float("nan"), float("inf")
    bad = [(nan, 1, 0.5, 1), (inf, 1, 0.5, 1), (0, 2, 0.5, 1), (0, 1, -0.1, 1), (0, 1, 1.5, 1), (0, 1, nan, 1),
           (0, 1, 0.5, 0), (0, 1, 0.5, inf)]
    assert solver(bad) == ["RangeError"] * len(bad)
