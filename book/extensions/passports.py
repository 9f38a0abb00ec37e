"""Sphinx extension: below each figure, folded, where it comes from and what one may take along.

That is the cell that draws it and the seed of its notebook, its address, its data as CSV, its picture as SVG, and a
BibTeX entry. `book/assets/figures.js` takes data and picture from what the figure itself holds: there is no copy of
them, and no request.
"""

import re
from html import escape

from docutils import nodes
from notebooks import GlueFigure, shown_cells


class passport(nodes.Invisible, nodes.Element):
    """What is said of a figure that is glued under a name; on pages alone."""


class FigureWithPassport(GlueFigure):
    def run(self):
        shown = super().run()
        figures = [node for node in shown if isinstance(node, nodes.figure)]
        return shown + [passport(key=self.arguments[0], figure=figure) for figure in figures]


def fill_in(app, doctree):
    """When a page's cells are known."""
    cells = list(shown_cells(doctree))
    seed = next((found[1] for _, source in cells if (found := re.search(r"(?m)^seed = (\d+)", source))), None)
    for place in list(doctree.findall(passport)):
        figure = place["figure"]
        calls = re.compile(rf"""\bglue\(\s*["']{re.escape(place["key"])}["']""")
        cell = next((cell for cell, source in cells if calls.search(source)), None)
        if cell is None or not figure["ids"]:
            place.parent.remove(place)
            continue
        name = f"drawn-{place['key']}"
        cell["ids"].append(name)
        place["html"] = html(app, cell, name, figure["ids"][0], seed)
        del place["figure"]


def html(app, cell, name, figure, seed):
    env = app.env
    notebook = f"{env.docname}.ipynb"
    seeded = f", whose seed is {seed}" if seed else ""
    return f"""<details class="kd-passport"><summary>Data, picture, source</summary>
<p>Drawn by <a href="#{name}">cell {cell.get("exec_count") or "–"}</a> of <code>{notebook}</code>{seeded}.
<a href="#{figure}">Address of this figure</a>.</p>
<p class="kd-take" hidden><button type="button" value="csv">Data as CSV</button>
<button type="button" value="svg">Picture as SVG</button></p>
<pre>{escape(bibtex(app.config, figure, env.titles[env.docname].astext(), notebook))}</pre></details>"""


def bibtex(config, figure, page, notebook):
    site = getattr(config, "ogp_site_url", "").rstrip("/")
    address = f"\n  url = {{{site}/{notebook.removesuffix('.ipynb')}.html#{figure}}}," if site else ""
    return f"""@misc{{{figure},
  author = {{{{{config.author}}}}},
  title = {{{config.html_title or config.project}}},
  year = {{{config.copyright}}},
  note = {{Figure ``{figure}'' of ``{page}'', {notebook}}},{address}
}}"""


def draw(translator, node):
    if translator.builder.name != "epub":  # it would have nothing to press, and is XML, which this is not
        translator.body.append(node["html"])
    raise nodes.SkipNode


def setup(app):
    app.add_node(passport, html=(draw, None))
    app.add_directive_to_domain("glue", "figure", FigureWithPassport, override=True)
    app.connect("doctree-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
