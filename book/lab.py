"""Put the notebooks that were drawn with the pages into _build/lab, for JupyterLab; keep those that someone changed.

    make lab
"""

from filecmp import cmp
from itertools import count
from pathlib import Path
from shutil import copy

import nbformat
from jupyter_core.paths import jupyter_data_dir
from nbformat.sign import NotebookNotary

BUILD = Path(__file__).parents[1] / "_build"


def put(source, folder):
    """Copy a notebook there, unless it is the one that was copied last. One changed since then gets another name."""
    target, last = folder / source.name, folder / ".last" / source.name
    if target.exists() and last.exists() and cmp(source, last, shallow=False):
        return
    if target.exists() and not (last.exists() and cmp(target, last, shallow=False)):
        kept = next(path for i in count(1) if not (path := folder / f"{source.stem}-yours-{i}.ipynb").exists())
        target.rename(kept)
        print(f"There is a new {source.name}; the one that you changed is now {kept.name}")
    last.parent.mkdir(parents=True, exist_ok=True)
    for place in (target, last):
        copy(source, place)


def main():
    folder = Path(jupyter_data_dir())
    folder.mkdir(parents=True, exist_ok=True)  # there may never have been a Jupyter here
    notary = NotebookNotary(data_dir=str(folder))
    for source in sorted((BUILD / "html/notebooks").glob("*.ipynb")):
        put(source, BUILD / "lab")
        notary.sign(nbformat.read(source, as_version=4))  # its outputs come from this machine: JupyterLab may show them
    notary.store.close()


if __name__ == "__main__":
    main()
