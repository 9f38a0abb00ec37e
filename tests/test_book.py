"""The built pages in a browser: self-contained, whole, accessible, and in agreement with the library.

Every page runs in a fresh profile, once served and once from the disk, and is watched: a request
that leaves the site, fails or is refused, and an error in a script, fail the test that opened it.
"""

import base64
import os
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import unescape
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, unquote, urlsplit

import nbformat
import numpy as np
import plotly.offline
import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import NoChromium, launched, settle
from extensions.execution import Book, code_cells, seconds
from playwright.sync_api import Page
from scipy.ndimage import zoom
from tolerances import BROWSER, ROUNDING

from kdlib import effective_logit, split_threshold
from kdlib.claims import CLAIMS, OURS, VERDICTS, read_ledger
from kdlib.explorers import (
    CorrectionExplorer,
    EffectiveLogitExplorer,
    InefficiencyExplorer,
    RiskExplorer,
    StudentExplorer,
)
from kdlib.explorers.correction import SIDE, crossings, wrong_share
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text("utf-8"))
NOTEBOOKS = Book(ROOT).notebooks()
# Seconds: three times what a cell may take on two idle cores, and what the calibration takes there.
CELL, CALIBRATION = 3 * 20, 0.07
EXPLORERS = ["book/index", "book/02_problem_setup"]  # the effective logit's pages
STUDENT = "book/02_problem_setup.html", ".kd-student", "s."  # page, selector, the address's prefix
RISK = "book/03_transfer_risk.html", ".kd-risk", "r."
INEFFICIENCY = "book/04_data_inefficiency.html", ".kd-inefficiency", "i."
CORRECTION = "book/05_imperfect_teacher.html", ".kd-correction", "c."

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

# The theme's own complaints: it declares Thebe's settings twice on every page, and finds no stored
# colour mode on a first visit.
KNOWN = ("Identifier 'THEBE_JS_URL' has already been declared", "Got invalid theme mode: . Resetting to auto.")


# --- A browser, a site, a page that is watched --------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    try:
        with launched() as browser:
            yield browser
    except NoChromium as missing:
        pytest.fail(str(missing)) if os.environ.get("CI") else pytest.skip(str(missing))


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
        context.set_default_timeout(60_000)
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


# --- Every page ---------------------------------------------------------------------------------


class Anchors(HTMLParser):
    """What a page can be linked by, and what it links to within the site."""

    def __init__(self, html):
        super().__init__()
        self.targets, self.links = {""}, set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.targets.add(attributes.get("id"))
        if tag == "a" and (href := attributes.get("href")) and not urlsplit(href).scheme:
            self.links.add(href)


def test_internal_links_lead_somewhere(on_disk):
    pages = {path: Anchors(path.read_text("utf-8")) for path in HTML.rglob("*.html")}
    broken = set()
    for path, page in pages.items():
        for href in page.links:
            link = urlsplit(href)
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            fragment = unquote(link.fragment)
            if not target.exists() or (target in pages and fragment not in pages[target].targets):
                broken.add(f"{path.relative_to(HTML)}: {href}")
    assert not broken


def test_every_claim_has_a_verdict_or_is_open(on_disk):
    """In the ledger each has one row; the open ones are those that no notebook prints a verdict of."""
    html = (HTML / "book/claims.html").read_text("utf-8")
    verdicts = {}
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.source == "claims" and cell.outputs:
                found = read_ledger(cell.outputs[0].data["text/plain"])
                assert found and not found.keys() & verdicts, f"{path.name} measures a claim again"
                verdicts |= {claim: verdict for claim, (verdict, _) in found.items()}
    rows = re.findall(r'<tr id="claim-([\d-]+)">(.*?)</tr>', html, re.DOTALL)
    assert sorted(claim.replace("-", ".") for claim, _ in rows) == sorted(CLAIMS)
    shown = {claim.replace("-", "."): re.search(r"<b>([a-z ]+)</b></a>", row) for claim, row in rows}
    assert {claim: found[1] for claim, found in shown.items() if found} == verdicts

    papers = {claim for claim, each in CLAIMS.items() if each["place"] != OURS}
    counts = Counter(verdicts.get(claim, "open") for claim in papers)
    total = re.search(r"<b>all</b></th>(.*?)</tr>", (HTML / "book/index.html").read_text("utf-8"))[1]
    assert [int(n.replace("–", "0")) for n in re.findall(r"<td>(.*?)</td>", total)] == [
        counts[verdict] for verdict in (*VERDICTS, "open") if verdict != "open" or counts[verdict]]


@pytest.mark.parametrize("path", PAGES)
def test_page_is_light_and_says_elsewhere_what_it_is(on_disk, path):
    file = HTML / f"{path}.html"
    assert file.stat().st_size <= 1_000_000
    page = file.read_text("utf-8")
    assert "widget-state+json" not in page
    card = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)"', page))
    assert card["title"] and len(card["description"]) > 50
    assert (HTML / "_static" / Path(card["image"]).name).exists()
    assert card["site_name"] == "Distillation, Measured"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_how_long_it_took_and_no_cell_takes_long(on_disk, path):
    article = (HTML / f"book/{path.stem}.html").read_text("utf-8")
    shown = re.search(r"It takes</em>\s+(\d+) seconds", article)
    run = Book(ROOT).kept_run(path)
    assert run, f"{path.stem} or something that it uses has changed since: run make book first"
    assert int(shown[1]) == round(run.seconds)
    allowed = CELL * max(1, run.calibration / CALIBRATION)
    long = {cell.execution_count: seconds(cell) for cell in code_cells(run.notebook) if seconds(cell) > allowed}
    assert not long, f"a cell of {path.stem} may take {allowed:.0f} s on a machine as busy as this one"


@pytest.mark.parametrize("path", PAGES)
def test_page_is_whole_on_a_phone(browser, on_disk, path):
    with opened(browser, on_disk, f"{path}.html", viewport=PHONE) as page:
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
    start = (ROOT / "book/vendor/plotly/plotly-basic.min.js").read_text("utf-8")[:200]
    assert re.search(r"plotly\.js .*v(\S+)", start)[1] == plotly.offline.get_plotlyjs_version()


def test_every_module_is_in_the_reference():
    modules = {path.stem for path in (ROOT / "kdlib").glob("[a-z]*.py")} | {"explorers", "experiments"}
    assert modules == set(re.findall(r"automodule:: kdlib\.(\w+)", (ROOT / "book/reference.md").read_text("utf-8")))


def test_every_parameter_of_the_notebooks_is_among_the_settings(on_disk):
    page = (HTML / "book/appendix_s4.html").read_text("utf-8")
    tables = re.findall(r'<table class="claims settings">.*?</table>', page, re.DOTALL)
    for path in NOTEBOOKS:
        [cell] = [c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
        table = next(table for table in tables if f'href="{path.stem}.html"' in table)
        rows = re.findall(r"<tr><th[^>]*><code>(\w+)</code></th><td><code>(.*?)</code></td><td>(.+?)</td>", table)
        expected = re.findall(r"^(\w+) = (.*?)  # (.*)$", cell.source, re.MULTILINE)
        assert [(name, unescape(value), unescape(comment)) for name, value, comment in rows] == [
            (name, value.replace('"', "'"), comment) for name, value, comment in expected]


# --- The explorers ------------------------------------------------------------------------------


@dataclass
class Shown:
    """An explorer on a page: what it shows, and which keys of the address are its own."""

    page: Page
    selector: str = ".kd-effective-logit"
    prefix: str = ""

    def find(self, inside):
        return self.page.locator(f"{self.selector} {inside}")

    def sliders(self):
        names = self.find("input").evaluate_all("(inputs) => inputs.map((i) => i.name)")
        return dict(zip(names, map(number, self.find("output").all_inner_texts()), strict=True))

    def reading(self, name):
        return number(self.find(f"[data-read={name}]").inner_text().removesuffix(" %").removesuffix("°"))

    def curves(self):
        return self.find("svg path").evaluate_all("(paths) => paths.map((p) => p.getAttribute('d'))")

    def keys(self, state):
        return {self.prefix + name: value for name, value in state.items()}

    def wait_for_address(self):
        """Until the page's address holds what the sliders show."""
        shown = self.keys(self.sliders()).items()
        self.page.wait_for_url(lambda url: shown <= fragment(url).items())

    def press(self, name, key):
        self.find(f"input[name={name}]").focus()
        self.page.keyboard.press(key)


@contextmanager
def opened_at(browser, site, home, state):
    """An explorer of students, at an address that holds the state."""
    path, selector, prefix = home
    with opened(browser, site, f"{path}#{address(state, prefix)}") as page:
        yield Shown(page, selector, prefix)


@pytest.fixture(params=EXPLORERS)
def explorer(request):
    return f"{request.param}.html"


def number(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def fragment(url):
    return {name: float(value) for name, value in parse_qsl(urlsplit(url).fragment)}


def visit(page, url):
    """Load the page anew, though only what follows # in its address may differ."""
    page.goto("about:blank")
    page.goto(url)


def address(state, prefix=""):
    """What follows # in the address of an explorer in this state."""
    return "&".join(f"{prefix}{name}={value}" for name, value in state.items())


def centred(locator):
    """The element's box in the viewport, scrolled away from the theme's sticky bars."""
    locator.evaluate("(n) => n.scrollIntoView({block: 'center', behavior: 'instant'})")
    return locator.bounding_box()


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def drag_ratio(shown):
    """Drag the soft ratio's thumb to the right by a quarter of the slider."""
    box = centred(shown.find("input[name=rho]"))
    middle, thumb = box["y"] + box["height"] / 2, 16
    start = box["x"] + thumb / 2 + shown.sliders()["rho"] * (box["width"] - thumb)
    drag(shown.page, (start, middle), (start + box["width"] / 4, middle))


def assert_key_moves(shown, name):
    """This slider and no other, the curves, and the address."""
    before, drawn = shown.sliders(), shown.curves()
    shown.press(name, "ArrowRight")
    after = shown.sliders()
    assert after[name] > before[name]
    assert after == {**before, name: after[name]}
    assert shown.curves() != drawn
    shown.wait_for_address()


def test_explorer_follows_the_keyboard(browser, site, explorer):
    with opened(browser, site, explorer) as page:
        for name in ("rho", "T"):
            assert_key_moves(Shown(page), name)


def test_explorer_follows_the_mouse(browser, site, explorer):
    with opened(browser, site, explorer) as page:
        shown = Shown(page)
        before, drawn = shown.sliders(), shown.curves()
        drag_ratio(shown)
        after = shown.sliders()
        assert after["rho"] == pytest.approx(before["rho"] + 0.25, abs=0.03)
        assert shown.curves() != drawn

        box = centred(shown.find("svg"))
        middle, right = box["y"] + box["height"] / 2, box["x"] + box["width"] - 1
        drag(page, (box["x"] + box["width"] / 3, middle), (right, middle))
        assert shown.sliders() == {**after, "z_t": 10}
        shown.wait_for_address()


def test_explorer_follows_a_finger(browser, site, explorer):
    with opened(browser, site, explorer, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        shown = Shown(page)
        before = shown.sliders()
        box = centred(shown.find("svg"))
        page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
        after = shown.sliders()
        assert 4 < after["z_t"] < 8
        assert shown.reading("right") != shown.reading("wrong")
        assert after == {**before, "z_t": after["z_t"]}


def test_explorer_restores_a_link_and_agrees_with_the_library(browser, site, explorer):
    with opened(browser, site, explorer) as page:
        for rho, T, z_t in ((0.3, 2, -1), (0.95, 0.2, 7.5), (1, 5, 0)):
            state = {"rho": rho, "T": T, "z_t": z_t}
            visit(page, f"{site}{explorer}#{address(state)}")
            shown = Shown(page)
            assert shown.sliders() == state
            label = int(z_t >= 0)
            expected = {
                "t": split_threshold(rho=rho, T=T),
                "right": effective_logit(z_t, label, rho=rho, T=T),
                "wrong": effective_logit(z_t, 1 - label, rho=rho, T=T),
            }
            for name, value in expected.items():
                assert abs(shown.reading(name) - value) <= 0.005 + BROWSER  # two decimals are shown


def test_explorer_ignores_an_address_that_is_not_its_own(browser, served, explorer):
    foreign = "rho=abc&T=-1", "rho=&T=", "%E0%A4%A", "rho=2&T=1e999", "s.rho=0.1", "some-section"
    assert_ignored(browser, served, (explorer, ".kd-effective-logit", ""), foreign)


def assert_ignored(browser, site, home, fragments):
    """The explorer starts as it does without any of them."""
    path, *own = home
    seen = {}
    with opened(browser, site, path) as page:
        for after in ("", *fragments):
            visit(page, f"{site}{path}#{after}")
            seen[after] = Shown(page, *own).sliders(), Shown(page, *own).curves()
    assert seen == dict.fromkeys(seen, seen[""])


def test_explorer_says_that_hard_labels_alone_have_no_minimiser(browser, served, explorer):
    with opened(browser, served, explorer) as page:
        shown = Shown(page)
        shown.press("rho", "Home")
        assert shown.reading("t") == np.inf
        assert "no finite minimiser" in shown.find(".kd-note").inner_text()


@pytest.mark.parametrize("home, names", [(STUDENT, "rho T n epoch draw"), (RISK, "rho T n epoch"),
                                         (CORRECTION, "rho T n epoch"), (INEFFICIENCY, "q epoch rho p_flip n")])
def test_explorer_of_students_follows_the_keyboard(browser, site, home, names):
    with opened_at(browser, site, home, {"rho": 0.5}) as shown:
        assert sorted(shown.sliders()) == sorted(names.split())
        for name in names.split():
            assert_key_moves(shown, name)


@pytest.mark.parametrize("home, chart, holds", [(STUDENT, 0, {"n": 200}), (RISK, 0, {"n": 200}),
                                                (INEFFICIENCY, 0, {"n": 94}),
                                                (CORRECTION, 0, {"rho": 1}), (CORRECTION, 1, {"epoch": 16384})])
def test_explorer_of_students_follows_the_mouse(browser, site, home, chart, holds):
    with opened_at(browser, site, home, {"rho": 0.5}) as shown:
        before, drawn = shown.sliders(), shown.curves()
        drag_ratio(shown)
        after = shown.sliders()
        assert after["rho"] == pytest.approx(before["rho"] + 0.25, abs=0.05)
        assert shown.curves() != drawn

        box = centred(shown.find("svg.kd-drag").nth(chart))
        middle, right = box["y"] + box["height"] / 2, box["x"] + box["width"] - 1
        drag(shown.page, (box["x"] + box["width"] / 3, middle), (right, middle))
        assert shown.sliders() == {**after, **holds}
        shown.wait_for_address()


def test_student_restores_a_link_and_agrees_with_the_library(browser, site, task):
    for rho, T, n, epoch, draw in ((0.5, 5, 20, 1024, 1), (0.05, 2, 37, 16, 3), (1, 1, 200, 16384, 6)):
        state = {"rho": rho, "T": T, "n": n, "epoch": epoch, "draw": draw}
        with opened_at(browser, site, STUDENT, state) as shown:
            assert shown.sliders() == state
            expected = in_python(task, [n], rho=rho, T=T, epoch=epoch, draw=draw)
            assert abs(shown.reading("norm") - expected["norms"][n - 1]) <= 0.006
            for name, z in (("teacher", expected["teacher"]), ("student", expected["curves"][0])):
                assert abs(shown.reading(name) - 100 * error_rate(task, z)) <= 0.1


def test_risk_restores_a_link_and_agrees_with_the_library(browser, site, task):
    for rho, T, n, epoch in ((1, 5, 20, 64), (0.9, 2, 60, 1024), (0.5, 5, 200, 16384)):
        state = {"rho": rho, "T": T, "n": n, "epoch": epoch}
        with opened_at(browser, site, RISK, state) as shown:
            assert shown.sliders() == state
            expected = risk_in_python(task, [n], np.linspace(-3, 3, 6001), **state)
            assert abs(shown.reading("angle") - np.degrees(expected["angles"][n - 1])) <= 0.051
            for name in ("risk", "power", "theorem"):
                assert abs(shown.reading(name) - 100 * expected[name][0]) <= 0.5


def test_inefficiency_restores_a_link_and_agrees_with_the_library(browser, site):
    for q, epoch, rho, p_flip, n in ((6, 1024, 0.5, 0, 30), (12, 16, 0, 0.1, 2), (2, 16384, 1, 0.5, 94)):
        state = {"q": q, "epoch": epoch, "rho": rho, "p_flip": p_flip, "n": n}
        with opened_at(browser, site, INEFFICIENCY, state) as shown:
            assert shown.sliders() == state
            found = InefficiencyExplorer(**state).solve()[-1]
            assert abs(shown.reading("value") - found.values[n - 2]) <= 0.006  # two decimals are shown
            assert abs(shown.reading("error") - found.errors[n - 2]) <= 0.006


def test_correction_restores_a_link_and_agrees_with_the_library(browser, site):
    for rho, T, n, epoch in ((0.95, 5, 128, 2048), (0, 2, 8, 16), (1, 20, 256, 16384)):
        state = {"rho": rho, "T": T, "n": n, "epoch": epoch}
        with opened_at(browser, site, CORRECTION, state) as shown:
            assert shown.sliders() == state
            explorer = CorrectionExplorer(**state)
            (_, errors), parts = explorer.solve([rho, 1, 0]), explorer.project()
            for name, error in zip(("student", "soft", "hard"), errors, strict=True):
                assert abs(shown.reading(name) - 100 * error) <= 0.051  # one decimal is shown
            i = n - 1, CorrectionExplorer().task["epochs"].index(epoch)
            derivative = (parts.projection / (parts.truth * parts.teacher))[i]
            assert abs(shown.reading("derivative") - derivative) <= 0.006
            assert (derivative > 0) == ("towards the truth" in shown.find(".kd-note").inner_text()) or rho == 0


def test_correction_of_hard_labels_alone_is_that_of_their_signs(browser, served):
    with opened_at(browser, served, CORRECTION, {"rho": 0.5, "epoch": 64}) as shown:
        shown.press("rho", "Home")
        assert shown.reading("student") == shown.reading("hard") < shown.reading("soft")
        assert "±∞" in shown.find(".kd-note").inner_text()
        corrected, wrong = shown.find("[data-read=corrected]").inner_text().split(" of ")
        assert int(corrected) == int(wrong) > 0
        shown.press("rho", "End")
        assert shown.reading("student") == shown.reading("soft")
        assert shown.find("[data-read=corrected]").inner_text().startswith("0 of ")


def test_correction_stays_whole_at_any_temperature(browser, served):
    """At 0.001 no first hard label is finite; the map, the errors and the note still are."""
    for T, derivative in ((0.001, "–"), (1000, "+")):
        with opened_at(browser, served, CORRECTION, {"T": T}) as shown:
            assert shown.find("[data-read=derivative]").inner_text().startswith(derivative)
            assert np.isfinite(shown.reading("student"))
            assert not any("NaN" in (d or "") for d in shown.curves())


@pytest.mark.parametrize("home", [STUDENT, RISK, INEFFICIENCY, CORRECTION])
def test_explorer_of_students_ignores_an_address_that_is_not_its_own(browser, served, home):
    foreign = "?n=2.5&?epoch=100&?draw=7&?rho=-1&?T=0", "?n=201&?draw=", "?q=5&?p_flip=0.6", "rho=0.1&n=3"
    assert_ignored(browser, served, home, [after.replace("?", home[2]) for after in foreign])


@pytest.mark.parametrize("home, name, nothing", [(STUDENT, "norm", "+∞"), (RISK, "theorem", "–")])
def test_students_of_hard_labels_alone_are_not_drawn(browser, served, home, name, nothing):
    with opened_at(browser, served, home, {"rho": 0.01}) as shown:
        drawn = shown.find("svg :is(path.kd-fit, path.kd-dot, path.kd-band)")
        shown.press("rho", "Home")
        assert shown.find(f"[data-read={name}]").inner_text() == nothing
        assert "no student converges" in shown.find(".kd-note").inner_text()
        assert not any(path.is_visible() for path in drawn.all())
        shown.press("rho", "ArrowRight")
        assert np.isfinite(shown.reading(name))
        assert drawn.first.is_visible()


def test_risk_says_what_is_an_artefact(browser, served):
    """Where the oracle is a stand-in, and where it is compared with itself."""
    for rho, n, said in ((0.9, 50, "stands in"), (0.9, 200, "compared with itself"), (1, 20, "says nothing"),
                         (1, 200, "Outside the strip both must agree")):
        with opened_at(browser, served, RISK, {"rho": rho, "n": n}) as shown:
            assert said in shown.find(".kd-note").inner_text()
            assert (shown.reading("angle") == 0) == (said == "compared with itself")


def test_two_explorers_share_an_address(browser, site):
    with opened(browser, site, STUDENT[0]) as page:
        both = [Shown(page), Shown(page, *STUDENT[1:])]
        for shown in both:
            shown.press("rho", "ArrowRight")
            shown.press("T", "ArrowLeft")
        for shown in both:
            shown.wait_for_address()
        states = [shown.sliders() for shown in both]
        visit(page, f"{site}{STUDENT[0]}#{address(fragment(page.url))}")
        assert [shown.sliders() for shown in both] == states


@pytest.mark.parametrize("path, selector", [*((f"{path}.html", ".kd-effective-logit") for path in EXPLORERS),
                                            STUDENT[:2], RISK[:2], INEFFICIENCY[:2], CORRECTION[:2]])
def test_explorer_is_a_still_picture_without_scripts(browser, site, path, selector):
    with opened(browser, site, path, java_script_enabled=False) as page:
        assert page.locator(f"{selector} .kd-still").is_visible()


# --- The explorers' own solvers -----------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluate(browser):
    """Calls a JavaScript function (module, argument) in a page, with the module of an explorer's class."""
    with browser.new_context() as context:
        page = context.new_page()

        def call(explorer, function, argument):
            source = base64.b64encode(explorer._esm.encode()).decode()
            arguments = [f"data:text/javascript;base64,{source}", argument]
            return page.evaluate(f"async ([url, argument]) => ({function})(await import(url), argument)", arguments)

        yield call


@pytest.fixture(scope="module")
def solver(evaluate):
    """effectiveLogit mapped over rows of arguments; errors by their names."""
    return lambda rows: evaluate(
        EffectiveLogitExplorer,
        """({effectiveLogit}, rows) => rows.map((row) => {
            try { return effectiveLogit(...row); } catch (error) { return error.name; }
        })""",
        rows,
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


NETWORK = fully_connected(3, width=512)


@pytest.fixture(scope="module")
def task():
    return StudentExplorer().task


def in_python(task, sizes, *, rho, T, epoch, draw):
    """Norms of all students and some of their curves, by the library."""
    grid = np.linspace(-3, 3, 193)[:, None]
    x, x_t = np.array(task["samples"][draw - 1])[:, None], np.array(task["x_t"])[:, None]
    coefficients = task["coefficients"][task["epochs"].index(epoch)]
    y_g = np.searchsorted(task["boundaries"], x[:, 0]) % 2
    z = effective_logit(NETWORK.ntk(x, x_t) @ coefficients, y_g, rho=rho, T=T)
    students = NestedStudents(x, NETWORK.ntk)
    return {"teacher": NETWORK.ntk(grid, x_t) @ coefficients, "norms": students.weight_norms(z),
            "curves": students.predict(grid, z, sizes)}


def risk_in_python(task, sizes, x_test, *, rho, T, n=None, epoch):
    """Angles and gaps of all students; of some, the curves, and the probabilities by counting test points."""
    stop = task["epochs"].index(epoch)
    teacher = lambda x: NETWORK.ntk(x, np.array(task["x_t"])[:, None]) @ task["coefficients"][stop]
    x, grid = np.array(task["samples"][0])[:, None], np.asarray(x_test)[:, None]
    students = NestedStudents(x, NETWORK.ntk)
    z = effective_logit(teacher(x), teacher(x) > 0, rho=rho, T=T)
    norms, (*curves, oracle) = students.weight_norms(z), students.predict(grid, z, [*sizes, len(x)])
    norm = norms[-1]
    if rho == 1:
        oracle, norm = teacher(grid), task["weight_norms"][stop]
    gaps = np.sqrt(np.maximum(norm**2 - norms**2, 0))
    gap, curves, distances = gaps[np.array(sizes) - 1][:, None], np.array(curves), students.distance(grid, sizes)
    q = kernel = 1 + grid[:, 0] ** 2  # Theta(x, x) of a network whose weights and biases have a variance of 1
    for _ in range(NETWORK.depth):
        q = 1 + q / 2
        kernel = kernel / 2 + q
    share = lambda event: np.average(event, axis=-1, weights=np.exp(-(grid[:, 0] ** 2) / 2))
    return {"oracle": oracle, "gaps": gaps, "angles": np.arccos(np.minimum(norms / norm, 1)), "curves": curves,
            "distances": distances, "risk": share(curves * oracle < 0), "power": share(abs(oracle) < gap * distances),
            "theorem": share(abs(oracle) <= gap * np.sqrt(kernel))}


def error_rate(task, z):
    """Probability of the wrong class under x ~ N(0, 1) in [-3, 3], on a grid fine enough not to matter."""
    x = np.linspace(-3, 3, 60_001)
    wrong = (np.interp(x, np.linspace(-3, 3, 193), z) > 0) != np.searchsorted(task["boundaries"], x) % 2
    return np.average(wrong, weights=np.exp(-(x**2) / 2))


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("depth, sigma_w, sigma_b", [(3, 1, 1), (1, 1.4, 0.5), (6, 1.4, 0.1)])
def test_kernel_in_browser_and_library_agree(evaluate, depth, sigma_w, sigma_b, d):
    far = np.linspace(-3, 3, 41)
    x = np.concatenate([far, 0.7 + 10.0 ** -np.arange(1, 16), [0.7]])
    x = np.stack([x, 0.5 - x[::-1]][:d], axis=1)
    network = {"depth": depth, "sigma_w": sigma_w, "sigma_b": sigma_b, "d": d}
    rows = evaluate(StudentExplorer, "({ntk}, [x, network]) => ntk(x, x, network).map((row) => [...row])",
                    [x.ravel().tolist(), network])
    expected = fully_connected(depth, width=1, sigma_w=sigma_w, sigma_b=sigma_b).ntk(x)
    size = np.sqrt(expected.diagonal())
    assert (np.abs(rows - expected) <= ROUNDING * size * size[:, None]).all()


@pytest.mark.parametrize("draw", [1, 3, 6])
def test_student_in_browser_and_library_agree(evaluate, task, draw):
    sizes = [1, 20, 200]
    settings = [{"rho": rho, "T": T, "epoch": epoch, "draw": draw}
                for rho, T, epoch in product([0.05, 0.5, 1], [0.5, 5], [16, 1024, 16384])]
    results = evaluate(
        StudentExplorer,
        """({experiment}, [task, sizes, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {teacher, norms, student} = solve(setting);
                return {teacher, norms: [...norms], curves: sizes.map((n) => [...student(n)])};
            });
        }""",
        [task, sizes, settings],
    )
    for setting, result in zip(settings, results, strict=True):
        for name, expected in in_python(task, sizes, **setting).items():
            assert (np.abs(result[name] - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()


def test_risk_in_browser_and_library_agree(evaluate, task):
    sizes = [1, 6, 20, 60, 200]
    settings = [{"rho": rho, "T": T, "epoch": epoch} for rho, T, epoch in product([0.05, 0.9, 1], [0.5, 5], [16, 1024])]
    results = evaluate(
        RiskExplorer,
        """({experiment}, [task, sizes, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {grid, oracle, gaps, curves, distances, bounds} = solve(setting);
                const some = (rows) => sizes.map((n) => [...rows[n - 1]]);
                return {grid, oracle: [...oracle], gaps: [...gaps], curves: some(curves), distances: some(distances),
                        bounds: sizes.map(bounds)};
            });
        }""",
        [RiskExplorer().task, sizes, settings],
    )
    fine = np.linspace(-3, 3, 12_001)
    for setting, result in zip(settings, results, strict=True):
        expected = risk_in_python(task, sizes, result["grid"], **setting)
        for name in ("oracle", "curves"):
            assert (np.abs(result[name] - expected[name]) <= BROWSER * np.maximum(1, np.abs(expected[name]))).all()
        # Both are roots of differences, of which the squares are as good as what is subtracted.
        for name, whole in (("gaps", 1 + expected["gaps"][0] ** 2), ("distances", 10)):
            assert (np.abs(np.square(result[name]) - expected[name] ** 2) <= BROWSER * whole).all()
        counted = risk_in_python(task, sizes, fine, **setting)
        for name in ("risk", "power", "theorem"):
            # Lines between the points of the grid cut off the power function's arcs, so that the bound is low.
            found = np.array([bounds[name] for bounds in result["bounds"]])
            assert (np.abs(found - counted[name]) <= (0.01 if name == "power" else 1e-3)).all()
            assert (found >= [bounds["risk"] for bounds in result["bounds"]]).all()


@pytest.mark.parametrize("q, epoch", [(2, 16), (6, 1024), (12, 16384)])
def test_inefficiency_in_browser_and_library_agree(evaluate, q, epoch):
    settings = [{"q": q, "epoch": epoch, "rho": rho, "p_flip": p_flip, "n": n}
                for rho, p_flip, n in product([0, 0.05, 0.5, 1], [0, 0.1, 0.5], [2, 94])]
    results = evaluate(
        InefficiencyExplorer,
        """({experiment}, [task, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {grid, teacher, targets, student, inefficiency} = solve(setting);
                return [[...grid], teacher, targets, [...student(setting.n)], inefficiency.values, inefficiency.errors];
            });
        }""",
        [InefficiencyExplorer().task, settings],
    )
    for setting, result in zip(settings, results, strict=True):
        *curves, found = InefficiencyExplorer(**setting).solve()
        for mine, expected in zip(result, [*curves, found.values, found.errors], strict=True):
            assert (np.abs(mine - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()


def test_correction_in_browser_and_library_agree(evaluate):
    ratios = [0, 0.05, 0.5, 0.95, 1]
    settings = [{"T": T, "n": n, "epoch": epoch} for T, n, epoch in product([0.5, 5], [8, 128, 256], [16, 2048, 16384])]
    results = evaluate(
        CorrectionExplorer,
        """({experiment}, [task, settings, ratios]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {student, error, errors, projections} = solve(setting);
                const z = ratios.map(student);
                const parts = projections.map((all) => all.map(Object.values));
                return [z.map((z) => [...z]), z.map(error), [errors[0], errors.at(-1)], parts];
            });
        }""",
        [CorrectionExplorer().task, settings, ratios],
    )
    for setting, (z, errors, ends, parts) in zip(settings, results, strict=True):
        explorer = CorrectionExplorer(**setting)
        (expected, rates), h = explorer.solve(ratios), explorer.project()
        assert (np.abs(z - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()
        assert np.abs(errors - rates).max() <= BROWSER
        assert np.abs(ends - rates[[0, -1]]).max() <= BROWSER
        projection, cosine, derivative = np.array(parts, float).transpose(2, 1, 0)[:, 1:]
        p = [field[1:] for field in h]  # one sample has no direction in which to turn
        size = p[3] * p[4]
        assert (np.abs(projection - p[0]) <= BROWSER * size).all()
        assert (np.abs(cosine - p[0] / size) <= BROWSER).all()
        assert (np.abs(derivative - p[0] / (p[5] * p[6])) <= BROWSER * size / (p[5] * p[6])).all()


def test_map_in_browser_outlines_what_the_library_counts(evaluate):
    """Points of the outlines against sign changes along the grid; their area against the share of wrong signs."""
    task = CorrectionExplorer().task
    noise = np.random.default_rng(0).normal(size=SIDE**2)  # every second square is a saddle or a corner
    for z, close in ((np.array(task["truth"]), 1e-3), (np.array(task["teachers"][4]), 1e-3), (noise, 0.02),
                     (np.ones(SIDE**2), 1e-9), (-np.ones(SIDE**2), 1e-9)):
        loops = [np.array(loop) for loop in evaluate(CorrectionExplorer, "({outlines}, z) => outlines(z)", z.tolist())]
        points = np.concatenate([*loops, np.empty((0, 2))]) * 2 / (SIDE - 1) - 1
        inside = points[(np.abs(points) <= 1).all(axis=1)]
        expected = np.array([*crossings(z.reshape(SIDE, SIDE)), *np.empty((0, 2))]).reshape(-1, 2)
        assert len(inside) == len(expected)
        order = lambda p: p[np.lexsort(p.round(9).T)]
        assert np.abs(order(inside) - order(expected)).max(initial=0) <= BROWSER
        within = [np.clip(loop, 0, SIDE - 1) for loop in loops]
        area = sum((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2 for x, y in (loop.T for loop in within))
        assert abs(area / (SIDE - 1) ** 2 - wrong_share(z, -np.ones(SIDE**2))) <= close


def test_error_on_the_map_is_a_share_of_its_area():
    """Against counting on a grid twenty times finer, between whose points logits are bilinear too."""
    task = CorrectionExplorer().task
    fine = lambda z: zoom(np.reshape(z, (SIDE, SIDE)), (20 * (SIDE - 1) + 1) / SIDE, order=1) > 0
    for teacher in task["teachers"]:
        counted = np.mean(fine(teacher) != fine(task["truth"]))
        assert abs(wrong_share(teacher, task["truth"]) - counted) <= 1e-3


STOPS = "epoch must be one of 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, got "
LINE = [({"n": 500}, "n must be a whole number from 1 to 200, got 500: "),
        ({"n": 2.5}, "n must be a whole number from 1 to 200, got 2.5: "), ({"epoch": 100}, f"{STOPS}100: "),
        ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5: "), ({"T": 0}, "T must be positive and finite, got 0: "),
        ({"T": "1e1"}, "T must be a number, got '1e1': write it without quotes")]
GRADED = [({"q": 5}, "q must be one of 2, 3, 4, 6, 8, 12, got 5: "),
          ({"n": 95}, "n must be a whole number from 2 to 94, got 95: "),
          ({"epoch": 100}, "epoch must be one of 16, 64, 256, 1024, 4096, 16384, got 100: "),
          ({"p_flip": 0.6}, "p_flip must be one of 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, got 0.6: "),
          ({"q": "many"}, "q must be one of 2, 3, 4, 6, 8, 12, got 'many': "),
          ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5: ")]
PLANE = [({"n": 100}, "n must be one of 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, got 100: "),
         ({"epoch": 100}, f"{STOPS}100: "), ({"epoch": "late"}, f"{STOPS}'late': "),
         ({"rho": -1}, "rho must lie in [0, 1], got -1: "),
         ({"T": 0}, "T must be positive and finite, got 0: ")]


@pytest.mark.parametrize("explorer_class, bad, message", [
    *((explorer_class, *case) for explorer_class in (StudentExplorer, RiskExplorer) for case in LINE),
    (StudentExplorer, {"draw": 0}, "draw must be a whole number from 1 to 6, got 0: "),
    *((InefficiencyExplorer, *case) for case in GRADED), *((CorrectionExplorer, *case) for case in PLANE),
])
def test_explorer_refuses_bad_settings(explorer_class, bad, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        explorer_class(**bad)
