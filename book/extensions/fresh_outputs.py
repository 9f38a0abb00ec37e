"""Sphinx extension: a change of the library re-executes the book.

Notebook outputs are cached by the notebooks' own code, which does not see an edit of kdlib. Here
the cache's folder and one configuration value carry a digest of the library and the lock, so an
edit finds an empty cache and every page is read again.
"""

from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


def library_digest():
    files = sorted(p for p in (ROOT / "kdlib").rglob("*") if p.suffix in {".py", ".js", ".css"})
    digest = sha256()
    for path in [*files, ROOT / "requirements.txt"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def setup(app):
    digest = library_digest()
    app.add_config_value("library_digest", digest, "env")
    cache = Path(app.outdir).parent / ".jupyter_cache" / digest
    app.connect(
        "config-inited",
        lambda _, config: config.__setattr__("nb_execution_cache_path", str(cache)),
        priority=1,
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
