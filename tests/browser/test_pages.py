"""The built pages: self-contained, whole, accessible."""

import ast
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import plotly.offline
import pytest
from axe_playwright_python.sync_playwright import Axe
from extensions.execution import Book, code_cells, seconds
from pdf import UNFOLD, WIDTH
from watched import DESKTOP, HTML, PAGES, PHONE, ROOT, opened

from kdlib.claims import CLAIMS, MIME, OURS, VERDICTS

NOTEBOOKS = Book(ROOT).notebooks()
# Seconds: three times what a cell may take on two idle cores, and what the calibration takes there.
CELL, CALIBRATION = 3 * 20, 0.07


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
                found = {record["claim"]: record["verdict"] for record in cell.outputs[0].data[MIME]}
                assert found and not found.keys() & verdicts, f"{path.name} measures a claim again"
                verdicts |= found
    rows = re.findall(r'<tr id="claim-([\d-]+)">(.*?)</tr>', html, re.DOTALL)
    assert sorted(claim.replace("-", ".") for claim, _ in rows) == sorted(CLAIMS)
    verdict = re.compile(r'<b class="verdict.*?</span> ([a-z ]+)</b></a>')
    shown = {claim.replace("-", "."): verdict.search(row) for claim, row in rows}
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
    run = Book(ROOT).kept_run(path)
    assert run, f"{path.stem} or something that it uses has changed since: run make book first"
    shown = re.search(r"It takes</em>\s+(\d+) seconds", article)
    assert path.stem == "index" if shown is None else int(shown[1]) == round(run.seconds)
    allowed = CELL * max(1, run.calibration / CALIBRATION)
    long = {cell.execution_count: seconds(cell) for cell in code_cells(run.notebook) if seconds(cell) > allowed}
    assert not long, f"a cell of {path.stem} may take {allowed:.0f} s on a machine as busy as this one"


# Words that do not fit: into their plot, where they name a curve, or else into the figure.
CUT_WORDS = """() => [...document.querySelectorAll(".kd-figure")].flatMap((figure) =>
    [...figure.querySelectorAll("text")].filter((words) => {
        const plot = words.closest(".scatterlayer") && words.closest(".subplot").classList[1];
        const place = plot ? figure.querySelector(`.nsewdrag[data-subplot=${plot}]`) : figure;
        const [inner, outer] = [words, place].map((part) => part.getBoundingClientRect());
        return inner.width && (inner.left < outer.left - 2 || inner.right > outer.right + 2);
    }).map((words) => `${figure.parentElement.id}: ${words.textContent}`))"""

# What is wider than its place, and does not fade where it goes on or cannot be scrolled there.
CUT_PARTS = """() => {
    const parts = [...document.querySelectorAll("article :is(pre, mjx-container[display], .kd-long)")];
    return parts.filter((part) => {
        const { maskImage, overflowX } = getComputedStyle(part);
        return part.scrollWidth > part.clientWidth + 1 && (maskImage === "none" || overflowX !== "auto");
    }).map((part) => part.textContent || part.parentElement.id);
}"""


@pytest.fixture(scope="module", params=[pytest.param(path, marks=pytest.mark.xdist_group(path)) for path in PAGES])
def page(browser, on_disk, request):
    """Each page of the book, opened once for two tests: on a phone, and then, changed, on a desktop."""
    with opened(browser, on_disk, f"{request.param}.html", viewport=PHONE, color_scheme="light") as page:
        yield page


def test_page_is_whole_on_a_phone(page):
    assert page.locator("mjx-merror").count() == 0
    # A formula that MathJax never saw stands in the text as it was typed.
    prose = page.locator("article").evaluate(
        "(n) => { n = n.cloneNode(true); n.querySelectorAll('pre, code, script, style, mjx-container')"
        ".forEach((code) => code.remove()); return n.textContent; }"
    )
    assert not re.search(r"\$|\\\(|\\\[", prose)
    assert page.locator("figure:not(:has(svg, img))").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(CUT_WORDS) == []
    page.evaluate("globalThis.MathJax?.startup?.promise.then(() => null)")
    assert page.evaluate(CUT_PARTS) == []


# Coloured code and formulas are judged once for each kind: on a page with many, all pieces would take axe a minute.
# All are looked at before any is changed: a style that is asked for after a change is computed anew.
ONE_PIECE_OF_EACH_KIND = """() => {
    const seen = new Set();
    const again = (piece) => {
        const kind = piece.localName + getComputedStyle(piece).color + piece.parentElement.className;
        return seen.has(kind) || !seen.add(kind);
    };
    const tokens = [...document.querySelectorAll(":is(pre, code, .sig) span[class]:not(:has(*))")].filter(again);
    for (const formula of document.querySelectorAll("mjx-container")) { // its glyphs are no text to axe
        formula.textContent = "text";
        formula.style.lineHeight = 1;
    }
    for (const token of tokens) token.replaceWith(token.textContent);
    document.body.normalize(); // a line of code is one text again
}"""


def accessibility_violations(page, context=None, **options):
    """What axe-core finds: one line for each rule and element."""
    # What has been unfolded, or given another colour, fades in; its contrast counts when it has.
    page.evaluate("new Promise(requestAnimationFrame)")
    page.evaluate("Promise.all(document.getAnimations().map((a) => a.finished)).then(() => null)")
    # Preloading would fetch the style sheets anew, by addresses that it gets wrong.
    options |= {"preload": False, "resultTypes": ["violations"]}
    found = Axe().run(page, context, options).response["violations"]
    return [f"{rule['id']}: {node['target']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


# What is named and classed alike all the way up, and has the same colours, has the same contrast.
MARK_ONE_OF_EACH_KIND = """() => {
    const seen = new Set();
    const names = (node) => node && `${node.localName}.${node.className} ${names(node.parentElement)}`;
    const behind = (node) => {
        const { backgroundColor, backgroundImage } = getComputedStyle(node);
        const clear = backgroundColor === "rgba(0, 0, 0, 0)" && backgroundImage === "none";
        return clear && node.parentElement ? behind(node.parentElement) : backgroundColor + backgroundImage;
    };
    const speaks = (node) => node.matches("input, select, textarea") || [...node.childNodes].some(
        (child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    for (const node of document.querySelectorAll("body *")) {
        const kind = names(node) + getComputedStyle(node).color + behind(node);
        const judged = speaks(node) && node.checkVisibility() && !seen.has(kind);
        node.toggleAttribute("data-judged", judged);
        if (judged) seen.add(kind);
    }
}"""


def low_contrasts(page):
    page.evaluate(MARK_ONE_OF_EACH_KIND)
    return accessibility_violations(page, {"include": [["[data-judged]"]]}, runOnly=["color-contrast"])


def test_page_is_accessible_by_day_and_by_night(page):
    """On a desktop, with everything unfolded. Only colours change at night."""
    page.set_viewport_size(DESKTOP)
    page.evaluate(UNFOLD)
    page.wait_for_function("[...document.querySelectorAll('.kd-figure')].every((f) => f.scrollWidth <= f.clientWidth)")
    page.evaluate(ONE_PIECE_OF_EACH_KIND)
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert accessibility_violations(page, rules={"color-contrast": {"enabled": False}}) == []
    assert low_contrasts(page) == []
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    assert low_contrasts(page) == []


def test_page_is_accessible_in_a_chosen_theme(browser, served):
    """Dark by the page's own switch, on a system that prefers light."""
    chosen = [{"name": "mode", "value": "dark"}, {"name": "theme", "value": "dark"}]
    profile = {"cookies": [], "origins": [{"origin": served.rstrip("/"), "localStorage": chosen}]}
    with opened(browser, served, "book/06_conclusion.html", color_scheme="light", storage_state=profile) as page:
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert accessibility_violations(page) == []


@pytest.mark.parametrize("pale", ["article pre .c1", "article mjx-container"])
def test_low_contrast_is_noticed(browser, served, pale):
    """Guards the guard: judging one piece of each kind still finds the one kind that is too pale."""
    with opened(browser, served, "book/tutorial.html", color_scheme="light") as page:
        page.evaluate(UNFOLD)
        page.evaluate(ONE_PIECE_OF_EACH_KIND)
        assert not low_contrasts(page)
        page.add_style_tag(content=f"{pale} {{ color: #bbb !important }}")
        assert low_contrasts(page)


@pytest.mark.parametrize("path", ["book/02_problem_setup", "book/05_imperfect_teacher"])
def test_equations_and_code_are_whole_on_a_desktop(browser, on_disk, path):
    """At one device pixel for each of the page's: nothing is cut where it would overflow."""
    with opened(browser, on_disk, f"{path}.html") as page:
        equations = page.locator("div.math:visible")
        assert equations.count() > 3
        assert not equations.locator("mjx-container").evaluate_all(
            "(all) => all.filter((m) => m.scrollWidth > m.clientWidth || m.scrollHeight > m.clientHeight)"
            ".map((m) => m.parentElement.id)")
        for equation in equations.all():
            equation.scroll_into_view_if_needed()
            cut = equation.screenshot()
            equation.evaluate("(m) => [m, ...m.children].forEach((n) => { n.style.overflow = 'visible'; })")
            assert equation.screenshot() == cut, equation.get_attribute("id")
        page.evaluate(UNFOLD)
        assert not page.locator("article div.cell_input pre:visible").evaluate_all(
            "(all) => all.filter((pre) => pre.scrollWidth > pre.clientWidth).map((pre) => pre.textContent)")


@pytest.mark.parametrize("media, width", [("screen", PHONE["width"]), ("print", WIDTH)])
def test_symbols_are_explained_on_a_phone_and_on_paper(browser, on_disk, media, width):
    with opened(browser, on_disk, "book/notation.html", viewport=PHONE | {"width": width}) as page:
        page.emulate_media(media=media)
        cells = page.locator("article td:visible")
        sides = cells.evaluate_all("(all) => all.map((td) => td.getBoundingClientRect().right)")
        assert len(sides) > 60 and max(sides) <= width


def test_a_dark_page_is_printed_as_a_light_one(browser, served):
    with opened(browser, served, "book/06_conclusion.html", color_scheme="dark") as page:
        ink = "getComputedStyle(document.querySelector('article p')).color.match(/\\d+/g).slice(0, 3).map(Number)"
        assert min(page.evaluate(ink)) > 150
        page.emulate_media(media="print", color_scheme="dark")
        page.wait_for_function(f"Math.max(...{ink}) < 100")
        page.emulate_media(media="screen", color_scheme="dark")
        page.wait_for_function(f"Math.min(...{ink}) > 150")


def test_search_finds_the_threshold(browser, served):
    with opened(browser, served, "search.html?q=threshold") as page:
        page.locator("#search-results li a").first.wait_for()


@pytest.mark.parametrize("sought", ["own data", "distil own data"])
def test_search_finds_the_pages_for_ones_own_data_first(browser, served, sought):
    with opened(browser, served, f"search.html?q={sought}") as page:
        page.locator("#search-results li a").nth(5).wait_for()
        first = page.locator("#search-results li > a").all_inner_texts()[:4]
        assert any(title.startswith("Tutorial: distil on your own data") for title in first), first


def test_vendored_plotly_is_the_one_python_writes_for():
    start = (ROOT / "book/vendor/plotly/plotly-basic.min.js").read_text("utf-8")[:200]
    assert re.search(r"plotly\.js .*v(\S+)", start)[1] == plotly.offline.get_plotlyjs_version()


def public_names(source):
    """What a module defines, or says that it offers."""
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if not name.startswith("_"):
                yield name
            case ast.Assign(targets=[ast.Name(id="__all__")], value=names):
                yield from ast.literal_eval(names)


def test_every_public_name_is_on_one_page_of_the_reference(on_disk):
    modules = {path.stem: path for path in (ROOT / "kdlib").glob("[a-z]*.py")}
    modules |= {path.parent.name: path for path in (ROOT / "kdlib").glob("[a-z]*/__init__.py")}
    expected = {f"module-kdlib.{module}" for module in modules}
    for module, path in modules.items():
        expected |= {f"kdlib.{module}.{name}" for name in public_names(path.read_text("utf-8"))}
    assert len(modules) > 15 and len(expected) > 100
    pages = [Anchors(path.read_text("utf-8")).targets for path in HTML.glob("book/reference/*.html")]
    assert not {name for name in expected if sum(name in places for places in pages) != 1}


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
