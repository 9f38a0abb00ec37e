"""Finish the book's build as an ePub, with its formulas typeset as MathML, and pack it into _build/epub/book.epub.

    make epub
"""

import re
import time
from pathlib import Path
from posixpath import dirname, join, normpath
from xml.etree import ElementTree as tree
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from chromium import launched

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build/epub"
TARGET = BUILD / "book.epub"
MATHJAX = ROOT / "book/vendor/mathjax/tex-mml-chtml.js"
XHTML, OPF, MATHML = "http://www.w3.org/1999/xhtml", "http://www.idpf.org/2007/opf", "http://www.w3.org/1998/Math/MathML"
FORMULA = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)


def tidy(root, folder, items):
    """Leave out scripts, links to styles of the site, and what marks a second place with a name that is taken."""
    taken, parents = set(), {child: parent for parent in root.iter() for child in parent}
    for node in list(root.iter()):
        tag = node.tag.rpartition("}")[2]
        if tag == "script" or (tag == "link" and normpath(join(folder, node.get("href"))) not in items):
            parents[node].remove(node)
        elif tag == "summary":
            for paragraph in node.findall(f"{{{XHTML}}}p"):  # which may not stand there
                paragraph.tag = f"{{{XHTML}}}span"
        if (place := node.get("id")) in taken:
            del node.attrib["id"]
        elif place:
            taken.add(place)


def formulas(root):
    """Where TeX stands in a document: an element, and whether in its text or in its tail."""
    for place in root.iter():
        if "math" in place.get("class", "").split():
            for node in place.iter():
                for part in ("text",) if node is place else ("text", "tail"):
                    if FORMULA.search(getattr(node, part) or ""):
                        yield node, part


def typeset(page, root):
    """Put MathML in the place of the TeX of a document."""
    places = list(formulas(root))
    found = [FORMULA.search(getattr(node, part)) for node, part in places]
    written = page.evaluate("(all) => all.map(([tex, display]) => MathJax.tex2mml(tex, { display }))",
                            [[match[1] or match[2], match[1] is None] for match in found])
    parents = {child: parent for parent in root.iter() for child in parent}
    for (node, part), match, mathml in zip(places, found, written, strict=True):
        math = tree.fromstring(mathml)
        math.tail = match.string[match.end():]
        setattr(node, part, match.string[:match.start()])
        parent, before = (node, -1) if part == "text" else (parents[node], list(parents[node]).index(node))
        parent.insert(before + 1, math)


def main():
    start = time.perf_counter()
    for prefix, name in (("", XHTML), ("epub", "http://www.idpf.org/2007/ops"), ("m", MATHML)):
        tree.register_namespace(prefix, name)
    package = tree.parse(BUILD / "content.opf")
    manifest = package.find(f"{{{OPF}}}manifest")
    with launched() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.add_script_tag(path=MATHJAX)
        page.wait_for_function("!!window.MathJax?.tex2mml")
        for item in list(manifest):
            if item.get("media-type") == "application/xhtml+xml":
                document = tree.parse(BUILD / item.get("href"))
                tidy(document.getroot(), dirname(item.get("href")), {each.get("href") for each in manifest})
                typeset(page, document.getroot())
                if document.find(f".//{{{MATHML}}}math") is not None:
                    item.set("properties", " ".join(filter(None, [item.get("properties"), "mathml"])))
                document.write(BUILD / item.get("href"), encoding="utf-8", xml_declaration=True)
            elif item.get("media-type", "").endswith("javascript"):
                manifest.remove(item)
    tree.register_namespace("", OPF)
    tree.register_namespace("dc", "http://purl.org/dc/elements/1.1/")
    package.write(BUILD / "content.opf", encoding="utf-8", xml_declaration=True)
    with ZipFile(TARGET, "w", ZIP_DEFLATED) as book:
        book.write(BUILD / "mimetype", "mimetype", ZIP_STORED)  # first, and as it is
        for name in ("META-INF/container.xml", "content.opf", *(item.get("href") for item in manifest)):
            book.write(BUILD / name, name)
    print(f"The book as an ePub is at {TARGET.relative_to(ROOT)} ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
