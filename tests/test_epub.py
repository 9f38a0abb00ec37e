"""The book as an ePub: whole, well-formed, without scripts, with its formulas typeset; epubcheck agrees where it is."""

import re
import shutil
import subprocess
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote
from xml.etree import ElementTree as tree
from zipfile import ZIP_STORED, ZipFile

import pytest
from epub import MATHML, OPF, XHTML
from made import made_in_chromium

pytestmark = pytest.mark.xdist_group("pdf")  # one ePub for all of them, and not while the book is printed

ROOT = Path(__file__).parents[1]
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text("utf-8"))


@pytest.fixture(scope="module")
def path():
    made_in_chromium("epub")
    return ROOT / "_build/epub/book.epub"


@pytest.fixture(scope="module")
def book(path):
    with ZipFile(path) as book:
        yield book


@pytest.fixture(scope="module")
def items(book):
    manifest = tree.fromstring(book.read("content.opf")).find(f"{{{OPF}}}manifest")
    return {item.get("href"): item for item in manifest}


@pytest.fixture(scope="module")
def documents(book, items):
    """Parsed, by name: XHTML is XML."""
    return {name: tree.fromstring(book.read(name)) for name, item in items.items()
            if item.get("media-type") == "application/xhtml+xml"}


def test_its_first_file_says_what_it_is(book):
    first = book.infolist()[0]
    assert first.filename == "mimetype" and first.compress_type == ZIP_STORED
    assert book.read("mimetype") == b"application/epub+zip"


def test_its_package_lists_what_is_in_it(book, items):
    assert {*items, "mimetype", "META-INF/container.xml", "content.opf"} == set(book.namelist())
    package = tree.fromstring(book.read("content.opf"))
    ids = [item.get("id") for item in items.values()]
    assert len(ids) == len(set(ids))
    spine = [reference.get("idref") for reference in package.find(f"{{{OPF}}}spine")]
    order = [name.removesuffix(".xhtml") for i in spine for name, item in items.items() if item.get("id") == i]
    assert [name for name in order if name in PAGES] == PAGES


def test_every_formula_is_typeset_and_nothing_is_a_script(documents, items):
    for name, root in documents.items():
        assert not list(root.iter(f"{{{XHTML}}}script")), name
        formulas = [node for node in root.iter() if "math" in node.get("class", "").split()]
        assert all(node.find(f".//{{{MATHML}}}math") is not None for node in formulas), name
        assert not list(root.iter(f"{{{MATHML}}}merror")), name
        assert ("mathml" in (items[name].get("properties") or "").split()) == bool(formulas), name
    assert sum(len(list(root.iter(f"{{{MATHML}}}math"))) for root in documents.values()) > 1000


def test_figures_are_pictures(documents):
    pictures = [image for root in documents.values() for image in root.iter(f"{{{XHTML}}}img")
                if "kd-still" in image.get("class", "")]
    assert len(pictures) > 40 and all(image.get("alt") for image in pictures)


def test_links_lead_to_what_is_in_it(documents):
    places = {name: {node.get("id") for node in root.iter()} for name, root in documents.items()}
    broken = []
    for name, root in documents.items():
        for link in root.iter(f"{{{XHTML}}}a"):
            page, _, place = unquote(link.get("href", "")).partition("#")
            if ":" in page:
                continue
            target = normpath(join(dirname(name), page)) if page else name
            if target not in places or (place and place not in places[target]):
                broken.append((name, link.get("href")))
    assert not broken


def test_epubcheck_finds_no_error(path):
    if not shutil.which("epubcheck"):
        pytest.skip("epubcheck is not installed: apt install epubcheck")
    checked = subprocess.run(["epubcheck", "--quiet", path], capture_output=True, encoding="utf-8")
    assert checked.returncode == 0, checked.stdout + checked.stderr
