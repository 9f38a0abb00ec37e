"""What all explorers share: things to try, links, fingers that scroll, and what is said and printed."""

import pytest
from shown import (
    CLASSES,
    CORRECTION,
    INEFFICIENCY,
    KINDS,
    LOGIT,
    RISK,
    STUDENT,
    Shown,
    alone_at,
    centred,
    fragment,
    number,
    opened_at,
    swipe,
    visit,
)
from watched import PHONE, opened

from kdlib import explorers

# What the words of each example promise, of the readings in its state.
TRUE = {
    LOGIT: [lambda r: r("wrong") >= 0, lambda r: r("wrong") < 0, lambda r: r("wrong") > 0 > r("right"),
            lambda r: r("right") == r("wrong") == -2],
    STUDENT: [lambda r: r("student") > r("teacher"), lambda r: r("student") < r("teacher"),
              lambda r: 3 * r("student") < r("teacher") and r("norm") > 100,
              lambda r: abs(r("student") - r("teacher")) < 0.5 and r("norm") < 20],
    RISK: [lambda r: r("risk") > 1, lambda r: r("theorem") < 100, lambda r: r("angle") == r("theorem") == 0],
    INEFFICIENCY: [lambda r: r("value") < 0.1, lambda r: r("value") > 0.3, lambda r: r("value") < 0.1,
                   lambda r: r("value") > 0.3, lambda r: r("value") > 0.8],
    CORRECTION: [lambda r: r("student") == r("soft") >= r("teacher"),
                 lambda r: r("student") < min(r("teacher"), r("hard")), lambda r: r("student") > 15,
                 lambda r: r("student") < 5, lambda r: r("student") < r("soft") and r("derivative") < 0],
    CLASSES: [lambda r: r("label") < 50, lambda r: r("label") > 50, lambda r: r("lead") > r("kappa"),
              lambda r: r("lead") < r("kappa"), lambda r: r("label") >= 50, lambda r: r("label") > 50],
}


@pytest.mark.parametrize("home", KINDS, ids=lambda home: home[1])
def test_a_button_sets_the_state_of_which_its_words_are_true(browser, served, home):
    examples = KINDS[home]().examples
    with alone_at(browser, served, home, {"rho": 0.42}) as shown:
        buttons = shown.find(".kd-tries button")
        assert buttons.all_inner_texts() == [words for words, _ in examples]
        pressed = lambda: buttons.evaluate_all("(all) => all.map((b) => b.getAttribute('aria-pressed') === 'true')")
        assert not any(pressed())
        for i, ((_, state), holds) in enumerate(zip(examples, TRUE[home], strict=True)):
            drawn = shown.curves()
            buttons.nth(i).press("Enter")
            assert pressed() == [j == i for j in range(len(examples))]
            assert shown.curves() != drawn
            sliders = shown.sliders()
            assert sliders.items() >= {name: state[name] for name in sliders if name in state}.items()
            assert holds(shown.reading), examples[i]
        shown.wait_for_address()
        shown.press("rho", "Home")
        assert not any(pressed())


@pytest.mark.parametrize("home", [STUDENT, CLASSES], ids=lambda home: home[1])
def test_a_copied_link_leads_back_to_the_state_and_to_its_explorer(browser, served, home):
    with opened_at(browser, served, home, {"rho": 0.3, "T": 2}) as shown:
        shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        shown.press("rho", "ArrowRight")
        shown.find(".kd-foot button").press("Enter")
        shown.find("[role=status]").get_by_text("Copied.").wait_for()
        state, link = shown.sliders(), shown.page.evaluate("navigator.clipboard.readText()")
        assert fragment(link) == fragment(link) | shown.keys({n: v for n, v in state.items() if n != "K"})
        visit(shown.page, link)
        assert shown.sliders() == state
        assert 0 <= shown.page.locator(home[1]).bounding_box()["y"] < 150


REFUSED = """() => {
    navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    document.execCommand = () => false;
}"""


def test_where_the_browser_does_not_copy_the_link_is_selected(browser, on_disk):
    with alone_at(browser, on_disk, STUDENT, {"n": 40}) as shown:
        shown.page.evaluate(REFUSED)
        shown.find(".kd-foot button").click()
        shown.find("[role=status]").get_by_text("copy it by key").wait_for()
        selected = shown.page.evaluate("document.activeElement.value.slice(document.activeElement.selectionStart)")
        assert selected.startswith(on_disk)
        assert fragment(selected)["s.n"] == 40


def test_a_link_is_followed_while_the_page_grows_until_the_reader_acts(browser, served):
    with opened_at(browser, served, STUDENT, {"n": 40}) as shown:
        page, top = shown.page, lambda: shown.page.locator(STUDENT[1]).bounding_box()["y"]
        grow = """async () => {
            document.documentElement.style.overflowAnchor = "none";
            const formulas = document.createElement("div");
            formulas.style.height = "3000px";
            document.querySelector("article").prepend(formulas);
            for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
        }"""
        page.evaluate(grow)
        assert 0 <= top() < 150
        page.keyboard.press("Shift")
        page.evaluate(grow)
        assert top() > 2000
        page.evaluate("location.hash = 's.n=50'")  # as by a link within the page
        page.wait_for_function("document.querySelector('.kd-student').getBoundingClientRect().y < 150")
        assert shown.sliders()["n"] == 50


def test_a_finger_that_scrolls_moves_no_slider(browser, served):
    with opened(browser, served, STUDENT[0], whole=False, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        shown = Shown(page, *STUDENT[1:])
        touch = page.context.new_cdp_session(page)
        before = shown.sliders()

        def moved(inside, across, down):
            """How far the page scrolls when a finger comes down at 0.3 of the width and moves."""
            box = centred(shown.find(inside))
            start = box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2
            scrolled = page.evaluate("scrollY")
            return swipe(page, touch, start, (start[0] + across, start[1] + down)) - scrolled

        for inside in ("input[name=rho]", "input[name=T]", "svg.kd-drag"):
            assert moved(inside, 5, -200) > 100
            assert shown.sliders() == before
        assert moved("input[name=rho]", 60, 0) == 0
        after = shown.sliders()
        assert after["rho"] > before["rho"]
        assert moved("svg.kd-drag", 60, 0) == 0
        assert shown.sliders()["n"] != after["n"]
        box = centred(shown.find("input[name=rho]"))
        page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        assert shown.sliders()["rho"] > 0.8


# Three times, one at once after the other; returns what has been told meanwhile.
MOVED = """(input) => {
    for (const value of [0.51, 0.52, 1]) {
        input.value = value;
        input.dispatchEvent(new Event("input"));
    }
    return input.closest(".kd-explorer").querySelector(".kd-told").textContent;
}"""


@pytest.mark.parametrize("home", KINDS, ids=lambda home: home[1])
def test_a_screen_reader_hears_a_value_once_and_the_readouts_when_they_rest(browser, served, home):
    with alone_at(browser, served, home, {"rho": 0.5}) as shown:
        hidden = shown.find("output").evaluate_all("(all) => all.map((n) => n.closest('[aria-hidden=true]') !== null)")
        assert hidden and all(hidden)
        said = shown.find("input[type=range]").evaluate_all("(all) => all.map((n) => n.getAttribute('aria-valuetext'))")
        assert [number(text) for text in said] == list(shown.sliders().values())
        told = shown.find(".kd-told")
        shown.page.evaluate("new Promise((done) => setTimeout(done, 800))")  # by the page's own clock
        assert told.text_content() == ""  # nothing has moved yet
        assert shown.find("input[name=rho]").evaluate(MOVED) == ""
        told.get_by_text(shown.find(".kd-note").inner_text()).wait_for(state="attached")
        for value in shown.find(".kd-readout dd").all_inner_texts():
            assert value in told.text_content()
        shown.page.emulate_media(media="print")
        line = " ".join(shown.find(".kd-controls").inner_text().split())
        assert "ρ soft ratio 1" in line
        assert not shown.find(".kd-controls input").first.is_visible()
        assert shown.find(".kd-tries button").first.is_visible()


def test_a_dot_that_leaves_the_plot_is_an_arrowhead_at_its_edge(browser, served):
    with alone_at(browser, served, LOGIT, {"rho": 0.5, "T": 5, "z_t": 2}) as shown:
        dot = shown.find("path.kd-point.kd-right")
        assert "a" in dot.get_attribute("d")
        for rho, way in (("Home", "down"), ("End", None)):
            shown.press("rho", rho)
            assert ("a" in dot.get_attribute("d")) == (way is None)
        shown.press("rho", "Home")
        tips = [shown.find(f"path.kd-point.kd-{side}").bounding_box() for side in ("right", "wrong")]
        frame = shown.find("svg clipPath rect").evaluate("(r) => [r.y.baseVal.value, r.height.baseVal.value]")
        top = shown.find("svg").bounding_box()["y"] + frame[0]
        assert tips[0]["y"] == pytest.approx(top, abs=1)
        assert tips[1]["y"] + tips[1]["height"] == pytest.approx(top + frame[1], abs=1)


def test_the_teacher_errs_less_only_where_it_does(browser, served):
    with alone_at(browser, served, CORRECTION, {"rho": 0}) as shown:
        task, wrong, hard = explorers.CorrectionExplorer().task, [], shown.reading("hard")
        for _ in task["epochs"]:
            wrong.append(shown.reading("teacher"))
            shown.press("epoch", "ArrowLeft")
        less = [epoch for epoch, error in zip(task["epochs"], wrong, strict=True) if error < hard]
        [title] = [t for t in shown.find("svg title").all_text_contents() if "projection" in t]
        assert title.endswith(f"{', '.join(map(str, less))} epochs.")
