"""Building the book: what runs again after which edit, and what a notebook costs that stops. Tried on a tiny book."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest
from extensions.execution import Book, code_cells, cores
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytestmark = pytest.mark.xdist_group("build")  # one tiny book for all of them

ROOT = Path(__file__).parents[1]
CONFIG = """
title: Tiny
execute:
  execute_notebooks: cache
parse:
  myst_enable_extensions: [dollarmath]
sphinx:
  local_extensions:
    notebooks: book/extensions
    ledger: book/extensions
    settings: book/extensions
    passports: book/extensions
    fresh_pages: book/extensions
  config:
    suppress_warnings: [mystnb.unknown_mime_type, mystnb.mime_priority]
"""
CONTENTS = """
format: jb-book
root: book/index
chapters:
  - file: book/01_half
  - file: book/02_problem_setup
  - file: book/claims
  - file: book/settings
"""
PAGES = {
    "index": """
        # Tiny
        Of {claims}`all` claims, {claims}`each`. Claim {claim}`2.2` {verdict}`2.2`: measured {measured}`2.2`.
        ```{verdicts}
        ```
        """,
    "claims": """
        # Ledger
        ```{ledger} 02_problem_setup
        ```
        ```{open-claims}
        ```
        ```{changes}
        ```
        Elsewhere: half is {glue:text}`01_half.ipynb::half:.2f`, double {glue:text}`02_problem_setup.ipynb::double:.2f`.
        """,
    "settings": """
        # Settings
        ```{settings}
        ```
        ```{constants}
        ```
        ```{experiments}
        ```
        """,
}
RELEASED = '{"version": "0.9", "claims": {"2.2": {"verdict": "undecided", "criterion": "none"}, "1.99": {}}}'
HALF = [
    "# The half",
    ("n = 3  # how many", "parameters"),
    "from kdlib.tiny import half\nfrom myst_nb import glue\nglue('half', half(n), display=False)",
    "## What it is\nHalf is {glue:text}`half:.1f`. It takes {running-time}`01_half`.",
]
DOUBLE = [
    "# The double",
    ("m = 4  # how many", "parameters"),
    "from kdlib.claims import Ledger\nfrom kdlib.tiny import double\nfrom myst_nb import glue",
    "claims = Ledger('02_problem_setup')\nclaims.measure('2.2', double(m))",
    ("glue('double', double(m), display=False)\nglue('figure', double(m), display=False)", "remove-output"),
    "```{glue:figure} figure\n:name: a-figure\nDouble is {glue:text}`double:.1f`.\n```\nSee {numref}`a-figure`.",
    "## Claims checked",
    "claims['2.2']",
]
TINY = '''"""Two functions."""


def half(n):
    return n / 2


def double(n):
    return 2 * n
'''


class Tiny:
    """A book of two notebooks and three pages of prose, with a package of its own."""

    def __init__(self, root):
        self.root = root
        not_all = shutil.ignore_patterns("stored", "__pycache__")
        for name in ("kdlib", "book/extensions"):
            shutil.copytree(ROOT / name, root / name, ignore=not_all)
        for name in ("Makefile", "book/run.py"):
            shutil.copy(ROOT / name, root / name)
        self.write("kdlib/__init__.py", "")
        # The true one imports JAX, which takes seconds; here, nothing is checked.
        self.write("kdlib/_checks.py", "def __getattr__(name):\n    return lambda *values: None\n")
        self.write("kdlib/tiny.py", TINY)
        self.write("requirements.txt", "# nothing")
        self.write("book/released.json", RELEASED)
        self.write("_config.yml", CONFIG)
        self.write("_toc.yml", CONTENTS)
        for name, text in PAGES.items():
            self.write(f"book/{name}.md", dedent(text))
        self.write_notebook("01_half", HALF)
        self.write_notebook("02_problem_setup", DOUBLE)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def edit(self, name, old, new):
        text = (self.root / name).read_text("utf-8")
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def write_notebook(self, name, cells):
        def made(source, *tags):
            prose = source.startswith(("#", "`"))
            return new_markdown_cell(source) if prose else new_code_cell(source, metadata={"tags": tags})

        metadata = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"},
                    "language_info": {"name": "python"}}  # fmt: skip
        cells = [made(cell) if isinstance(cell, str) else made(*cell) for cell in cells]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), self.root / "book" / f"{name}.ipynb")

    def make(self, target="book"):
        """What `make` does, in the environment of the tests."""
        command = ["make", "-s", target, f"BIN={Path(sys.executable).parent}", "INSTALLED=_toc.yml", "-o", "_toc.yml"]
        before = self.drawn()
        done = subprocess.run(command, cwd=self.root, env=os.environ | {"PYTHONPATH": str(self.root)},
                              capture_output=True, encoding="utf-8")  # fmt: skip
        drawn = {page for page, when in self.drawn().items() if before.get(page) != when}
        return Made(done.returncode, done.stdout, done.stderr, drawn)

    def drawn(self):
        return {path.stem: path.stat().st_mtime_ns for path in self.root.glob("_build/html/book/*.html")}

    def text(self, page):
        html = (self.root / "_build/html/book" / f"{page}.html").read_text("utf-8")
        article = re.search(r"<article.*?</article>", html, re.DOTALL)[0]
        return " ".join(unescape(re.sub(r"<script.*?</script>|<[^>]*>", "", article, flags=re.DOTALL)).split())


@dataclass
class Made:
    returncode: int
    stdout: str
    stderr: str
    drawn: set  #: the pages that were written anew

    @property
    def ran(self):
        return set(re.findall(r"book/(\w+) (?:ran in|stopped)", self.stderr))

    def succeeded(self):
        return self.returncode == 0 and "WARNING" not in self.stderr


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Built once; a test that edits it takes its edits back."""
    book = Tiny(tmp_path_factory.mktemp("book"))
    built = book.make()
    assert built.succeeded(), built.stderr
    assert built.ran == {"01_half", "02_problem_setup"}
    return book


@pytest.fixture
def edited(tiny, request):
    """The book with an edit, which is taken back."""
    name, old, new = request.param
    tiny.edit(name, old, new)
    yield tiny
    tiny.edit(name, new, old)


def edit(name, old, new):
    return pytest.mark.parametrize("edited", [(name, old, new)], indirect=True)


# --- What runs, and what is drawn -------------------------------------------------------------------


def test_a_book_shows_what_its_notebooks_computed(tiny):
    assert "claims, 1 holds as it stands and" in tiny.text("index")
    assert "Claim 2.2 holds: measured 8." in tiny.text("index")
    assert "half is 1.50, double 8.00" in tiny.text("claims")
    assert "Drawn by cell 4 of book/02_problem_setup.ipynb." in tiny.text("02_problem_setup")
    changed = "Since version 0.9, of 2 claims: 2.2: holds; it was: undecided. 1.99 is no longer among the claims."
    assert changed in tiny.text("claims")
    html = (tiny.root / "_build/html/book/claims.html").read_text("utf-8")
    assert re.search(r'<a href="02_problem_setup.html#evidence-2-2"><b class="verdict holds">.* holds</b></a>', html)
    assert re.search(r"Half is 1\.5\. It takes \d+ seconds", tiny.text("01_half"))
    assert "n3how manyours" in tiny.text("settings")
    assert "Setting.d2dimension of the inputs" in tiny.text("settings")


def test_every_builder_links_to_its_own_pages(tiny):
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "--builder", "dirhtml", "-q"]
    built = subprocess.run(command, cwd=tiny.root, env=os.environ | {"PYTHONPATH": str(tiny.root)},
                           capture_output=True, encoding="utf-8")  # fmt: skip
    assert built.returncode == 0, built.stderr
    site = tiny.root / "_build/dirhtml"
    assert not dead_links(site) and not dead_links(tiny.root / "_build/html")
    settings = (site / "book/settings/index.html").read_text("utf-8")
    assert '<a href="../01_half/">The half</a>' in settings


def dead_links(site):
    """Links between pages that lead to none of them, or to no place in it."""
    pages = {path.resolve(): path.read_text("utf-8") for path in site.rglob("*.html")}
    dead = set()
    for page, html in pages.items():
        for path, place in re.findall(r'<a\b[^>]*\shref="(?!\w+:)([^"#]*)#?([^"]*)"', html):
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (place and f'id="{place}"' not in pages.get(target, "")):
                dead.add(f"{page.relative_to(site)}: {path}#{place}")
    return dead


def test_what_no_page_uses_runs_and_draws_nothing(tiny):
    tiny.edit("kdlib/tiny.py", "Two functions.", "Two little functions.")
    tiny.edit("kdlib/risk.py", "def transfer_risk(", "def _another():\n    pass\n\n\ndef transfer_risk(")
    tiny.write("kdlib/stray.json", "{}")
    tiny.write("kdlib/stored/stray.npz", "")
    tiny.write("book/Untitled.ipynb", "")
    tiny.write_notebook("magic", ["# Scratch", "%timeit 1\n!ls"])
    tiny.write_notebook("01_half copy", HALF)
    built = tiny.make()
    assert built.succeeded() and not built.ran and not built.drawn, built


@edit("kdlib/tiny.py", "n / 2", "n / 4")
def test_an_edit_runs_what_it_touches(edited):
    built = edited.make()
    assert built.succeeded(), built.stderr
    assert built.ran == {"01_half"}
    assert "settings" not in built.drawn
    assert "Half is 0.8" in edited.text("01_half")
    assert "half is 0.75, double 8.00" in edited.text("claims")


@pytest.mark.parametrize("name, old, new, changes", [
    ("requirements.txt", "nothing", "something", {"01_half", "02_problem_setup"}),
    ("kdlib/claims.toml", "Converged student", "The student", {"02_problem_setup"}),
    ("kdlib/claims.toml", "an imperfect teacher", "a bad teacher", set()),
    ("kdlib/tiny.py", "return n / 2", "return n / 2  # exactly", set()),
    ("kdlib/tiny.py", "return n / 2", "return n * 0.5", {"01_half"}),
    ("kdlib/tiny.py", "return n / 2", "return n /", {"01_half", "02_problem_setup"}),
    ("kdlib/experiments/half.py", "return 1", "return 2", {"01_half"}),
    ("kdlib/stored/half.small.npz", "1", "2", {"01_half"}),
    ("kdlib/stored/other.npz", "1", "2", set()),
    ("book/01_half.ipynb", "What it is", "What it may be", set()),
    ("book/01_half.ipynb", "n = 3", "n = 5", {"01_half"}),
    ("book/01_half.ipynb", '"parameters"', '"raises-exception"', {"01_half"}),
])  # fmt: skip
def test_a_key_changes_with_all_that_outputs_depend_on(tmp_path, monkeypatch, name, old, new, changes):
    book = Tiny(tmp_path)
    book.write_notebook("01_half", [*HALF, "%time 1\nfrom kdlib.experiments import half as h\nh.results()"])
    book.write("kdlib/experiments/half.py", "def results():\n    return 1\n")
    for stored in ("half.small.npz", "other.npz"):
        book.write(f"kdlib/stored/{stored}", "1")

    def keys():
        monkeypatch.delitem(sys.modules, "_source", raising=False)  # it remembers what it has read
        return {path.stem: Book(tmp_path).key(path) for path in Book(tmp_path).notebooks()}

    before = keys()
    book.edit(name, old, new)
    after = keys()
    assert all(before.values()) and {key for key in before if before[key] != after[key]} == changes


@edit("book/01_half.ipynb", "parameters", "nbval-check-output")
def test_notebooks_are_refreshed_in_place_and_others_left_alone(edited):
    """The edit tags a cell that prints nothing: all else loses its outputs."""
    edited.write_notebook("scratch", ["# Scratch", "1 / 0"])
    before = (edited.root / "book/scratch.ipynb").read_bytes()
    made = edited.make("notebooks")
    assert made.returncode == 0, made.stderr
    assert made.ran == {"01_half"}
    assert (edited.root / "book/scratch.ipynb").read_bytes() == before
    cells = code_cells(nbformat.read(edited.root / "book/02_problem_setup.ipynb", as_version=4))
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5] and not any(cell.outputs for cell in cells)


@edit("book/02_problem_setup.ipynb", "claims.measure('2.2'", "getattr(claims, 'measure')('2.2'")
def test_a_verdict_whose_evidence_no_cell_shows_fails_the_build(edited):
    built = edited.make()
    assert built.returncode != 0
    assert "no cell of book/02_problem_setup that a reader sees calls measure('2.2', ...)" in built.stderr


# --- What a notebook costs that stops ---------------------------------------------------------------


@edit("kdlib/tiny.py", "return 2 * n", "raise ValueError(f'n must be odd, got {n}')")
def test_a_notebook_that_stops_costs_one_page(edited):
    built = edited.make()
    assert built.ran == {"02_problem_setup"}
    last = built.stderr.splitlines()[-1]
    assert "Chapter 2 (book/02_problem_setup.ipynb) stopped in cell 3 of 5: ValueError: n must be odd, got 4" in last
    assert built.returncode != 0 and built.stderr.count("WARNING") == 1
    assert "Chapter 2 (book/02_problem_setup.ipynb) stopped in cell 3 of 5" in edited.text("02_problem_setup")
    open_place = "not available: Chapter 2 did not run to its end"
    assert f"Double is {open_place}." in edited.text("02_problem_setup")
    assert "See Fig. 1" in edited.text("02_problem_setup")
    assert f"2.2 {open_place}: measured {open_place}" in edited.text("index")
    assert "1 is not available" not in edited.text("index") and "are not available" in edited.text("index")
    assert f"half is 1.50, double {open_place}" in edited.text("claims")
    assert "m4how manyours" in edited.text("settings")


@edit("_config.yml", "execute_notebooks: cache", 'execute_notebooks: "off"')
def test_prose_is_built_without_running_anything(edited):
    built = edited.make()
    assert built.succeeded(), built.stderr
    assert not built.ran
    assert "Half is not available: Chapter 1 did not run. It takes some time" in edited.text("01_half")
    assert "Claim 2.2 not available: Chapter 2 did not run" in edited.text("index")


def test_a_kernel_that_dies_is_a_notebook_that_stopped(tmp_path):
    book = Tiny(tmp_path)
    book.write_notebook("01_half", ["# Half", "import os", "os._exit(1)", "1"])
    [run] = Book(tmp_path).runs([tmp_path / "book/01_half.ipynb"]).values()
    assert str(run.failure).startswith("stopped in cell 2 of 3: its kernel died")


# --- On a machine that has other things to do -----------------------------------------------------------


@contextmanager
def busy_cores():
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores())]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@edit("requirements.txt", "nothing", "nothing new")
def test_the_book_is_built_while_all_cores_are_busy(edited):
    with busy_cores():
        built = edited.make()
    assert built.succeeded(), built.stderr
    assert built.ran == {"01_half", "02_problem_setup"}
