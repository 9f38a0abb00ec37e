"""Sphinx extension: runs the notebooks whose outputs are out of date, and says what one that stopped leaves open.

Before pages are read, the notebooks of the table of contents are run side by side where their keys have changed
(:mod:`execution`); MyST-NB gets them with their outputs. With `execute_notebooks: "off"` none is run. A notebook that
stops costs its own page: there stands a note, and wherever a result of it belongs, a placeholder. The build ends with a
warning that names the cell and the cause, and leaves it in `_build/stopped`.

`` {running-time}`04_data_inefficiency` `` is the time of the execution whose outputs that page shows.
"""

import gc
import re
from html import escape
from pathlib import Path
from textwrap import shorten

import nbformat
from docutils import nodes
from execution import Book
from myst_nb.ext.glue.directives import PasteFigureDirective
from myst_nb.ext.glue.roles import PasteTextRole
from myst_nb.ext.glue.utils import PendingGlueReference
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

OFF = "did not run"

logger = logging.getLogger(__name__)


# --- Which notebooks there are, and running them --------------------------------------------------


def notebooks(env):
    """The documents that are notebooks."""
    return [docname for docname in sorted(env.found_docs) if env.doc2path(docname).endswith(".ipynb")]


def find_only_what_the_contents_name(app, config):
    """A file that lies about is no part of the book, and no reason to read its pages again."""
    if contents := getattr(config, "external_site_map", None):
        files = [pattern for docname in contents for pattern in (docname, f"{docname}.*")]
        config.include_patterns = sorted([*files, *contents.globs()])


def take_over_execution(app, config):
    """MyST-NB then shows the outputs that a notebook comes with."""
    app.notebook_mode, app.runs, app.states = config.nb_execution_mode, {}, {}
    if app.notebook_mode == "cache":
        config.nb_execution_mode = "off"


def run_notebooks(app, env, added, changed, removed):
    """Run what is out of date, and read the pages again whose outputs are not those that they show."""
    names = {docname: called(docname, env.doc2path(docname)) for docname in notebooks(env)}
    if app.notebook_mode == "cache":
        runs = Book(app.srcdir, Path(app.outdir).parent / ".jupyter_cache").runs(map(env.doc2path, names))
        app.runs = dict(zip(names, runs.values(), strict=True))
    app.states = {docname: state(app, docname, name) for docname, name in names.items()}
    for docname, run in app.runs.items():
        if run.failure:
            logger.warning(app.states[docname]["stopped"], location=docname)
    return [docname for docname in names if app.states[docname] != env.metadata[docname].get("run")]


def called(docname, path):
    """What a reader calls a notebook: Chapter 5, or what its title says before a colon."""
    number = re.match(r"(\d+)_", docname.rpartition("/")[2])
    if number:
        return f"Chapter {int(number[1])}"
    cells = nbformat.read(path, as_version=4).cells
    return cells[0].source.partition("\n")[0].lstrip("# ").partition(":")[0] if cells else docname


def state(app, docname, name):
    """What is known of a notebook's outputs, as far as pages depend on it."""
    known = {"mode": app.notebook_mode}
    if app.notebook_mode == "off":
        known |= {"missing": f"not available: {name} {OFF}"}
    if run := app.runs.get(docname):
        known |= {"key": run.key, "seconds": run.seconds}
        if run.failure:
            known |= {"missing": f"not available: {name} did not run to its end",
                      "stopped": shorten(f"{name} ({docname}.ipynb) {run.failure}", 500)}
    return known


def show_outputs(app, docname, source):
    if docname in app.states:
        app.env.metadata[docname]["run"] = app.states[docname]
    if docname in app.runs:
        notebook = nbformat.reads(source[0], as_version=4)
        source[0] = nbformat.writes(app.runs[docname].outputs_for(notebook))


def say_what_stopped(app, exception):
    """In a file too, for whoever has to say it last."""
    stopped = [state["stopped"] for state in app.states.values() if "stopped" in state]
    file = Path(app.outdir).parent / "stopped"
    if stopped:
        file.write_text("\n".join(stopped), "utf-8")
    elif not exception:
        file.unlink(missing_ok=True)


def leave_out_thebe(app, config):
    """A page has no kernel, and what would call one declares its settings on every page, twice."""
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files = [each for each in app.registry.css_files if each[0] != "sphinx-thebe.css"]


# --- What a notebook leaves open that did not run to its end -----------------------------------------


def missing(env, docname):
    """The placeholder for a result of this notebook, if there is need of one."""
    return env.metadata[docname].get("run", {}).get("missing") if docname in env.found_docs else None


def placeholder(text):
    return nodes.emphasis("", text, classes=["missing"])


def add_note(app, doctree):
    """To the page of a notebook that stopped, below its title."""
    known = app.env.metadata[app.env.docname].get("run", {})
    if "missing" not in known:
        return
    kind, text = (nodes.error, f"{known['stopped']}. ") if "stopped" in known else (nodes.note, "")
    text += "What this notebook has not computed is not available, here and on other pages."
    title = doctree.next_node(nodes.title)
    parent, place = (title.parent, title.parent.index(title) + 1) if title else (doctree, 0)
    parent.insert(place, kind("", nodes.paragraph("", text)))


class GlueText(PasteTextRole):
    def run(self):
        key = self.text.rpartition(":")[0] or self.text
        if "::" not in self.text and (text := left_open(self.document, key)):
            return [placeholder(text)], []
        return super().run()


class GlueFigure(PasteFigureDirective):
    """Keeps its caption and its name, to which others refer."""

    def run(self):
        [key] = self.arguments
        text = left_open(self.document, key)
        if not text:
            return super().run()
        glued = self.document["nb_renderer"].renderer.nb_client.glue_data
        glued[key] = {"data": {"text/html": f'<em class="missing">{escape(text)}</em>'}}
        try:
            return super().run()
        finally:
            del glued[key]


def left_open(document, key):
    """The placeholder for what this document should have glued, if it has not."""
    env = document.settings.env
    text = missing(env, env.docname)
    return text if text and key not in document["nb_renderer"].renderer.nb_client.glue_data else None


class FillInGlue(SphinxPostTransform):
    default_priority = 4  # before MyST-NB looks for them

    def run(self):
        for place in list(self.document.findall(PendingGlueReference)):
            text = missing(self.env, place.refdoc)
            if text and place.key not in NbMetadataCollector.get_doc_data(self.env)[place.refdoc].get("glue", []):
                place.replace_self(placeholder(text))


def shown_cells(doctree):
    """The cells with code that a reader sees, each with its code."""
    for cell in doctree.findall(nodes.container):
        if "cell" in cell["classes"]:
            blocks = (block for block in cell.findall(nodes.literal_block) if "cell_input" in block.parent["classes"])
            yield cell, "\n".join(block.astext() for block in blocks)


# --- How long they took -------------------------------------------------------------------------------


class running_time(nodes.Inline, nodes.Element):
    """A place for the running time of a notebook."""


class RunningTime(SphinxRole):
    def run(self):
        return [running_time(of=f"{self.env.docname.rpartition('/')[0]}/{self.text}".lstrip("/"))], []


class FillInTime(SphinxPostTransform):
    default_priority = 5

    def run(self):
        for place in list(self.document.findall(running_time)):
            known = self.env.metadata[place["of"]].get("run", {})
            if not known:
                logger.warning(f"running-time must name a notebook, got {place['of']}", location=self.env.docname)
            seconds = known.get("seconds")
            place.replace_self(nodes.Text("some time" if seconds is None else f"{seconds:.0f} seconds"))


def setup(app):
    # Trees of pages are large and stay until they are written: to look for garbage among them took half of the time.
    gc.set_threshold(50_000)
    app.connect("config-inited", find_only_what_the_contents_name, priority=999)  # when they have been read
    app.connect("config-inited", take_over_execution)
    app.connect("config-inited", leave_out_thebe)
    app.connect("env-get-outdated", run_notebooks)
    app.connect("source-read", show_outputs)
    app.connect("doctree-read", add_note)
    app.connect("build-finished", say_what_stopped)
    app.add_role_to_domain("glue", "text", GlueText(), override=True)
    app.add_directive_to_domain("glue", "figure", GlueFigure, override=True)
    app.add_post_transform(FillInGlue)
    app.add_node(running_time)
    app.add_role("running-time", RunningTime())
    app.add_post_transform(FillInTime)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
