"""The exchange office's form: its JavaScript against the library, and the page."""

import re
from itertools import product
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pytest
from shown import live, visit
from tolerances import BROWSER
from watched import PHONE, opened

from kdlib.explorers import RecipeExplorer
from kdlib.recipes import mixture, recipe, recipes

PAGE = "book/exchange_office.html"
FORM = ".kd-recipes"  # alone, where the rest of the page does not matter
SETTINGS = "soft", "hard", "T", "t_squared", "reduction", "classes"
NUMBER = re.compile(r"\d[\d.]*(?:e[-+]?\d+)?")


def numbers(texts):
    return [float(number.rstrip(".")) for text in texts for number in NUMBER.findall(text)]


def words(texts):
    return [NUMBER.sub("#", text) for text in texts]


def in_browser(evaluate, settings):
    return evaluate(
        RecipeExplorer,
        """({mixture, weights, answer, equivalents}, [all, recipes]) => all.map((settings) => {
            const {rho, kappa, lambda, scale} = mixture(settings);
            const other = (t_squared, reduction) => Object.values(
                weights(mixture(settings), {t_squared, reduction, classes: settings.classes}));
            return {numbers: [rho, kappa, lambda, scale], answer: answer(settings),
                    weights: [[true, "batchmean"], [false, "mean"]].map((there) => other(...there)),
                    same: equivalents(settings, recipes)};
        })""",
        [settings, RecipeExplorer().recipes],
    )


def test_form_and_library_agree(evaluate):
    """On every published recipe and on a grid of settings, ends included: numbers, sentences, other spellings."""
    published = [{name: getattr(it, name) for name in SETTINGS} | {"classes": it.classes or 1000}
                 for it in recipes.values()]
    grid = [dict(zip(SETTINGS, row, strict=True)) for row in product(
        [0, 0.013, 0.5, 30], [0, 1e-4, 0.5, 1], [0.05, 1, 4, 1e3], [True, False], ["batchmean", "mean"], [2, 1000])]
    settings = published + [row for row in grid if row["soft"] or row["hard"]]
    for row, found in zip(settings, in_browser(evaluate, settings), strict=True):
        ours = mixture(**row)
        expected = np.array([ours.rho, ours.kappa, ours.lam, ours.scale])
        there = [ours.in_recipe(t_squared=t_squared, reduction=reduction, classes=row["classes"])
                 for t_squared, reduction in ((True, "batchmean"), (False, "mean"))]
        in_page = np.array(found["numbers"], float)
        np.testing.assert_allclose(in_page, expected, rtol=BROWSER)
        assert np.abs(np.array(found["weights"]) - there).max() <= BROWSER
        office = RecipeExplorer(**row)
        for mine, library in ((found["answer"], office.answer()), (found["same"], office.equivalents())):
            texts = [[*said, *said.values()] if isinstance(said, dict) else said for said in (mine, library)]
            assert words(texts[0]) == words(texts[1])
            # They have three digits, and weights four of the smaller one: halves may be rounded either way.
            assert numbers(texts[0]) == pytest.approx(numbers(texts[1]), rel=0.01)


@pytest.mark.parametrize("setting, value", [("soft", -1), ("hard", np.inf), ("T", 0), ("T", 1e101), ("classes", 1),
                                            ("classes", 2.5)])
def test_form_refuses_what_the_library_refuses(evaluate, setting, value):
    said = evaluate(RecipeExplorer, "({refusal}, [name, value]) => refusal(name, value)", [setting, value])
    assert said.startswith(f"{setting} must be ")
    with pytest.raises(ValueError, match=f"^{setting} must "):
        RecipeExplorer(**{setting: value})


# --- On the page --------------------------------------------------------------------------------


def field(page, name):
    return page.locator(f".kd-recipes [name={name}]")


def reading(page, name):
    return float(page.locator(f".kd-recipes [data-read={name}]").inner_text().replace("∞", "inf"))


def note(page):
    return page.locator(".kd-recipes .kd-note").inner_text()


def spelled(page):
    rows = page.locator(".kd-recipes tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows}


def test_form_restores_a_link(browser, site):
    links = {
        "x.recipe=torchtune": recipe("torchtune"),
        "x.recipe=haitongli%2C%20CNN&x.classes=50000": recipe("haitongli, CNN", classes=50_000),
        "x.T=7&x.recipe=keras.io+example&x.t_squared=false": recipe("keras.io example", T=7, t_squared=False),
        "x.soft=0.2&x.hard=0&x.reduction=mean": recipe("RepDistiller", soft=0.2, hard=0, reduction="mean"),
    }
    with opened(browser, site, PAGE, only=FORM) as page:
        for link, expected in links.items():
            visit(page, f"{site}{PAGE}#{link}")
            found = expected.mixture()
            for name, value in (("kappa", found.kappa), ("rho", found.rho), ("lambda", found.lam)):
                assert reading(page, name) == pytest.approx(value, rel=1e-3)
            assert float(field(page, "T").input_value()) == expected.T
            assert field(page, "t_squared").is_checked() == expected.t_squared


def test_form_follows_the_keyboard_and_the_address_follows(browser, site):
    with opened(browser, site, PAGE, whole=False) as page:
        before = reading(page, "kappa")
        field(page, "T").focus()
        page.keyboard.press("ArrowUp")
        assert reading(page, "kappa") == pytest.approx(before * 4 / 4.5, rel=1e-3)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert not field(page, "t_squared").is_checked()
        page.keyboard.press("Tab")
        page.keyboard.press("m")
        assert field(page, "reduction").input_value() == "mean"
        expected = recipe("RepDistiller", T=4.5, t_squared=False, reduction="mean")
        assert reading(page, "kappa") == pytest.approx(expected.mixture().kappa, rel=1e-3)
        page.wait_for_url(lambda url: "x.reduction=mean" in url)
        assert parse_qs(urlsplit(page.url).fragment) == {
            "x.recipe": ["RepDistiller"], "x.T": ["4.5"], "x.t_squared": ["false"], "x.reduction": ["mean"]}


def test_another_recipe_begins_anew_as_published(browser, served):
    with opened(browser, served, f"{PAGE}#x.recipe=RepDistiller&x.T=9&x.soft=0.3", only=FORM) as page:
        field(page, "recipe").select_option("PyTorch tutorial")
        assert note(page).startswith("PyTorch tutorial, as published.")
        assert float(field(page, "soft").input_value()) == 0.25
        page.wait_for_url(lambda url: url.endswith("#x.recipe=PyTorch+tutorial"))


@pytest.mark.parametrize("link, said, warned", [
    ("x.recipe=keras.io example, first&x.soft=0.3", "No teacher can win", "With it, κ would be"),
    ("x.recipe=RepDistiller", "sure by more than κ = 0.0278", "The reduction decides. With “mean”"),
    ("x.recipe=haitongli, CNN&x.hard=0.01", "sure by more than", "The factor T² decides. Without it"),
    ("x.recipe=TextBrewer", "follows its teacher everywhere", ""),
    ("x.soft=0", "follows the labels alone", ""),
    ("x.recipe=ModelOpt", "the number of classes counts: give K", ""),
    ("x.soft=0&x.hard=0", "soft and hard must not both be 0", ""),
])
def test_form_answers_in_words(browser, served, link, said, warned):
    with opened(browser, served, f"{PAGE}#{quote(link, safe='=&')}", only=FORM) as page:
        assert said in note(page)
        warnings = page.locator(".kd-recipes .kd-warnings").inner_text()
        assert warned in warnings and bool(warned) == bool(warnings)


def test_form_names_what_it_refuses_and_recovers(browser, served):
    with opened(browser, served, PAGE, only=FORM) as page:
        before = note(page)
        field(page, "T").fill("0")
        assert note(page).startswith("T must be positive and finite, got 0")
        assert field(page, "T").get_attribute("aria-invalid") == "true"
        assert page.locator(".kd-recipes [data-read=kappa]").inner_text() == "–"
        field(page, "T").fill("")
        field(page, "soft").focus()
        assert note(page) == before and field(page, "T").input_value() == "4"


@pytest.mark.parametrize("name, pattern", [
    ("mdistiller", "KD_WEIGHT (?P<soft>{}) KD.LOSS.CE_WEIGHT (?P<hard>{}) KD.TEMPERATURE (?P<T>{})"),
    ("TextBrewer", "kd_loss_weight=(?P<soft>{}), hard_label_weight=(?P<hard>{}), temperature=(?P<T>{})"),
    ("PyTorch tutorial", "T=(?P<T>{}), soft_target_loss_weight=(?P<soft>{}), ce_loss_weight=(?P<hard>{})"),
])
def test_settings_taken_elsewhere_mean_the_same(browser, served, name, pattern):
    """What the table offers for a recipe, entered in the form of that recipe, has the student one came from."""
    with opened(browser, served, f"{PAGE}#x.recipe=torchdistill&x.T=6", only=FORM) as page:
        kappa, offered = reading(page, "kappa"), spelled(page)[name]
        field(page, "recipe").select_option(name)
        for setting, value in re.search(pattern.format(*3 * [r"[\d.]+"]), offered).groupdict().items():
            field(page, setting).fill(value)
        assert reading(page, "kappa") == pytest.approx(kappa, rel=1e-3)


def test_form_ignores_an_address_that_is_not_its_own(browser, served):
    seen = set()
    with opened(browser, served, PAGE, only=FORM) as page:
        for link in ("", "x.recipe=fitnets", "x.T=-1&x.soft=abc&x.classes=1.5", "x.t_squared=1&x.reduction=sum", "T=9"):
            visit(page, f"{served}{PAGE}#{link}")
            seen.add((note(page), field(page, "T").input_value(), reading(page, "kappa")))
    assert len(seen) == 1


def test_form_follows_a_live_model_and_drives_it(browser):
    with live(browser, RecipeExplorer()) as page:
        page.evaluate("model.set('recipe', 'PyTorch tutorial')")
        assert reading(page, "lambda") == 3
        page.evaluate("model.set('t_squared', false)")
        assert reading(page, "lambda") == 12
        field(page, "T").fill("3")
        assert page.evaluate("[model.get('T'), model.saved]") == [3, 1]


def test_form_is_whole_on_a_phone_and_plain_without_scripts(browser, site):
    with opened(browser, site, f"{PAGE}#x.recipe=torchtune", whole=False, viewport=PHONE) as page:
        assert field(page, "recipe").input_value() == "torchtune"  # its link, on the page itself
        for control in page.locator(".kd-recipes [name]").all():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    with opened(browser, site, PAGE, java_script_enabled=False) as page:
        assert page.locator(".kd-recipes .kd-still table").is_visible()
