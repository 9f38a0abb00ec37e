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
from extensions.execution import cores
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[1]
EXTENSIONS = "notebooks", "ledger", "settings", "fresh_pages"
CONFIG = f"""
title: Tiny
execute:
  execute_notebooks: cache
parse:
  myst_enable_extensions: [dollarmath]
sphinx:
  local_extensions: {{{", ".join(f"{name}: {ROOT}/book/extensions" for name in EXTENSIONS)}}}
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
        Elsewhere: half is {glue:text}`01_half.ipynb::half:.2f`, double {glue:text}`02_problem_setup.ipynb::double:.2f`.
        """,
    "settings": """
        # Settings
        ```{settings}
        ```
        ```{constants}
        ```
        """,
}
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
    ("glue('claims-double', claims['2.2'], display=False)", "remove-output"),
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
        shutil.copytree(ROOT / "kdlib", root / "kdlib", ignore=shutil.ignore_patterns("stored", "__pycache__"))
        self.write("kdlib/__init__.py", "")
        self.write("kdlib/tiny.py", TINY)
        self.write("requirements.txt", "# nothing")
        shutil.copy(ROOT / "Makefile", root)
        self.write("_config.yml", CONFIG)
        self.write("_toc.yml", CONTENTS)
        for name, text in PAGES.items():
            self.write(f"book/{name}.md", dedent(text))
        self.write_notebook("01_half", HALF)
        self.write_notebook("02_problem_setup", DOUBLE)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

    def edit(self, name, old, new):
        text = (self.root / name).read_text("utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def write_notebook(self, name, cells):
        def made(source, *tags):
            prose = source.startswith(("#", "`"))
            return new_markdown_cell(source) if prose else new_code_cell(source, metadata={"tags": tags})

        metadata = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"},
                    "language_info": {"name": "python"}}  # fmt: skip
        cells = [made(cell) if isinstance(cell, str) else made(*cell) for cell in cells]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), self.root / "book" / f"{name}.ipynb")

    def build(self):
        """What `make book` does, in the environment of the tests."""
        command = ["make", "-s", "book", f"BIN={Path(sys.executable).parent}", "INSTALLED=_toc.yml", "-o", "_toc.yml"]
        before = self.drawn()
        done = subprocess.run(command, cwd=self.root, env=os.environ | {"PYTHONPATH": str(self.root)},
                              capture_output=True, encoding="utf-8")  # fmt: skip
        drawn = {page for page, when in self.drawn().items() if before.get(page) != when}
        return Built(done.returncode, done.stdout, done.stderr, drawn)

    def drawn(self):
        return {path.stem: path.stat().st_mtime_ns for path in self.root.glob("_build/html/book/*.html")}

    def text(self, page):
        html = (self.root / "_build/html/book" / f"{page}.html").read_text("utf-8")
        article = re.search(r"<article.*?</article>", html, re.DOTALL)[0]
        return " ".join(unescape(re.sub(r"<script.*?</script>|<[^>]*>", "", article, flags=re.DOTALL)).split())


@dataclass
class Built:
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
    built = book.build()
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
    assert re.search(r"Half is 1\.5\. It takes \d+ seconds", tiny.text("01_half"))
    assert "n3how manyours" in tiny.text("settings")


def test_what_no_page_uses_runs_and_draws_nothing(tiny):
    tiny.edit("kdlib/tiny.py", "Two functions.", "Two little functions.")
    tiny.edit("kdlib/risk.py", "def transfer_risk(", "def _another():\n    pass\n\n\ndef transfer_risk(")
    tiny.write("kdlib/stray.json", "{}")
    tiny.write("kdlib/stored/stray.npz", "")
    tiny.write("book/Untitled.ipynb", "")
    tiny.write_notebook("magic", ["# Scratch", "%timeit 1\n!ls"])
    tiny.write_notebook("01_half copy", HALF)
    built = tiny.build()
    assert built.succeeded() and not built.ran and not built.drawn, built


@edit("kdlib/tiny.py", "n / 2", "n / 4")
def test_an_edit_runs_what_it_touches(edited):
    built = edited.build()
    assert built.succeeded(), built.stderr
    assert built.ran == {"01_half"}
    assert "settings" not in built.drawn
    assert "Half is 0.8" in edited.text("01_half")
    assert "half is 0.75, double 8.00" in edited.text("claims")


# --- What a notebook costs that stops ---------------------------------------------------------------


@edit("kdlib/tiny.py", "return 2 * n", "raise ValueError(f'n must be odd, got {n}')")
def test_a_notebook_that_stops_costs_one_page(edited):
    built = edited.build()
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
    built = edited.build()
    assert built.succeeded(), built.stderr
    assert not built.ran
    assert "Half is not available: Chapter 1 did not run. It takes some time" in edited.text("01_half")
    assert "Claim 2.2 not available: Chapter 2 did not run" in edited.text("index")


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
        built = edited.build()
    assert built.succeeded(), built.stderr
    assert built.ran == {"01_half", "02_problem_setup"}
