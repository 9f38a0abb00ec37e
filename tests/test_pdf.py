"""The printed book: whole, in order, with its formulas typeset and its figures drawn."""

import re
from pathlib import Path

import nbformat
import pytest
from made import made_in_chromium
from pdf import TARGET
from pypdfium2 import PdfDocument

pytestmark = pytest.mark.xdist_group("pdf")  # one printed book for all of them

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def printed():
    made_in_chromium("pdf")
    with PdfDocument(TARGET) as document:
        yield document


def title(name):
    """A page's heading, without its formulas' marks."""
    source = ROOT / f"{name}.md"
    if source.exists():
        return source.read_text("utf-8").splitlines()[0].removeprefix("# ")
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")


def squeezed(text):
    """Without spaces, which Chromium's outline loses where a heading wraps."""
    return "".join(text.split())


def first_pages(printed):
    """Of the chapters, in the order of the table of contents."""
    found = ((squeezed(item.get_title()), item.get_dest().get_index()) for item in printed.get_toc())
    chapters = [squeezed(title(name)) for name in re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text("utf-8"))]
    return [next(page for heading, page in found if heading.startswith(chapter)) for chapter in chapters]


def test_every_page_of_the_book_is_printed_in_order(printed):
    starts = first_pages(printed)
    assert len(starts) > 15 and starts == sorted(set(starts))


def test_formulas_are_typeset_and_links_stay_inside(printed):
    pages = [page.get_textpage().get_text_range() for page in printed]
    prose = "\n".join(pages)
    assert len(pages) > 150
    # Only before a new chapter may a page have no more than its number.
    empty = {i for i, page in enumerate(pages) if not re.sub(r"\s*\d+\s*$", "", page)}
    assert empty <= {start - 1 for start in first_pages(printed)}
    assert "Divide by the positive constant" in prose  # an answer in Chapter 1, folded on a screen
    # The reference shows how `typeset` writes a formula.
    prose = re.sub(r'<span class="math">.*?</span>', "", prose, flags=re.DOTALL)
    assert not re.search(r"\\\(|\\\[|\\begin\{|Math input error|Math Processing Error", prose)
    addresses = re.findall(rb"/URI \((\w+):", TARGET.read_bytes())
    assert b"https" in addresses and b"file" not in addresses
