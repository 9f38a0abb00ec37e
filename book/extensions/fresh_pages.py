"""Sphinx extension: a page is drawn again when something on it has changed that Sphinx does not see, and only then.

Such are the results of other pages' notebooks, the list of claims, style sheets and scripts, which Sphinx copies with
the pages only, and the extensions themselves. Each builder keeps what it has drawn, since all share what was read.
"""

import json
from hashlib import sha256
from pathlib import Path

from docutils import nodes
from ledger import from_ledger
from myst_nb.ext.glue.utils import PendingGlueReference
from notebooks import running_time
from sphinx.application import ENV_PICKLE_FILENAME

BOOK = Path(__file__).parents[1]
CLAIMS = BOOK.parent / "kdlib" / "claims.py", BOOK.parent / "kdlib" / "claims.toml"
FROM_OTHERS = from_ledger, PendingGlueReference, running_time


def digest(*places):
    files = (path for place in places for path in (place, *place.rglob("*")) if path.is_file())
    total = sha256()
    for path in sorted(path for path in files if "__pycache__" not in path.parts):
        total.update(path.relative_to(BOOK.parent).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:16]


def mark(app, doctree):
    """Whether a page shows what others have computed."""
    places = (node for node in doctree.findall(nodes.Element) if isinstance(node, FROM_OTHERS))
    app.env.metadata[app.env.docname]["from others"] = any(places)


def draw_again(app, env):
    """The pages to be drawn besides those that were read."""
    before, now = drawn(app), facts(app)
    again = {docname for docname, time in now["read"].items() if time != before["read"].get(docname)}
    if now["results"] != before["results"]:
        again |= {docname for docname in env.found_docs if env.metadata[docname].get("from others")}
    return sorted(again)


def facts(app):
    """When each page was read, and what pages may show of others."""
    titles = {docname: app.env.titles[docname].astext() for docname in app.states}
    return {"read": app.env.all_docs, "results": [app.states, titles, digest(*CLAIMS)]}


def drawn(app):
    path = record(app)
    return json.loads(path.read_text("utf-8")) if path.exists() else {"read": {}, "results": None}


def keep(app, exception):
    """What was drawn. After other warnings than those of notebooks, all is read again, and warned of again."""
    stopped = sum("stopped" in state for state in app.states.values())
    if not exception:
        record(app).write_text(json.dumps(facts(app)), "utf-8")
    if app._warncount > stopped:
        Path(app.doctreedir, ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def record(app):
    return Path(app.outdir) / ".drawn.json"


def setup(app):
    app.add_config_value("extensions_digest", digest(BOOK / "extensions"), "env")
    app.add_config_value("assets_digest", digest(BOOK / "assets", BOOK / "vendor"), "html")
    app.connect("doctree-read", mark)
    app.connect("env-updated", draw_again)
    app.connect("build-finished", keep)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
