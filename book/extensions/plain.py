"""Sphinx extension: the book's notebooks in plain Markdown, for JupyterLab and all other viewers that know no MyST.

With its page, a notebook is written to `notebooks/` beside the pages: the cells of code as they are, with what they
gave, and between them what the page says, numbered as there. Links lead to the published pages if `ogp_site_url` gives
their address, and else to notebooks beside it, and to pages as seen from `_build/lab`, where `book/lab.py` puts copies.
Nothing is ever read back from them.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from textwrap import indent

import nbformat
from docutils import nodes
from execution import code_cells
from sphinx.util import logging

NOTE = ("*Drawn from [a page]({page}) of the book “{book}”, of which it is a copy: run it and change it as you like, "
        "nothing goes back.*")
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
FIRST_LINE = 10_000  # where MyST-NB begins to count in the first cell, and again in each further one

logger = logging.getLogger(__name__)


def write_notebook(app, doctree, docname):
    source = Path(app.env.doc2path(docname))
    if app.builder.name != "html" or source.suffix != ".ipynb":
        return
    notebook = nbformat.read(source, as_version=4)
    if docname in app.runs:
        notebook = app.runs[docname].outputs_for(notebook)
    for cell in code_cells(notebook):
        without_kernel(cell)
    prose = Markdown(app, docname).of_cells(doctree)
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = "\n\n".join(prose.pop(i, []))
    if prose:
        logger.warning(f"no Markdown cell for {prose}", location=docname)
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    note = NOTE.format(page=Markdown(app, docname).page(docname, ""), book=app.config.html_title)
    notebook.cells[0].source = "\n\n".join([title, note, rest])
    target = Path(app.outdir) / "notebooks" / source.name
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target)


def without_kernel(cell):
    """Fold what the page does not show, and drop live views: their copies without a kernel stand beside them."""
    if FOLDED & set(cell.metadata.get("tags", [])):
        cell.metadata["jupyter"] = {"source_hidden": True}
    cell.outputs = [output for output in cell.outputs
                    if "application/vnd.jupyter.widget-view+json" not in output.get("data", {})]


class Markdown:
    """What a page says, in Markdown.

    A block is the number of the source's cell that it comes from, and a text.
    """

    def __init__(self, app, docname):
        self.env, self.docname, self.site = app.env, docname, app.config.ogp_site_url
        self.numbers, self.cell = app.env.toc_fignumbers.get(docname, {}), 0

    def of_cells(self, doctree):
        """The texts by cell."""
        found = {}
        for cell, text in self.blocks(doctree, 0):
            if text:
                found.setdefault(cell, []).append(text)
        return found

    # --- Blocks ---

    def blocks(self, node, level):
        line = next((inner.line for inner in node.findall(nodes.Element) if inner.line), 0)
        self.cell = max(line // FIRST_LINE - 1, self.cell)
        match node:
            case nodes.container() if "cell_index" in node:
                return
            case nodes.section():
                yield from self.inside(node, level + any(isinstance(child, nodes.title) for child in node))
            case nodes.title():
                yield self.cell, f"{'#' * level} {self.words(node)}"
            case nodes.math_block():
                yield self.cell, self.formula(node)
            case nodes.literal_block():
                yield self.cell, f"```{node.get('language', '')}\n{node.astext()}\n```"
            case nodes.bullet_list():
                yield self.cell, "\n".join(self.item("- ", item) for item in node.children)
            case nodes.enumerated_list():
                yield self.cell, "\n".join(self.item(f"{i}. ", item) for i, item in enumerate(node, 1))
            case nodes.definition_list_item():
                yield self.cell, f"**{self.words(node[0])}**: {self.text(node[-1])}"
            case nodes.table():
                yield self.cell, self.table(node)
            case nodes.block_quote():
                yield self.cell, quoted(self.text(node))
            case nodes.transition():
                yield self.cell, "---"
            case nodes.figure():  # of a picture that the cell above shows
                yield self.cell, f"**Fig. {self.number('figure', node)}.** {self.text(node, skip=nodes.raw)}"
            case nodes.Element(tagname="proof_node"):
                *first, (end, last) = self.inside(node[0], level)
                gap = "\n\n" if last.endswith("$$") else " "
                for cell, text in [*first, (end, f"{last}{gap}$\\square$")]:
                    yield cell, re.sub(r"^Proof\.", "*Proof.*", text)
            case nodes.Admonition() | nodes.sidebar():
                yield from self.box(node, level)
            case nodes.raw() | nodes.image():
                yield self.cell, self.inline(node)
            case nodes.Invisible():
                return
            case nodes.container() if "sd-card-title" in node["classes"]:
                yield self.cell, f"**{self.words(node)}**"
            case nodes.TextElement():
                yield self.cell, self.words(node)
            case _:
                yield from self.inside(node, level)

    def inside(self, node, level, skip=()):
        for child in node.children:
            if isinstance(child, nodes.Text):
                yield self.cell, self.inline(child)
            elif not isinstance(child, skip):
                yield from self.blocks(child, level)

    def text(self, node, skip=()):
        """What a node says that holds no cells."""
        return "\n\n".join(text for _, text in self.inside(node, 0, skip) if text)

    def words(self, node):
        text = " ".join("".join(map(self.inline, node.children)).split())
        return re.sub(r"^(\d+(?=[.)] )|(?=[-+#>] ))", r"\1\\", text)

    def item(self, mark, node):
        return mark + indent(self.text(node), " " * len(mark)).lstrip()

    def formula(self, node):
        number = self.number("displaymath", node)
        tex = node.astext().strip() + (f"\n\\tag{{{number}}}" if number else "")
        return tex if "amsmath" in node["classes"] else f"$$\n{tex}\n$$"

    def table(self, node):
        rows = [[self.text(entry).replace("\n", " ").replace("|", r"\|") for entry in row]
                for row in node.findall(nodes.row)]
        rows.insert(1, ["---"] * len(rows[0]))
        caption = [f"**{self.words(title)}**\n" for title in node.findall(nodes.title)]
        return "\n".join([*caption, *(f"| {' | '.join(row)} |" for row in rows)])

    def box(self, node, level):
        """An admonition, theorem, exercise or solution: a quotation under a title, unless it holds cells."""
        kind, title = node.tagname.capitalize(), ""
        if isinstance(node[0], nodes.title):
            kind, title = "", self.words(node[0]).replace("( ", "(").replace(" )", ")")
        if "countertype" in node:
            kind = f"{node['realtype'].capitalize()} {self.number(node['countertype'], node)}"
        elif node.get("type") == "exercise":
            kind = f"Exercise {self.number('exercise', node)}"
        title = f"{kind} {title}".strip()
        if any("cell_index" in inner for inner in node.findall(nodes.container)):
            yield self.cell, f"**{title}**"
            yield from self.inside(node, level, nodes.title)
        elif node.get("type") == "solution":
            text = self.text(node, nodes.title)
            yield self.cell, f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
        else:
            yield self.cell, quoted(f"**{title}**\n\n{self.text(node, nodes.title)}")

    # --- Inside a line ---

    def inline(self, node):
        inner = lambda: "".join(map(self.inline, node.children))
        match node:
            case nodes.Text():
                return re.sub(r"[\\`*\[<$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", node.astext())
            case nodes.math():
                return f"${' '.join(node.astext().split())}$"
            case nodes.literal():
                code = node.astext()
                return f"`` {code} ``" if "`" in code else f"`{code}`"
            case nodes.emphasis():
                return f"*{inner()}*"
            case nodes.strong():
                return f"**{inner()}**"
            case nodes.reference():
                address = self.address(node.get("refuri", ""))
                return f"[{inner()}]({address})" if address else inner()
            case nodes.image():
                return f"![{node.get('alt', '')}]({node['uri']})"
            case nodes.raw():
                link = lambda match: f'href="{self.address(match[1])}"'
                return re.sub('href="(.*?)"', link, node.astext()) if "html" in node["format"] else ""
            case _:
                return inner()

    def address(self, uri):
        """Of what the page calls so; empty for a place on the page itself, of which a notebook has no name."""
        page, _, place = uri.partition("#")
        if not page or ":" in page:
            return page and uri
        return self.page(normpath(join(dirname(self.docname), page)).removesuffix(".html"), place)

    def page(self, docname, place):
        page = f"{docname}.html" + (f"#{place}" if place else "")
        if self.site:
            return f"{self.site.rstrip('/')}/{page}"
        is_other = docname != self.docname and docname in self.env.found_docs
        source = Path(self.env.doc2path(docname)) if is_other else Path()
        return source.name if source.suffix == ".ipynb" else f"../html/{page}"

    def number(self, kind, node):
        return ".".join(map(str, self.numbers.get(kind, {}).get(next(iter(node["ids"]), ""), ())))


def quoted(text):
    """In a quotation Jupyter takes the marks of the lines for a part of the formula, if it has several."""
    one_line = lambda match: " ".join(match[0].split())
    return indent(re.sub(r"^\$\$\n.*?\n\$\$$", one_line, text, flags=re.DOTALL | re.MULTILINE), "> ", lambda line: True)


def setup(app):
    app.connect("doctree-resolved", write_notebook, priority=999)  # when all others have finished with it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
