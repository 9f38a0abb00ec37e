"""Run notebooks of the book in place, side by side, and keep only the outputs that are compared.

    python book/run.py                     # all that the table of contents names
    python book/run.py tutorial appendix_s1

Cells tagged `nbval-check-output` keep what they print, for nbval to compare; figures and sliders,
which the book draws anew, are dropped. Nothing runs of which the book has the outputs already.
"""

import sys
from pathlib import Path

import nbformat
from extensions.execution import Book, code_cells

ROOT = Path(__file__).parents[1]


def put_outputs(path, run):
    notebook = run.outputs_for(nbformat.read(path, as_version=4))
    for cell in code_cells(notebook):
        if "nbval-check-output" not in cell.metadata.get("tags", []):
            cell.outputs = []
    notebook.metadata.language_info = {"name": "python"}
    if nbformat.writes(notebook) + "\n" != path.read_text("utf-8"):
        nbformat.write(notebook, path)
        print("has new outputs:", path.stem)


def main(names):
    book = Book(ROOT)
    known = {path.stem: path for path in book.notebooks()}
    names = [Path(name).stem for name in names]
    if unknown := set(names) - known.keys():
        sys.exit(f"a notebook must be one of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    runs = book.runs([known[name] for name in names or known])
    for path, run in runs.items():
        if not run.failure:
            put_outputs(path, run)
    if stopped := [f"{path.stem} {run.failure}" for path, run in runs.items() if run.failure]:
        sys.exit("\n".join(stopped))


if __name__ == "__main__":
    main(sys.argv[1:])
