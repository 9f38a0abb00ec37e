"""Sphinx extension: the book as an ePub, but for its formulas, which `book/epub.py` typesets.

A reader of such books runs no scripts and wants XHTML: figures and explorers are their still pictures, and tables that
were written as HTML are written well.
"""

import tomllib
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform


def for_readers(app):
    if app.builder.name != "epub":
        return
    handlers = app.registry.translation_handlers
    handlers["epub"] = handlers["html"] | handlers.get("epub", {})
    app.config.html_static_path = []
    app.config.epub_show_urls = "no"
    app.config.epub_basename = "book"
    app.config.epub_copyright = app.config.copyright
    project = Path(app.srcdir, "pyproject.toml").read_text("utf-8")
    app.config.version = app.config.release = tomllib.loads(project)["project"]["version"]


class WellWritten(SphinxPostTransform):
    default_priority = 900  # when all HTML is there
    builders = ("epub",)

    def run(self):
        for html in list(self.document.findall(nodes.raw)):
            soup = BeautifulSoup(html.astext(), "html.parser")
            for unread in soup.find_all(["script", "style"]):
                unread.decompose()
            for tries in soup.find_all("ul", class_="kd-tries"):  # buttons in the page
                shown = "; ".join(item.get_text() for item in tries.find_all("li"))
                tries.name, tries.string = "p", f"In the pages of the site this moves, and its buttons show: {shown}."
            for folded in soup.select(".checked details"):
                folded["open"] = "open"
            text = soup.decode(formatter="minimal")
            html.replace_self(nodes.raw("", text, format="html", classes=html["classes"]))


def setup(app):
    app.connect("builder-inited", for_readers, priority=100)  # before the builder looks at its settings
    app.add_post_transform(WellWritten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
