"""Run every notebook of the book in place, and keep only the outputs that are compared.

    python book/run.py            # all of them
    python book/run.py book/02_problem_setup.ipynb

Cells tagged `nbval-check-output` keep what they print, for nbval to compare; figures and sliders,
which the book draws anew, are dropped.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).parent


def run(path):
    notebook = nbformat.read(path, as_version=4)
    here = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, coalesce_streams=True, resources=here).execute()
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        cell.metadata.pop("execution", None)
        if "nbval-check-output" not in cell.metadata.get("tags", []):
            cell.outputs = []
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(BOOK.glob("*.ipynb"))):
        run(path.resolve())
        print("ran", path)
