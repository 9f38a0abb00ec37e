"""Sphinx extension: what the build as one page, from which the book is printed, lacks.

Sphinx takes a builder's own handlers of nodes if there are any, and else those of its format. An extension that adds
some for `singlehtml` hides all others' for HTML; here they are put together.
"""


def join_handlers(app):
    handlers = app.registry.translation_handlers
    if app.builder.name == "singlehtml":
        handlers["singlehtml"] = handlers["html"] | handlers.get("singlehtml", {})


def setup(app):
    app.connect("builder-inited", join_handlers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
