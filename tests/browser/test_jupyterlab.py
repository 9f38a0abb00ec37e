"""A notebook of the book in JupyterLab: read, run, moved by hand and from Python, saved, and opened again."""

import time
from contextlib import contextmanager

import nbformat
import pytest
from lab import put
from lab_server import TOKEN, serving
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell
from playwright.sync_api import expect
from watched import DESKTOP, HTML

pytestmark = pytest.mark.xdist_group("lab")  # one server for all of them

PATIENCE = 180  # seconds: the kernel imports JAX, perhaps beside other work
# The landing page's notebook shows its explorer as the value of its second cell.
READ, SET = "print(f'rho is {Out[2].rho}')", "Out[2].rho = 0.25"
COMPLAINT = "text=Error displaying widget"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server's address and its folder."""
    home = tmp_path_factory.mktemp("lab")
    with serving(home, "jupyter", "lab", "--no-browser", f"--ServerApp.root_dir={home}") as address:
        yield address, home


@pytest.fixture(scope="module")
def trusted(lab):
    """The landing page's notebook, whose code beyond the explorer gives way to what reads and sets it."""
    _, home = lab
    put(HTML / "notebooks/index.ipynb", home)
    notebook = nbformat.read(home / "index.ipynb", as_version=4)
    notebook.cells = [cell for i, cell in enumerate(notebook.cells) if i < 3 or cell.cell_type == "markdown"]
    notebook.cells[3:3] = [new_code_cell(READ), new_code_cell(SET)]
    nbformat.write(notebook, home / "index.ipynb")
    NotebookNotary(data_dir=str(home / "data")).sign(notebook)
    return "index.ipynb"


@contextmanager
def opened(browser, lab, name):
    """A notebook in a new profile of the browser, drawn; on leaving, asserts that nothing was asked for elsewhere."""
    address, _ = lab
    troubles = []
    with browser.new_context(viewport=DESKTOP) as context:
        context.set_default_timeout(1000 * PATIENCE)
        context.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or troubles.append(r.url))
        page = context.new_page()
        page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
        page.locator(".jp-Notebook .jp-MarkdownOutput h1").wait_for()
        yield page
    assert not troubles


def explorers(page):
    return page.locator(".jp-OutputArea .kd-explorer:visible")


def run_cell(page, i):
    page.locator(".jp-Notebook .jp-Cell").nth(i).locator(".jp-InputPrompt").click()
    page.keyboard.press("Shift+Enter")


def output(page, i):
    return page.locator(".jp-Notebook .jp-Cell").nth(i).locator(".jp-OutputArea-output")


def test_a_notebook_reads_well_before_it_is_run(browser, lab, trusted):
    with opened(browser, lab, trusted) as page:
        explorers(page).locator("input[name=rho]").wait_for()
        assert explorers(page).count() == 1 and not page.locator(COMPLAINT).count()
        assert page.locator(".jp-MarkdownOutput mjx-container").first.is_visible()
        prose = " ".join(page.locator(".jp-MarkdownOutput").all_inner_texts())
        assert not [mark for mark in ("{glue", "{term", "{cite", ":::", "```", "$") if mark in prose]


def test_a_slider_moves_the_kernel_and_the_kernel_the_slider(browser, lab, trusted):
    _, home = lab
    with opened(browser, lab, trusted) as page:
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(state="attached")
        for i in (1, 2):
            run_cell(page, i)
        slider = page.locator(".kd-explorer:not([data-copy]) input[name=rho]")
        slider.wait_for()
        assert explorers(page).count() == 1 and slider.input_value() == "0.5"

        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
        by_mouse = float(slider.input_value())
        assert 0.7 < by_mouse < 0.9
        run_cell(page, 3)
        output(page, 3).get_by_text(f"rho is {by_mouse}").wait_for()

        slider.press("ArrowLeft")
        run_cell(page, 3)
        output(page, 3).get_by_text(f"rho is {by_mouse - 0.01:.2f}").wait_for()

        run_cell(page, 4)
        expect(slider).to_have_value("0.25", timeout=1000 * PATIENCE)

        before = (home / trusted).stat().st_mtime_ns
        page.keyboard.press("Control+s")
        end = time.monotonic() + PATIENCE
        while (home / trusted).stat().st_mtime_ns == before:
            assert time.monotonic() < end, "the notebook was not saved"
            page.wait_for_timeout(50)
    saved = nbformat.read(home / trusted, as_version=4)
    assert [len(cell.outputs) for cell in saved.cells[2:4]] == [2, 1]


def test_a_saved_notebook_opens_again_with_its_explorer_in_motion(browser, lab, trusted):
    address, _ = lab
    with opened(browser, lab, trusted) as page:
        shut_down_kernels(page, address)
        page.reload()
        slider = explorers(page).locator("input[name=rho]")
        slider.wait_for()
        readout = explorers(page).locator("dd").first
        before = readout.text_content()
        slider.press("ArrowRight")
        assert readout.text_content() != before
        assert not page.locator(COMPLAINT).locator("visible=true").count()


def shut_down_kernels(page, address):
    page.evaluate("""async ([address, token]) => {
        const headers = { Authorization: `token ${token}`, "X-XSRFToken": document.cookie.match(/_xsrf=([^;]+)/)?.[1] };
        for (const { id } of await (await fetch(`${address}/api/sessions`, { headers })).json())
            await fetch(`${address}/api/sessions/${id}`, { method: "DELETE", headers });
    }""", [address, TOKEN])


def test_a_notebook_from_elsewhere_is_legible_although_its_scripts_are_refused(browser, lab, trusted):
    _, home = lab
    notebook = nbformat.read(home / trusted, as_version=4)
    notebook.cells[2].outputs[0].data["text/html"] += "<!-- from elsewhere -->"
    nbformat.write(notebook, home / "elsewhere.ipynb")
    with opened(browser, lab, "elsewhere.ipynb") as page:
        still = output(page, 2).locator("img.kd-still, img[src^='data:image/svg']").first
        still.wait_for()
        assert still.evaluate("(image) => image.complete && image.naturalWidth > 0")
        assert len(still.get_attribute("alt")) > 50
        assert not page.locator("input[name=rho]").count()
        assert not page.locator(COMPLAINT).locator("visible=true").count()
        assert "mount(" not in " ".join(output(page, 2).all_inner_texts())
