"""Sphinx extension: the search sorts by book/assets/scorer.js, wherever the build was started."""

from pathlib import Path


def set_scorer(app, config):
    config.html_search_scorer = str(Path(__file__).parents[1] / "assets" / "scorer.js")


def setup(app):
    app.connect("config-inited", set_scorer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
