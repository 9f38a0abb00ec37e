"""Sphinx extension: the library reference, from the docstrings, with type hints as they were written."""

import re
import typing

# Before kdlib is imported: jaxtyping then shows Float[Array, "n d"] instead of what that stands for.
typing.GENERATING_DOCUMENTATION = True


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("html-page-context", plain_parameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def plain_parameters(app, pagename, templatename, context, doctree):
    """Parameters of a signature, which Sphinx sets as a list of definitions without terms, as plain lines."""
    def lines(signature):
        html = re.sub("<(/?)dl>", r"<\1span>", signature[0])
        return html.replace("<dd>", '<span class="parameter">').replace("</dd>", "</span>")

    context["body"] = re.sub(r'<dt class="sig .*?</dt>', lines, context.get("body", ""), flags=re.DOTALL)
