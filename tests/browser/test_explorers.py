"""The explorers on their pages: by key, mouse, finger and link, and in agreement with the library."""

import re

import numpy as np
import pytest
from expected import error_rate, in_python, risk_in_python
from scipy.special import softmax
from shown import (
    CLASSES,
    CORRECTION,
    INEFFICIENCY,
    KINDS,
    LOGIT,
    LOGIT_PAGES,
    RISK,
    STUDENT,
    Shown,
    address,
    alone_at,
    assert_key_moves,
    centred,
    drag,
    drag_ratio,
    fragment,
    number,
    opened_at,
    swipe,
    visit,
)
from tolerances import BROWSER
from watched import PHONE, opened

from kdlib import beats, class_effective_logit, effective_logit, split_threshold
from kdlib.explorers import ClassesExplorer, CorrectionExplorer, InefficiencyExplorer


@pytest.fixture(params=LOGIT_PAGES)
def explorer(request):
    return f"{request.param}.html", *LOGIT[1:]


def test_explorer_restores_a_link_and_follows_the_keyboard(browser, site, explorer):
    state = {"rho": 0.3, "T": 2, "z_t": -1}
    with opened_at(browser, site, explorer, state) as shown:
        assert shown.sliders() == state
        for name in ("rho", "T"):
            assert_key_moves(shown, name)


def test_explorer_follows_the_mouse(browser, served, explorer):
    with opened_at(browser, served, explorer) as shown:
        before, drawn = shown.sliders(), shown.curves()
        drag_ratio(shown)
        after = shown.sliders()
        assert after["rho"] == pytest.approx(before["rho"] + 0.25, abs=0.03)
        assert shown.curves() != drawn

        box = centred(shown.find("svg"))
        middle, right = box["y"] + box["height"] / 2, box["x"] + box["width"] - 1
        drag(shown.page, (box["x"] + box["width"] / 3, middle), (right, middle))
        assert shown.sliders() == {**after, "z_t": 10}
        shown.wait_for_address()


def test_explorer_follows_a_finger(browser, served, explorer):
    with opened(browser, served, explorer[0], whole=False, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        shown = Shown(page)
        before = shown.sliders()
        box = centred(shown.find("svg"))
        page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
        after = shown.sliders()
        assert 4 < after["z_t"] < 8
        assert shown.reading("right") != shown.reading("wrong")
        assert after == {**before, "z_t": after["z_t"]}


def test_explorer_agrees_with_the_library(browser, served, explorer):
    with alone_at(browser, served, explorer) as shown:
        for rho, T, z_t in ((0.3, 2, -1), (0.95, 0.2, 7.5), (1, 5, 0)):
            state = {"rho": rho, "T": T, "z_t": z_t}
            shown.restore(state)
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
    assert_ignored(browser, served, explorer, foreign)


def assert_ignored(browser, site, home, fragments):
    """The explorer starts as it does without any of them."""
    seen = {}
    with alone_at(browser, site, home) as shown:
        for after in ("", *fragments):
            visit(shown.page, f"{site}{home[0]}#{after}")
            seen[after] = shown.sliders(), shown.curves()
    assert seen == dict.fromkeys(seen, seen[""])


def test_explorer_says_that_hard_labels_alone_have_no_minimiser(browser, served, explorer):
    with alone_at(browser, served, explorer) as shown:
        shown.press("rho", "Home")
        assert shown.reading("t") == np.inf
        assert "no finite minimiser" in shown.find(".kd-note").inner_text()


@pytest.mark.parametrize("home, names", [(STUDENT, "rho T n epoch draw"), (RISK, "rho T n epoch"),
                                         (CORRECTION, "rho T n epoch"), (INEFFICIENCY, "q epoch rho p_flip n")])
def test_explorer_of_students_restores_a_link_and_follows_the_keyboard(browser, site, home, names):
    with opened_at(browser, site, home, {"rho": 0.35}) as shown:
        assert sorted(shown.sliders()) == sorted(names.split())
        assert shown.sliders()["rho"] == 0.35
        for name in names.split():
            assert_key_moves(shown, name)


@pytest.mark.parametrize("home, chart, holds", [(STUDENT, 0, {"n": 200}), (RISK, 0, {"n": 200}),
                                                (INEFFICIENCY, 0, {"n": 94}),
                                                (CORRECTION, 0, {"rho": 1}), (CORRECTION, 1, {"epoch": 16384})])
def test_explorer_of_students_follows_the_mouse(browser, served, home, chart, holds):
    with opened_at(browser, served, home, {"rho": 0.5}) as shown:
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


def test_student_agrees_with_the_library(browser, served, task):
    with alone_at(browser, served, STUDENT) as shown:
        for rho, T, n, epoch, draw in ((0.5, 5, 20, 1024, 1), (0.05, 2, 37, 16, 3), (1, 1, 200, 16384, 6),
                                       (0, 5, 60, 64, 2)):
            state = {"rho": rho, "T": T, "n": n, "epoch": epoch, "draw": draw}
            shown.restore(state)
            assert shown.sliders() == state
            expected = in_python(task, [n], rho=rho, T=T, epoch=epoch, draw=draw)
            assert abs(shown.reading("norm") - expected["norms"][n - 1]) <= 0.006
            for name, z in (("teacher", expected["teacher"]), ("student", expected["curves"][0])):
                assert abs(shown.reading(name) - 100 * error_rate(task, z)) <= 0.1


def test_risk_agrees_with_the_library(browser, served, task):
    with alone_at(browser, served, RISK) as shown:
        for rho, T, n, epoch in ((1, 5, 20, 64), (0.9, 2, 60, 1024), (0, 5, 200, 16384)):
            state = {"rho": rho, "T": T, "n": n, "epoch": epoch}
            shown.restore(state)
            assert shown.sliders() == state
            expected = risk_in_python(task, [n], np.linspace(-3, 3, 6001), **state)
            assert abs(shown.reading("angle") - np.degrees(expected["angles"][n - 1])) <= 0.051
            for name in ("risk", "power", "theorem"):
                assert abs(shown.reading(name) - 100 * expected[name][0]) <= 0.5


def test_inefficiency_agrees_with_the_library(browser, served):
    with alone_at(browser, served, INEFFICIENCY) as shown:
        for q, epoch, rho, p_flip, n in ((6, 1024, 0.5, 0, 30), (12, 16, 0, 0.1, 2), (2, 16384, 1, 0.5, 94)):
            state = {"q": q, "epoch": epoch, "rho": rho, "p_flip": p_flip, "n": n}
            shown.restore(state)
            assert shown.sliders() == state
            found = InefficiencyExplorer(**state).solve()[-1]
            assert abs(shown.reading("value") - found.values[n - 2]) <= 0.006  # two decimals are shown
            assert abs(shown.reading("error") - found.errors[n - 2]) <= 0.006


def test_correction_agrees_with_the_library(browser, served):
    with alone_at(browser, served, CORRECTION) as shown:
        for rho, T, n, epoch in ((0.95, 5, 128, 2048), (0, 2, 8, 16), (1, 20, 256, 16384)):
            state = {"rho": rho, "T": T, "n": n, "epoch": epoch}
            shown.restore(state)
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
    with alone_at(browser, served, CORRECTION, {"rho": 0.5, "epoch": 64}) as shown:
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
    with alone_at(browser, served, CORRECTION) as shown:
        for T, derivative in ((0.001, "–"), (1000, "+")):
            shown.restore({"T": T})
            assert shown.find("[data-read=derivative]").inner_text().startswith(derivative)
            assert np.isfinite(shown.reading("student"))
            assert not any("NaN" in (d or "") for d in shown.curves())


@pytest.mark.parametrize("home", [STUDENT, RISK, INEFFICIENCY, CORRECTION])
def test_explorer_of_students_ignores_an_address_that_is_not_its_own(browser, served, home):
    foreign = "?n=2.5&?epoch=100&?draw=7&?rho=-1&?T=0", "?n=201&?draw=", "?q=5&?p_flip=0.6", "rho=0.1&n=3"
    assert_ignored(browser, served, home, [after.replace("?", home[2]) for after in foreign])


@pytest.mark.parametrize("home", [STUDENT, RISK, INEFFICIENCY, CORRECTION], ids=lambda home: home[1])
def test_students_of_hard_labels_alone_are_those_of_their_signs(browser, served, home):
    """In all explorers alike: drawn, and near the student of very small soft ratios; only the unit is another one."""
    with alone_at(browser, served, home, {"rho": 0.01}) as shown:
        names = [name for name in ("student", "risk", "value", "hard") if shown.find(f"[data-read={name}]").count()]
        near = [shown.reading(name) for name in names]
        shown.press("rho", "Home")
        assert shown.find(".kd-note").inner_text().startswith(
            "ρ = 0: hard labels alone. Their targets lie at ±∞; drawn is the limit, the student of the labels’ signs, "
            "in units of the threshold t.")
        assert [shown.reading(name) for name in names] == pytest.approx(near, abs=1)
        drawn = shown.find("svg path.kd-fit").first
        assert drawn.is_visible() and drawn.get_attribute("d")
        if home != CORRECTION:
            assert "logit / t" in shown.find("svg").first.text_content()


def test_risk_says_what_is_an_artefact(browser, served):
    """Where the oracle is a stand-in, and where it is compared with itself."""
    with alone_at(browser, served, RISK) as shown:
        for rho, n, said in ((0.9, 50, "stands in"), (0.9, 200, "compared with itself"), (1, 20, "says nothing"),
                             (1, 200, "Outside the strip both must agree")):
            shown.restore({"rho": rho, "n": n, "epoch": 1024})
            assert said in shown.find(".kd-note").inner_text()
            assert (shown.reading("angle") == 0) == (said == "compared with itself")


def test_two_explorers_share_an_address(browser, served):
    with opened(browser, served, STUDENT[0], whole=False) as page:
        both = [Shown(page), Shown(page, *STUDENT[1:])]
        for shown in both:
            shown.press("rho", "ArrowRight")
            shown.press("T", "ArrowLeft")
        for shown in both:
            shown.wait_for_address()
        states = [shown.sliders() for shown in both]
        visit(page, f"{served}{STUDENT[0]}#{address(fragment(page.url))}")
        assert [shown.sliders() for shown in both] == states


@pytest.mark.parametrize("path, selector", [("book/index.html", LOGIT[1]), *(home[:2] for home in KINDS)])
def test_explorer_is_a_still_picture_without_scripts(browser, site, path, selector):
    with opened(browser, site, path, whole=False, java_script_enabled=False) as page:
        assert page.locator(f"{selector} .kd-still").is_visible()


def bars(shown):
    """The teacher's probabilities, as its bars tell them."""
    values = shown.find("[role=slider]").evaluate_all("(all) => all.map((n) => n.getAttribute('aria-valuenow'))")
    return np.array(values, float) / 100


def told(shown, picture, whose):
    """What a picture says in words of the teacher's classes, or of the student's."""
    title = shown.find("svg title").nth(picture).text_content()
    [_, values] = title.split(f"{whose}: ")
    return [number(value) for value in re.findall(r"class \d+, ([−+\d.]+\d|[−+]∞)", values.split(". ")[0])]


def place(shown, k, share):
    """Where the bar of class k ends if the class has this share."""
    box, K = centred(shown.find("svg.kd-map")), len(bars(shown))
    return box["x"] + 56 + (k + 0.5) / K * (box["width"] - 68), box["y"] + 10 + (1 - share) * (box["height"] - 52)


def assert_only_moved(k, before, after):
    """The bar of class k; the others have kept their ratios."""
    rest = np.arange(len(before)) != k
    assert abs(after[k] - before[k]) > 0.05
    assert after[rest] / after[rest].sum() == pytest.approx(before[rest] / before[rest].sum(), abs=0.01)


def test_classes_restore_a_link_and_follow_the_keyboard(browser, site):
    with opened_at(browser, site, CLASSES, {"T": 2, "y_g": 3}) as shown:
        assert (shown.sliders()["T"], shown.sliders()["y_g"]) == (2, 3)
        for name in ("rho", "T", "y_g"):
            assert_key_moves(shown, name)
        before = bars(shown)
        shown.find("[role=slider]").nth(4).focus()
        shown.page.keyboard.press("PageUp")
        assert_only_moved(4, before, bars(shown))
        shown.wait_for_address()


def test_every_bar_follows_the_keyboard(browser, served):
    with alone_at(browser, served, CLASSES, {"T": 2, "y_g": 3}) as shown:
        for k in range(10):
            shown.find(".kd-presets button").get_by_text("uniform").click()
            before, drawn = bars(shown), shown.curves()
            shown.find("[role=slider]").nth(k).focus()
            shown.page.keyboard.press("PageUp")
            assert_only_moved(k, before, bars(shown))
            assert shown.curves() != drawn
            for key, expected in (("ArrowUp", 0.21), ("ArrowLeft", 0.2), ("PageDown", 0.1), ("Home", 0.001),
                                  ("ArrowDown", 0.001), ("ArrowRight", 0.011), ("End", 0.999), ("ArrowUp", 0.999)):
                shown.page.keyboard.press(key)
                assert bars(shown)[k] == pytest.approx(expected, abs=0.0016)
        shown.wait_for_address()


def test_classes_are_two_to_ten(browser, served):
    with alone_at(browser, served, CLASSES, {"y_g": 7}) as shown:
        shown.press("K", "Home")
        assert len(bars(shown)) == 2
        assert shown.sliders()["y_g"] == 1  # the last that there is
        shown.press("y_g", "Home")
        shown.press("K", "ArrowRight")
        assert shown.sliders()["y_g"] == 0
        assert shown.find("input[name=y_g]").get_attribute("max") == "2"
        shown.press("K", "End")
        assert len(bars(shown)) == 10
        shown.wait_for_address()


def test_classes_follow_the_mouse(browser, served):
    with opened_at(browser, served, CLASSES, {"rho": 0.5}) as shown:
        before, drawn = bars(shown), shown.curves()
        drag(shown.page, place(shown, 4, 0.3), place(shown, 7, 0.6))  # it is held until the button is released
        assert_only_moved(4, before, bars(shown))
        assert bars(shown)[4] == pytest.approx(0.6, abs=0.01)
        assert shown.curves() != drawn
        drag(shown.page, place(shown, 2, 0.3), place(shown, 2, 1.5))
        assert bars(shown)[2] == pytest.approx(0.999)
        shown.wait_for_address()


def test_a_finger_moves_a_bar_by_its_end_and_elsewhere_the_page(browser, served):
    path, selector, prefix = CLASSES
    with opened(browser, served, path, whole=False, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        shown = Shown(page, selector, prefix)
        touch = page.context.new_cdp_session(page)

        def along(k, start, end):
            return swipe(page, touch, place(shown, k, start), place(shown, k, end))

        before = bars(shown)
        place(shown, 6, 0)
        scrolled = page.evaluate("scrollY")
        assert along(6, before[6], 0.8) == scrolled
        after = bars(shown)
        assert after[6] == pytest.approx(0.8, abs=0.01)
        assert_only_moved(6, before, after)
        assert along(3, 0.6, 0.9) > scrolled
        assert (bars(shown) == after).all()


def test_classes_agree_with_the_library(browser, served):
    rng = np.random.default_rng(0)
    with alone_at(browser, served, CLASSES) as shown:
        for K, rho, T, size in ((10, 0.95, 5, 3), (3, 0.8, 2, 12), (10, 0.999, 0.5, 12), (7, 0.01, 20, 3),
                                (2, 0.9, 1, 3), (5, 1, 5, 12)):
            z_t, y = np.round(rng.normal(scale=size, size=K), 2), int(rng.integers(K))
            state = {"z_t": ",".join(map(str, z_t)), "y_g": y, "rho": rho, "T": T}
            shown.restore(state)
            assert shown.sliders() == {"K": K, "y_g": y, "rho": rho, "T": T}
            z = np.asarray(class_effective_logit(z_t, y, rho=rho, T=T))
            q, beaten = softmax(z_t / T), np.asarray(beats(z_t, y, rho=rho, T=T))
            assert bars(shown) == pytest.approx(q, abs=0.00051)  # a tenth of a per cent is shown
            assert told(shown, 0, "Student") == pytest.approx(100 * softmax(z / T), abs=0.051)
            assert told(shown, 1, "Teacher") == pytest.approx(z_t - z_t.mean(), abs=0.0051)
            assert told(shown, 1, "Student") == pytest.approx(z, abs=0.0051)
            assert told(shown, 2, "Student") == pytest.approx(100 * softmax(z), abs=0.051)
            kappa = T * (1 - rho) / rho
            assert shown.reading("kappa") == pytest.approx(kappa, abs=max(0.0051, 0.005 * kappa))
            assert shown.reading("lead") == pytest.approx(np.delete(q - q[y], y).max(), abs=0.0051)
            assert shown.reading("label") == pytest.approx(100 * softmax(z)[y], abs=0.051)

            note, winner = shown.find(".kd-note").inner_text(), z.argmax()
            assert ("label wins" if winner == y else f"Class {winner} wins") in note
            lost = [name for k, name in enumerate(shown.find("[role=slider]").all()) if k != y
                    and "not beaten" in name.get_attribute("aria-valuetext")]
            assert len(lost) == (~beaten).sum()
            also = re.search(r"Class(?:es)? ([\d, and]+) beats? the label, too", note)
            others = set(np.flatnonzero(~beaten)) - {winner}
            assert set(map(int, re.findall(r"\d+", also[1] if also else ""))) == others


def test_classes_ignore_an_address_that_is_not_their_own(browser, served):
    assert_ignored(browser, served, CLASSES, (
        "k.z_t=1", "k.z_t=1,,2", "k.z_t=1,x", "k.z_t=600,0", "k.z_t=0,1,2,3,4,5,6,7,8,9,10",
        "k.y_g=10&k.T=1e7&k.rho=2&k.K=3&z_t=1,2&rho=0.1", "k.y_g=1.5"))


def test_classes_at_the_ends_of_the_soft_ratio(browser, served):
    with alone_at(browser, served, CLASSES, {"rho": 0.5}) as shown:
        shown.press("rho", "Home")
        assert "no finite minimiser" in shown.find(".kd-note").inner_text()
        assert shown.reading("kappa") == np.inf
        assert shown.reading("label") == 100
        assert told(shown, 1, "Student") == [np.inf if k == shown.sliders()["y_g"] else -np.inf for k in range(10)]
        shown.press("rho", "End")
        assert "which the student copies. Class 6 wins" in shown.find(".kd-note").inner_text()
        assert told(shown, 1, "Student") == told(shown, 1, "Teacher")
        shown.find(".kd-presets button").get_by_text("uniform").click()
        assert "are level: none wins" in shown.find(".kd-note").inner_text()
        shown.find(".kd-presets button").get_by_text("confident and right").click()
        assert "It is right, so the label wins" in shown.find(".kd-note").inner_text()
        assert shown.reading("kappa") == 0


def test_classes_begin_with_a_teacher_that_has_a_button(browser, served):
    with alone_at(browser, served, CLASSES, {"z_t": ",".join(map(str, ClassesExplorer().z_t))}) as shown:
        before = shown.curves()
        for name, lead in (("torn between two", 0.05), ("confident and right", -0.33), ("confident and wrong", 0.33)):
            shown.find(".kd-presets button").get_by_text(name).click()
            assert shown.reading("lead") == lead
        assert shown.curves() == before
