"""Sphinx extension: a change of the library or the lock runs every notebook anew, one of the assets redraws the pages.

Notebook outputs are cached by the notebooks' own code, which does not see an edit of kdlib; and
Sphinx copies no style sheet as long as no page has changed. Here the cache's folder carries a digest of the
library, so an edit finds an empty cache, and a configuration value one of all these files, so that every page
is read again.
"""

from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "kdlib", ROOT / "requirements.txt"
ASSETS = ROOT / "book" / "assets", ROOT / "book" / "vendor"


def digest(*places):
    paths = (path for place in places for path in (place, *place.rglob("*")))
    files = (path for path in paths if path.is_file() and path.suffix != ".pyc")
    total = sha256()
    for path in sorted(files):
        total.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:16]


def setup(app):
    app.add_config_value("source_digest", digest(*LIBRARY, *ASSETS), "env")
    # Builders share what was read; by this each knows whether it has drawn it.
    app.add_config_value("drawn_digest", digest(*LIBRARY, *ASSETS), "html")
    cache = Path(app.outdir).parent / ".jupyter_cache" / digest(*LIBRARY)
    app.connect("config-inited", lambda _, config: setattr(config, "nb_execution_cache_path", str(cache)), priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
