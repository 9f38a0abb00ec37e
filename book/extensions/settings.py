"""Sphinx extension: tables of what the book's numbers were made with.

    {settings}       the cell of parameters of each notebook of the book, with its comments. A setting is the paper's if
                     its comment ends with `; the paper's, PLACE`
    {constants}      the assignments of plain numbers in those cells of the notebooks that a reader sees
    {experiments}    of each module of kdlib/experiments the constants with a comment `#: ...`, and the parameters of
                     its settings, with their defaults
    {stored-runs}    the runs in kdlib/stored with their commands and settings
"""

import ast
import json
import re
from html import escape
from pathlib import Path

import nbformat
from docutils import nodes
from execution import library, python
from notebooks import notebooks
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

LIBRARY = Path(__file__).parents[2] / "kdlib"
STORED = LIBRARY / "stored"


class Settings(SphinxDirective):
    names = "Setting", "Value", "What it is", "Whose"

    def run(self):
        paths = [Path(self.env.doc2path(docname)) for docname in notebooks(self.env)]
        for path in paths:
            self.env.note_dependency(str(path))
        self.env.metadata[self.env.docname]["settings of"] = notebooks(self.env)
        return [nodes.raw("", "".join(map(self.table, paths)), format="html")]

    def table(self, path):
        cells = nbformat.read(path, as_version=4).cells
        title = escape(cells[0].source.partition("\n")[0].lstrip("# ")) if cells else path.stem
        return table(f'<a href="page:{self.env.path2doc(path)}">{title}</a>', self.names, self.rows(cells))

    def rows(self, cells):
        for cell in cells:
            if "parameters" in cell.metadata.get("tags", []):
                for name, value, comment in assignments(cell.source):
                    yield name, code(value), escape(comment), "paper" if is_the_papers(comment) else "ours"


class FillInAddresses(SphinxPostTransform):
    """Only a builder knows where its pages are."""

    default_priority = 5

    def run(self):
        address = lambda match: f'href="{self.app.builder.get_relative_uri(self.env.docname, match[1])}"'
        for html in list(self.document.findall(nodes.raw)):
            if "page:" in html.astext():
                html.replace_self(nodes.raw("", re.sub('href="page:(.*?)"', address, html.astext()), format="html"))


def table(caption, names, rows):
    """HTML, or nothing if there are no rows."""
    rows = [(f"<code>{name}</code>", *others) for name, *others in rows]
    return library("_table").table(names, rows, "claims settings", caption=caption) if rows else ""


def code(value):
    return f"<code>{escape(ast.unparse(value))}</code>"


def is_the_papers(comment):
    return re.search(r"; the paper's, [^;]+$", comment) is not None


class Constants(Settings):
    names = "Constant", "Value", "Section"

    def rows(self, cells):
        section = ""
        for cell in cells:
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "markdown":
                if headings := re.findall(r"^##+ (.*)$", cell.source, re.MULTILINE):
                    section = re.sub(r"\$\\?(.*?)\$", r"\1", headings[-1])
            elif not {"parameters", "hide-input", "remove-cell"} & set(tags) and section != "Exercises":
                for name, value, _ in assignments(cell.source):
                    if is_plain(value):
                        yield name, code(value), escape(section)


class Experiments(SphinxDirective):
    def run(self):
        self.env.metadata[self.env.docname]["experiments"] = experiments()
        return [nodes.raw("", "".join(map(self.table, sorted(experiments()))), format="html")]

    def table(self, name):
        path = LIBRARY / "experiments" / name
        self.env.note_dependency(str(path))
        source = path.read_text("utf-8")
        title = escape(ast.get_docstring(ast.parse(source)).partition("\n")[0])
        rows = ((name, code(value), escape(comment)) for name, value, comment in documented(source))
        return table(f"<code>{path.stem}</code>, {title}", ("Constant", "Value", "What it is"), rows)


def experiments():
    """The modules of experiments."""
    return [path.name for path in (LIBRARY / "experiments").glob("[a-z]*.py")]


class StoredRuns(SphinxDirective):
    def run(self):
        self.env.metadata[self.env.docname]["stored"] = stored()
        rows = map(self.row, sorted([*STORED.glob("*.json"), *STORED.glob("*.npz")]))
        html = library("_table").table(("Made by", "On, and for how long", "With"), rows, "claims settings stored")
        return [nodes.raw("", html, format="html")]

    def row(self, path):
        known = provenance(path)
        settings = known["setting"] if "setting" in known else known["settings"]
        if isinstance(settings, dict):
            repeated = {"repetitions": known["repetitions"]} if "repetitions" in known else {}
            settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in (settings | repeated).items())
        date = known["date"]
        if "seconds" in known:
            date += f", {known['seconds']:.0f} s"
        if first := known.get("extends"):
            date += f", the first {first['repetitions']} on {first['date']}"
        return f"<code>{escape(known['command'])}</code>", date, escape(str(settings))


def provenance(path):
    """What is stored beside results about their making."""
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    import numpy as np

    with np.load(path) as file:
        return json.loads(str(file["provenance"]))


def stored():
    """Which results there are, and when each was written."""
    return {path.name: path.stat().st_mtime for path in STORED.glob("*.*")}


def read_again(app, env, added, changed, removed):
    """Pages on settings of notebooks that come or go, or on stored runs that do."""
    now = {"settings of": notebooks(env), "stored": stored(), "experiments": experiments()}
    return [docname for docname in env.found_docs for kind, found in now.items()
            if env.metadata[docname].get(kind, found) != found]


def assignments(source):
    """Name, value and comment of each assignment to one name at the top level of a cell."""
    for node in ast.parse(python(source)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value, comment_behind(node, source)


def documented(source):
    """The same of the constants of a module that have a comment `#: ...`, and of the parameters of its settings."""
    for name, value, comment in assignments(source):
        if comment.startswith(":"):
            yield name, value, comment[1:].strip()
    for setting in ast.parse(source).body:
        for node in getattr(setting, "body", []):
            match node:
                case ast.AnnAssign(value=ast.Call(func=ast.Name(id="parameter"), args=[default, _])):
                    yield f"{setting.name}.{node.target.id}", default, comment_behind(node, source).lstrip(": ")


def comment_behind(node, source):
    line = source.splitlines()[node.end_lineno - 1].encode()[node.end_col_offset:].decode()
    return line.partition("#")[2].strip()


def is_plain(value):
    """Whether an expression is made of numbers alone, and perhaps of NumPy's functions of them."""
    parts = list(ast.walk(value))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    constants = [part.value for part in parts if isinstance(part, ast.Constant)]
    return names <= {"np", "jnp", "int"} and bool(constants) and all(isinstance(c, int | float) for c in constants)


def setup(app):
    app.add_directive("settings", Settings)
    app.add_directive("constants", Constants)
    app.add_directive("experiments", Experiments)
    app.add_directive("stored-runs", StoredRuns)
    app.add_post_transform(FillInAddresses)
    app.connect("env-get-outdated", read_again)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
