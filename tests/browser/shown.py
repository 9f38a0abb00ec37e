"""An explorer on a page, as a reader handles it."""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Page
from watched import explorers_are_live, opened

from kdlib import explorers

LOGIT_PAGES = ["book/index", "book/02_problem_setup"]  # of the effective logit's explorer
# Page, selector, the address's prefix.
LOGIT = "book/02_problem_setup.html", ".kd-effective-logit", ""
STUDENT = "book/02_problem_setup.html", ".kd-student", "s."
RISK = "book/03_transfer_risk.html", ".kd-risk", "r."
INEFFICIENCY = "book/04_data_inefficiency.html", ".kd-inefficiency", "i."
CORRECTION = "book/05_imperfect_teacher.html", ".kd-correction", "c."
CLASSES = "book/07_many_classes.html", ".kd-classes", "k."
# Of which classes they are.
KINDS = {LOGIT: explorers.EffectiveLogitExplorer, STUDENT: explorers.StudentExplorer, RISK: explorers.RiskExplorer,
         INEFFICIENCY: explorers.InefficiencyExplorer, CORRECTION: explorers.CorrectionExplorer,
         CLASSES: explorers.ClassesExplorer}


@dataclass
class Shown:
    """An explorer on a page: what it shows, and which keys of the address are its own."""

    page: Page
    selector: str = ".kd-effective-logit"
    prefix: str = ""

    def find(self, inside):
        return self.page.locator(f"{self.selector} {inside}")

    def sliders(self):
        names = self.find(".kd-controls input").evaluate_all("(inputs) => inputs.map((i) => i.name)")
        return dict(zip(names, map(number, self.find(".kd-controls output").all_inner_texts()), strict=True))

    def reading(self, name):
        return number(re.sub(" %| t|°", "", self.find(f"[data-read={name}]").inner_text()))

    def curves(self):
        return self.find("svg path").evaluate_all("(paths) => paths.map((p) => p.getAttribute('d'))")

    def keys(self, state):
        return {self.prefix + name: value for name, value in state.items()}

    def wait_for_address(self):
        """Until the page's address holds what the sliders show; K is how many logits it has."""
        shown = self.keys({name: value for name, value in self.sliders().items() if name != "K"}).items()
        self.page.wait_for_url(lambda url: shown <= fragment(url).items())

    def restore(self, state):
        """Load the page anew, at an address that holds the state."""
        visit(self.page, f"{self.page.url.split('#')[0]}#{address(state, self.prefix)}")

    def press(self, name, key):
        self.find(f"input[name={name}]").focus()
        self.page.keyboard.press(key)


@contextmanager
def opened_at(browser, site, home, state=()):
    """An explorer on its page, at an address that holds the state."""
    path, selector, prefix = home
    with opened(browser, site, f"{path}#{address(state, prefix)}", whole=False) as page:
        yield Shown(page, selector, prefix)


@contextmanager
def alone_at(browser, site, home, state=()):
    """An explorer without the rest of its page, at an address that holds the state."""
    path, selector, prefix = home
    with opened(browser, site, f"{path}#{address(state, prefix)}", only=selector) as page:
        yield Shown(page, selector, prefix)


def number(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def fragment(url):
    """What an address holds: numbers, and lists of some as text."""
    return {name: value if "," in value else float(value) for name, value in parse_qsl(urlsplit(url).fragment)}


def visit(page, url):
    """Load the page anew, though only what follows # in its address may differ."""
    page.goto("about:blank")
    page.goto(url)
    explorers_are_live(page)


def address(state, prefix=""):
    """What follows # in the address of an explorer in this state."""
    return "&".join(f"{prefix}{name}={value}" for name, value in dict(state).items())


def centred(locator):
    """The element's box in the viewport, scrolled away from the theme's sticky bars."""
    locator.evaluate("(n) => n.scrollIntoView({block: 'center', behavior: 'instant'})")
    return locator.bounding_box()


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


AT_REST = """async () => {
    for (let last, rest = 0; rest < 12; rest = scrollY === last ? rest + 1 : 0) {
        last = scrollY;
        await new Promise(requestAnimationFrame);
    }
    return scrollY;
}"""


def swipe(page, touch, start, end):
    """With one finger, by a session of the DevTools protocol; returns where the page comes to rest."""
    (x, y), (right, down) = start, end
    for step in range(9):
        point = {"x": x + (right - x) * step / 8, "y": y + (down - y) * step / 8}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    return page.evaluate(AT_REST)


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


LIVE = """async ([source, state]) => {
    const listeners = {};
    globalThis.model = {
        saved: 0, get: (name) => state[name], off() {},
        set(name, value) { state[name] = value; (listeners[`change:${name}`] ?? []).forEach((f) => f()); },
        on: (event, f) => (listeners[event] ??= []).push(f), save_changes() { this.saved += 1; },
    };
    const {render} = await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
    render({model, el: document.querySelector("main")});
}"""


@contextmanager
def live(browser, explorer):
    """As in a notebook: anywidget calls `render` with a model, here `model`, whose traits change on either side."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<main></main>")
        page.evaluate(LIVE, [explorer._esm, explorer.trait_values(page=True)])
        yield page
