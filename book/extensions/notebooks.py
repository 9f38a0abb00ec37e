"""Sphinx extension: how long notebooks took to run, a limit to that, and no widget state in the pages.

`` {running-time}`04_data_inefficiency` `` is the time of the execution whose outputs that page shows. A notebook that
took longer than LIMIT is a warning, which `make book` treats as an error. Widget state is left out: a page has no
kernel that could use it, and an explorer's HTML brings all that it needs.
"""

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

LIMIT = 600  # seconds: many times what a chapter takes on two idle cores, since not every machine is idle


logger = logging.getLogger(__name__)


class running_time(nodes.Inline, nodes.Element):
    """A place for the running time of a notebook."""


class RunningTime(SphinxRole):
    def run(self):
        docname = f"{self.env.docname.rpartition('/')[0]}/{self.text}"
        if docname != self.env.docname:
            self.env.note_reread()
        return [running_time(of=docname)], []


class FillIn(SphinxPostTransform):
    default_priority = 5

    def run(self):
        for place in list(self.document.findall(running_time)):
            seconds = running_times(self.env).get(place["of"])
            if seconds is None:
                logger.warning(f"running-time must name a notebook that was executed, got {place['of']}",
                               location=self.env.docname)
            place.replace_self(nodes.Text("some time" if seconds is None else f"{seconds:.0f} seconds"))


def running_times(env):
    """Seconds of each executed notebook, by document."""
    executions = {docname: NbMetadataCollector.get_exec_data(env, docname) for docname in env.found_docs}
    return {docname: execution["runtime"] for docname, execution in executions.items() if execution}


def limit_time(app, env):
    for docname, seconds in running_times(env).items():
        if seconds > LIMIT:
            logger.warning(
                f"the notebook took {seconds:.0f} s to run, and may take {LIMIT} s: make it quicker, or store its long "
                "part in kdlib/stored. If the machine was busy, remove _build/.jupyter_cache and build again",
                location=docname)


def drop_widget_state(app, doctree):
    NbMetadataCollector.get_js_files(app.env, app.env.docname).pop("ipywidgets_state", None)


def setup(app):
    app.add_node(running_time)
    app.add_role("running-time", RunningTime())
    app.add_post_transform(FillIn)
    app.connect("env-check-consistency", limit_time)
    app.connect("doctree-read", drop_widget_state)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
