"""What papermill wrote, as a page of nbconvert's: figures and explorers in it, offline, with scripts and without."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from watched import DESKTOP, ROOT

from kdlib import explorers

pytestmark = pytest.mark.xdist_group("exports")  # one notebook, run once, for both

# What nbconvert's own template asks for, on every page: without it formulas are TeX, and all else is there.
TEMPLATE = re.compile(r"https://(cdnjs\.cloudflare\.com/ajax/libs/(require\.js|mathjax)|unpkg\.com/@jupyter-widgets)/")
INK = """async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);
  const differs = (i) => [0, 1, 2].some((j) => Math.abs(data[i + j] - data[j]) > 40);
  return Array.from({ length: width * height }, (_, i) => differs(4 * i)).filter(Boolean).length / (width * height);
}"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tutorial at a small size, with an explorer of each kind at its end."""
    folder = tmp_path_factory.mktemp("exported")
    notebook = nbformat.read(ROOT / "book/tutorial.ipynb", as_version=4)
    show = "from kdlib import explorers\nfor name in explorers.__all__:\n    display(getattr(explorers, name)())"
    notebook.cells.append(new_code_cell(show))
    nbformat.write(notebook, folder / "in.ipynb")
    for command in (["papermill", "in.ipynb", "out.ipynb", "-p", "n", "60", "-p", "T", "2", "--no-progress-bar"],
                    ["jupyter", "nbconvert", "--to", "html", "out.ipynb"]):
        command[0] = Path(sys.executable).with_name(command[0])
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
    return folder / "out.html"


@pytest.mark.parametrize("scripts", [True, False])
def test_an_exported_notebook_shows_its_figures_and_explorers_offline(browser, exported, scripts):
    troubles = []
    with browser.new_context(viewport=DESKTOP, java_script_enabled=scripts, offline=True) as context:
        context.on("request", lambda r: r.url.startswith(("file:", "data:")) or TEMPLATE.match(r.url)
                   or troubles.append(r.url))  # fmt: skip
        context.on("requestfailed", lambda r: TEMPLATE.match(r.url) or troubles.append(f"failed: {r.url}"))
        context.on("weberror", lambda e: troubles.append(str(e.error)))
        page, ink = context.new_page(), browser.new_page()
        page.goto(exported.as_uri())
        shown = page.locator(".kd-figure, .kd-explorer")
        assert shown.count() == 1 + len(explorers.__all__)
        if scripts:
            page.wait_for_function("document.querySelectorAll('.kd-explorer .kd-still').length === 0")
        for i in range(shown.count()):
            source = f"data:image/png;base64,{base64.b64encode(shown.nth(i).screenshot()).decode()}"
            assert ink.evaluate(INK, source) > 0.004, shown.nth(i).get_attribute("class")
        stills = page.locator("img.kd-still")
        assert all(len(alt) > 50 for alt in stills.evaluate_all("(stills) => stills.map((still) => still.alt)"))
        assert stills.count() == (1 if scripts else len(explorers.__all__) - 1)  # two are text
        if scripts:
            slider = page.locator(".kd-effective-logit input[name=rho]")
            before = page.locator(".kd-effective-logit dd").first.text_content()
            slider.press("ArrowRight")
            assert page.locator(".kd-effective-logit dd").first.text_content() != before
        ink.close()
    assert not troubles
