"""The notebooks in plain Markdown that are drawn with the pages, and their way to JupyterLab."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import lab
import nbformat
import pytest
from docutils import nodes
from extensions.execution import Book, code_cells
from lab import put
from markdown_it import MarkdownIt
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook, new_output
from plain import Markdown, quoted

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
SOURCES = {path.stem: path for path in Book(ROOT).notebooks()}


@pytest.fixture(params=SOURCES)
def name(request):
    return request.param


@pytest.fixture
def notebook(name):
    path = HTML / "notebooks" / f"{name}.ipynb"
    if not path.exists():
        pytest.fail(f"no {path.relative_to(ROOT)}: run make book first")
    return nbformat.read(path, as_version=4)


@pytest.fixture
def page(name):
    return (HTML / "book" / f"{name}.html").read_text("utf-8")


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def without_code(text):
    """Neither fences, spans of code nor formulas, whose braces and brackets mean something else."""
    text = re.sub(r"^(> )*```.*?^(> )*```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`` .*? ``|`[^`\n]*`|\$\$.*?\$\$|(?<!\\)\$[^$]*\$", "x", text, flags=re.DOTALL)


# --- What they hold -----------------------------------------------------------------------------------


def test_cells_are_those_of_the_source_and_code_is_the_same(name, notebook):
    source = nbformat.read(SOURCES[name], as_version=4)
    nbformat.validate(notebook)
    assert [(cell.id, cell.cell_type) for cell in notebook.cells] == [(c.id, c.cell_type) for c in source.cells]
    assert [cell.source for cell in code_cells(notebook)] == [cell.source for cell in code_cells(source)]
    assert all(cell.metadata.get("tags") == other.metadata.get("tags")
               for cell, other in zip(notebook.cells, source.cells, strict=True))


def test_nothing_is_left_that_only_myst_understands(notebook):
    text = prose(notebook)
    assert not re.search(r"\{[\w:-]+\}`", text), "a role"
    assert not re.search(r"^[> ]*(`{3,}|:{3,}|~{3,})\{", text, re.MULTILINE), "a directive"
    assert not re.search(r"^[> ]*(:{3,}|\+\+\+|%|\([\w-]+\)=)", text, re.MULTILINE), "a fence, a comment or a target"
    assert not re.search(r"^[> ]*:[\w-]+:", text, re.MULTILINE), "an option"
    assert not re.search(r"\[\]\(", text), "an empty link"
    assert not re.search(r"_node\b|problematic|system_message", text)


def test_no_cell_of_prose_is_lost(name, notebook):
    source = nbformat.read(SOURCES[name], as_version=4)
    for before, after in zip(source.cells, notebook.cells, strict=True):
        if re.search(r"\w", re.sub(r"^[`:]{3,}\{solution-end\}|^\([\w-]+\)=", "", before.source, flags=re.MULTILINE)):
            assert after.source.strip(), before.source


def test_the_first_cell_says_where_it_comes_from_and_that_nothing_goes_back(name, notebook):
    title, note, *_ = notebook.cells[0].source.split("\n\n")
    assert title.startswith("# ") and f"book/{name}.html" in note and "nothing goes back" in note


def test_formulas_theorems_and_figures_have_the_numbers_of_the_page(notebook, page):
    text = prose(notebook)
    assert re.findall(r"\\tag\{(\d+)\}", text) == re.findall(r'<span class="eqno">\((\d+)\)', page)
    kinds = "Definition|Theorem|Proposition|Lemma|Corollary|Exercise"
    shown = re.findall(rf'"admonition-title"[^>]*>\s*<span class="caption-number">({kinds}) (\d+) ?</span>', page)
    assert re.findall(rf"^(?:> |)\*\*({kinds}) (\d+).*\*\*$", text, re.MULTILINE) == shown
    figures = re.findall(r'<span class="caption-number">Fig\. (\d+) ?</span>', page)
    assert re.findall(r"^\*\*Fig\. (\d+)\.\*\*", text, re.MULTILINE) == figures


def test_headings_are_those_of_the_page(notebook, page):
    words = lambda heading: re.sub(r"\W|\\[a-z]+", "", heading)
    shown = [unescape(re.sub(r"<[^>]*>", "", heading))
             for heading in re.findall(r'<h[1-6]>((?:(?!</h).)*)<a class="headerlink', page, re.DOTALL)]
    headings = [line.lstrip("# ") for line in without_fences(prose(notebook)) if re.match("#+ ", line)]
    assert list(map(words, headings)) == list(map(words, shown))


def without_fences(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def test_every_formula_is_closed_and_in_a_quotation_on_one_line(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^(> )*```.*?^(> )*```$|`[^`\n]*`", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0, cell.source
            assert all(line.count("$$") in (0, 2) for line in text.splitlines() if line.startswith(">"))


def test_links_lead_to_pages_and_notebooks_that_are_there(notebook):
    lab = ROOT / "_build" / "lab"  # from where they count
    links = re.findall(r"\]\(([^)]*)\)|href=\"([^\"]*)\"", without_code(prose(notebook)))
    assert links
    for link in map("".join, links):
        path, _, place = link.partition("#")
        if ":" in path:
            continue
        target = (HTML / "notebooks" / path) if path.endswith(".ipynb") else lab.joinpath(path)
        assert target.resolve().exists(), link
        assert not place or f'id="{place}"' in target.resolve().read_text("utf-8"), link


def test_what_is_left_is_markdown_that_any_viewer_shows(notebook):
    """Read without extensions but tables: no character of the syntax is on show in the prose."""
    reader = MarkdownIt("commonmark").enable("table")
    for token in reader.parse(without_code(prose(notebook))):
        if token.type == "inline":
            text = "".join(child.content for child in token.children if child.type == "text")
            assert not re.search(r"\*\*|\]\(|\$\$|^#|^> ", text), text


def test_its_page_offers_it_for_download(name, page):
    [address] = re.findall(r'href="([^"]*)"[^>]*title="Download this notebook', page)
    assert (HTML / "book" / address).resolve() == (HTML / "notebooks" / f"{name}.ipynb").resolve()


def test_no_live_view_waits_for_a_kernel_that_is_gone(notebook):
    data = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    assert not [kinds for kinds in data if "application/vnd.jupyter.widget-view+json" in kinds]
    assert not [kinds for kinds in data if "text/html" in kinds and "text/plain" not in kinds]


def test_a_notebook_runs_as_its_chapter_does(tmp_path):
    """Its code is the chapter's, whose tests run all; here the way of a reader who has it alone."""
    command = [Path(sys.executable).with_name("papermill"), HTML / "notebooks/tutorial.ipynb", tmp_path / "out.ipynb",
               "-p", "n", "60", "-p", "T", "2", "--no-progress-bar", "--cwd", tmp_path]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    assert all(cell.execution_count for cell in code_cells(nbformat.read(tmp_path / "out.ipynb", as_version=4)))


# --- How they are written ------------------------------------------------------------------------------


@pytest.fixture
def writer():
    """For a page of a book that is published."""
    env = SimpleNamespace(toc_fignumbers={}, found_docs=set())
    return Markdown(SimpleNamespace(env=env, config=SimpleNamespace(ogp_site_url="https://book.org/x/")), "book/page")


@pytest.mark.parametrize(("words", "written"), [
    ("a * b, a_b and _c_", r"a \* b, a_b and \_c\_"),
    ("f[1](x) < 2, `code`, $5", r"f\[1](x) \< 2, \`code\`, \$5"),
    ("1. not a list", r"1\. not a list"),
    ("- nor this", r"\- nor this"),
    ("# nor a heading", r"\# nor a heading"),
])  # fmt: skip
def test_words_mean_themselves(writer, words, written):
    assert writer.words(nodes.paragraph("", words)) == written
    tokens = MarkdownIt("commonmark").parse(written)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert "".join(child.content for child in tokens[1].children) == words


@pytest.mark.parametrize(("uri", "link"), [
    ("glossary.html#term-x", "[it](https://book.org/x/book/glossary.html#term-x)"),
    ("../index.html", "[it](https://book.org/x/index.html)"),
    ("https://elsewhere.org/y#z", "[it](https://elsewhere.org/y#z)"),
    ("#on-the-page", "it"),
    ("", "it"),
])  # fmt: skip
def test_links_lead_to_the_published_page(writer, uri, link):
    assert writer.inline(nodes.reference("", "it", refuri=uri)) == link


def test_a_formula_of_several_lines_is_one_in_a_quotation():
    assert quoted("If\n\n$$\na \\\\\nb\n$$") == "> If\n> \n> $$ a \\\\ b $$"


# --- Their way to JupyterLab ------------------------------------------------------------------------------


@pytest.fixture
def drawn(tmp_path):
    source = tmp_path / "drawn" / "a.ipynb"
    source.parent.mkdir()
    source.write_text("first", "utf-8")
    put(source, tmp_path)
    return source


def found(folder):
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.ipynb")}


def test_a_new_build_replaces_a_notebook_that_nobody_changed(tmp_path, drawn):
    drawn.write_text("second", "utf-8")
    put(drawn, tmp_path)
    assert found(tmp_path) == {"a.ipynb": "second"}


def test_a_changed_notebook_stays_while_there_is_no_new_one(tmp_path, drawn):
    (tmp_path / "a.ipynb").write_text("mine", "utf-8")
    put(drawn, tmp_path)
    assert found(tmp_path) == {"a.ipynb": "mine"}


def test_a_changed_notebook_is_kept_beside_the_new_one(tmp_path, drawn, capsys):
    for i, build in ((1, "second"), (2, "third")):
        (tmp_path / "a.ipynb").write_text(f"mine {i}", "utf-8")
        drawn.write_text(build, "utf-8")
        put(drawn, tmp_path)
        assert f"a-yours-{i}.ipynb" in capsys.readouterr().out
    assert found(tmp_path) == {"a.ipynb": "third", "a-yours-1.ipynb": "mine 1", "a-yours-2.ipynb": "mine 2"}


def test_jupyterlab_may_show_the_outputs_of_copies(tmp_path, monkeypatch):
    """On a machine that has not had Jupyter yet; of a notebook that was changed elsewhere, it may not."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "not yet" / "there"))
    monkeypatch.setattr(lab, "BUILD", tmp_path)
    (tmp_path / "html/notebooks").mkdir(parents=True)
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[new_output("display_data", {"text/html": "<b>1</b>"})])])
    nbformat.write(notebook, tmp_path / "html/notebooks/a.ipynb")
    lab.main()
    copied = nbformat.read(tmp_path / "lab/a.ipynb", as_version=4)
    notary = NotebookNotary(data_dir=str(tmp_path / "not yet" / "there"))
    assert notary.check_signature(copied)
    copied.cells[0].source = "2"
    assert not notary.check_signature(copied)
    notary.store.close()
