"""Sphinx extension: the ways from a page to what it is made of, in the buttons above it.

A notebook's page offers for download the notebook in plain Markdown (:mod:`plain`) in the place of its source. Buttons
for the repository and for its issues are there if `repository: url` in `_config.yml` names the address.
"""

from posixpath import basename


def to_the_repository(app, config):
    address = config.html_theme_options.get("repository_url")
    config.html_theme_options |= {f"use_{name}_button": bool(address) for name in ("repository", "issues")}


def to_the_notebook(app, pagename, templatename, context, doctree):
    if app.builder.name != "html" or context.get("page_source_suffix") != ".ipynb":
        return
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if button["label"] == "download-source-button":
                button |= {"url": context["pathto"](f"notebooks/{basename(pagename)}.ipynb", 1),
                           "tooltip": "Download this notebook, for JupyterLab", "label": "download-notebook-button"}


def setup(app):
    app.connect("config-inited", to_the_repository)
    app.connect("html-page-context", to_the_notebook, priority=502)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
