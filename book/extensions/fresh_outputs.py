"""Sphinx extension: a change of the library, the lock or the book's assets rebuilds every page.

Notebook outputs are cached by the notebooks' own code, which does not see an edit of kdlib; and
Sphinx copies no style sheet as long as no page has changed. Here the cache's folder and one
configuration value carry a digest of those files, so an edit finds an empty cache, and every page
is read again.
"""

from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


def source_digest():
    folders = ROOT / "kdlib", ROOT / "book" / "assets", ROOT / "book" / "vendor"
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    digest = sha256()
    for path in sorted([*files, ROOT / "requirements.txt"]):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def setup(app):
    digest = source_digest()
    app.add_config_value("source_digest", digest, "env")
    cache = Path(app.outdir).parent / ".jupyter_cache" / digest
    app.connect("config-inited", lambda _, config: setattr(config, "nb_execution_cache_path", str(cache)), priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
