"""The explorers on their pages: by key, mouse, finger and link, and in agreement with the library."""

import numpy as np
import pytest
from expected import error_rate, in_python, risk_in_python
from shown import (
    CORRECTION,
    EXPLORERS,
    INEFFICIENCY,
    RISK,
    STUDENT,
    Shown,
    address,
    assert_key_moves,
    centred,
    drag,
    drag_ratio,
    fragment,
    opened_at,
    visit,
)
from tolerances import BROWSER
from watched import PHONE, opened

from kdlib import effective_logit, split_threshold
from kdlib.explorers import CorrectionExplorer, InefficiencyExplorer


@pytest.fixture(params=EXPLORERS)
def explorer(request):
    return f"{request.param}.html"


def test_explorer_follows_the_keyboard(browser, site, explorer):
    with opened(browser, site, explorer, whole=False) as page:
        for name in ("rho", "T"):
            assert_key_moves(Shown(page), name)


def test_explorer_follows_the_mouse(browser, site, explorer):
    with opened(browser, site, explorer, whole=False) as page:
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
    with opened(browser, site, explorer, whole=False, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        shown = Shown(page)
        before = shown.sliders()
        box = centred(shown.find("svg"))
        page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
        after = shown.sliders()
        assert 4 < after["z_t"] < 8
        assert shown.reading("right") != shown.reading("wrong")
        assert after == {**before, "z_t": after["z_t"]}


def test_explorer_restores_a_link_and_agrees_with_the_library(browser, site, explorer):
    with opened(browser, site, explorer, whole=False) as page:
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
    with opened(browser, site, path, whole=False) as page:
        for after in ("", *fragments):
            visit(page, f"{site}{path}#{after}")
            seen[after] = Shown(page, *own).sliders(), Shown(page, *own).curves()
    assert seen == dict.fromkeys(seen, seen[""])


def test_explorer_says_that_hard_labels_alone_have_no_minimiser(browser, served, explorer):
    with opened(browser, served, explorer, whole=False) as page:
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
    with opened(browser, site, STUDENT[0], whole=False) as page:
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
    with opened(browser, site, path, whole=False, java_script_enabled=False) as page:
        assert page.locator(f"{selector} .kd-still").is_visible()
