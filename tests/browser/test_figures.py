"""A figure's passport: its data and its picture, from the page itself, and where it was made."""

import base64
import csv
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from extensions.execution import Book, code_cells
from watched import ROOT, opened

PLOTLY = "application/vnd.plotly.v1+json"
NUMBERS = {"f8": np.float64, "f4": np.float32, "i4": np.int32, "i2": np.int16, "i1": np.int8, "u1": np.uint8}


def drawn(chapter):
    """The traces of the figures that a notebook glued in its last run, by name."""
    figures = {}
    for cell in code_cells(Book(ROOT).kept_run(ROOT / f"book/{chapter}.ipynb").notebook):
        for output in cell.outputs:
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            content = next((form for mime, form in output.get("data", {}).items() if mime.endswith(PLOTLY)), None)
            if name and content:
                figures[name] = content["data"]
    return figures


def values(given):
    if isinstance(given, dict):
        return np.frombuffer(base64.b64decode(given["bdata"]), NUMBERS[given["dtype"]]).tolist()
    return given or []


def points(traces):
    """What a figure's file should say: place, and errors, of each point of a curve. Words in a plot are none."""
    for trace in traces:
        if trace.get("mode") == "text":
            continue
        columns = [trace["x"], trace["y"], *(trace.get(f"error_{letter}", {}).get("array") for letter in "xy")]
        columns = [values(column) for column in columns]
        yield from ([column[i] if i < len(column) and column[i] is not None else "" for column in columns]
                    for i in range(len(columns[1])))  # fmt: skip


@pytest.mark.parametrize("chapter", ["03_transfer_risk", "appendix_s2"])
def test_the_file_gives_the_figures_numbers_again(browser, site, chapter):
    figures = drawn(chapter)
    with opened(browser, site, f"book/{chapter}.html") as page:
        passports = page.locator("figure + .kd-passport")
        assert passports.count() == page.locator("figure:has(.kd-figure)").count() >= 3
        for passport in passports.all():
            passport.locator("summary").click()
            with page.expect_download() as download:
                passport.get_by_text("Data as CSV").click()
            name = download.value.suggested_filename.removesuffix(".csv")
            rows = list(csv.DictReader(download.value.path().read_text("utf-8").splitlines()))
            found = [[float(row[key]) if row[key] else "" for key in ("x", "y", "error_x", "error_y")] for row in rows]
            key = re.search(r"#drawn-([\w-]+)", passport.locator("a").first.get_attribute("href"))[1]
            assert found == list(points(figures[key])) and len(found) > 5, name
            assert all(row["curve"] for row in rows), name


@pytest.mark.parametrize("chapter", [path.stem for path in Book(ROOT).notebooks()])
def test_every_curve_has_a_name_of_its_own(chapter):
    """By which the file calls it, and the pointer; words in a plot are none."""
    for figure, traces in drawn(chapter).items():
        named = [(trace.get("name"), trace.get("yaxis"), "fill" in trace) for trace in traces
                 if trace.get("mode") != "text"]  # fmt: skip
        assert all(name for name, *_ in named) and len(named) == len({*named}), figure


def test_a_passport_has_the_picture_the_cell_and_how_to_cite(browser, on_disk):
    with opened(browser, on_disk, "book/03_transfer_risk.html") as page:
        passport = page.locator(".kd-passport").first
        passport.locator("summary").focus()
        page.keyboard.press("Enter")
        with page.expect_download() as download:
            passport.get_by_text("Picture as SVG").press("Enter")
        picture = ElementTree.fromstring(download.value.path().read_text("utf-8"))
        assert picture.tag.endswith("svg") and len(list(picture.iter())) > 20
        cell = page.locator(passport.locator("a").first.get_attribute("href"))
        assert "glue(" in cell.locator("pre").first.text_content()
        shown = unquote(passport.inner_text())
        assert re.search(r"cell \d+ of book/03_transfer_risk\.ipynb, whose seed is \d+", shown)
        assert re.search(r"@misc\{fig-[\w-]+,\s+author = \{\{The kdlib authors\}\}", shown)


def test_without_scripts_a_passport_offers_no_files(browser, on_disk):
    with opened(browser, on_disk, "book/03_transfer_risk.html", java_script_enabled=False) as page:
        passport = page.locator(".kd-passport").first
        passport.locator("summary").click()
        assert passport.get_by_text("Drawn by").is_visible() and not passport.locator("button").first.is_visible()
