"""The book's notebooks: their printed numbers, their parameters, and that a wrong number is noticed."""

import ast
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nbformat
import numpy as np
import pytest
from extensions.execution import Book, python

NOTEBOOKS = {path.stem: path for path in Book(Path(__file__).parents[1]).notebooks()}
CHECKED = "nbval-check-output"

# Settings that a notebook has not been run with before, small ones where it computes for long; and settings that must
# stop it, with the message.
OTHER = {
    "index": {"rho": 0.3, "T": 2},
    "02_problem_setup": {"rho": 0.3, "T": 2, "max_width": 128, "seeds": 2},
    "03_transfer_risk": {"d": 3, "seeds": 2, "N": 500},
    "04_data_inefficiency": {"activation": "gelu", "d": 5, "T": 2, "runs": 3, "lesson_runs": 3, "more_runs": 3,
                             "most_runs": 3, "n_max": 300},
    "05_imperfect_teacher": {"d": 1, "n": 100, "T": 2, "seeds": 3},
    "07_many_classes": {"rho": 0.5, "n": 100, "seed": 1, "seeds": 3},
    "08_choosing": {"task": "moons", "n": 100, "reluctance": 2, "draws": 3},
    "advise": {"rho": 0.3, "T": 2},
    "appendix_s1": {"rho": 0.3, "T": 2},
    "appendix_s2": {"n": 40, "T": 2, "seeds": 3, "steps": 60},
    "exchange_office": {"T": 2, "classes": 100},
    "running_at_scale": {"n": 2.5e2, "T": 2},
    "tutorial": {"n": 2e2, "T": 2},
}
REFUSED = {
    "index": {
        "rho must lie in [0, 1], got 1.5": {"rho": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
    },
    "02_problem_setup": {
        "rho must lie in [0, 1], got 1.5": {"rho": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
        "rho_s must lie in (0, 1), got 0": {"rho_s": 0},
        "seeds must be a whole number from 2 up, got 1": {"seeds": 1},
        "max_width must be a whole number from 128 up, got 64": {"max_width": 64},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
    },
    "03_transfer_risk": {
        "T must be positive and finite, got 0": {"T": 0},
        "d must be a whole number from 1 up, got 0": {"d": 0},
        "seeds must be a whole number from 2 up, got 1": {"seeds": 1},
        "N must be a whole number from 500 up, got 100": {"N": 100},
        "client must be the address of a running scheduler": {"scheduler": "tcp://127.0.0.1:1"},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
    },
    "04_data_inefficiency": {
        "runs must be a whole number from 3 up, got 2": {"runs": 2},
        "runs must be a whole number from 3 up, got 4.5": {"runs": 4.5},
        "more_runs must be a whole number from 3 up, got 2": {"more_runs": 2},
        "lesson_runs must be a whole number from 3 up, got 2": {"lesson_runs": 2},
        "most_runs must be a whole number from 3 up, got 2.5": {"most_runs": 2.5},
        "n_max must be a whole number from 100 up, got 50": {"n_max": 50},
        "d must be a whole number from 1 up, got 0": {"d": 0},
        "d must be a whole number from 5 up, got 2": {"activation": "erf"},
        "activation must be one of relu, erf, gelu, got 'tanh'": {"activation": "tanh"},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
        "T must be positive and finite, got 0": {"T": 0},
    },
    "05_imperfect_teacher": {
        "rho must lie in [0, 1], got 1.5": {"rho": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
        "epoch must be one of 16, 32, 64": {"epoch": 100},
        "d must be a whole number from 1 up, got 0": {"d": 0},
        "n must be a whole number from 64 to 1024, got 10": {"n": 10},
        "n must be a whole number from 64 to 1024, got 2000": {"n": 2000},
        "seeds must be a whole number from 3 up, got 2": {"seeds": 2},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
    },
    "07_many_classes": {
        "rho must lie in (0, 1), got 1": {"rho": 1},
        "T must be positive and finite, got 0": {"T": 0},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
        "n must be one of 25, 50, 100, 200, 400, 800, got 10": {"n": 10},
        "seeds must be a whole number from 3 up, got 2": {"seeds": 2},
    },
    "08_choosing": {
        "task must be one of iris, wine, ": {"task": "mnist"},
        "n must be a whole number from 50 to 800, got 20": {"n": 20},
        "reluctance must lie in [0, inf), got -1": {"reluctance": -1},
        "draws must be a whole number from 2 to 8, got 1": {"draws": 1},
        "seed must be a whole number from 0 up, got 1.5": {"seed": 1.5},
    },
    "advise": {
        "data must be an .npz, .csv or .parquet file, got 'mine.xlsx'": {"data": "mine.xlsx"},
        "data must be a file that is there, got 'mine.npz'": {"data": "mine.npz"},
        "data must be a file that is there, got 'more.csv'": {"held_out": "more.csv"},
        "rho must lie in [0, 1], got 1.5": {"rho": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
        "reluctance must lie in [0, inf), got -1": {"reluctance": -1},
        "noise must lie in [0, 0.9), got 0.9": {"noise": 0.9},
        "jitter must lie in [0, inf), got -1": {"jitter": -1},
        "most must be a whole number from 8 up, got 5": {"most": 5},
    },
    "appendix_s1": {
        "rho must lie in [0, 1], got 1.5": {"rho": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
        "at rho = 0 no finite target exists": {"rho": 0},
        "seed must be a whole number from 0 up, got 1.5": {"seed": 1.5},
    },
    "appendix_s2": {
        "T must be positive and finite, got 0": {"T": 0},
        "seeds must be a whole number from 3 up, got 2": {"seeds": 2},
        "n must be a whole number from 1 up, got -5": {"n": -5},
        "steps must be a whole number from 1 up, got 0.5": {"steps": 0.5},
        "model must be one of mlp, resnet, resnet20, got 'vgg'": {"model": "vgg"},
        "name must be one of digits, fashion_mnist, cifar10, got 'mnist'": {"dataset": "mnist"},
    },
    "exchange_office": {
        "name must be one of torchdistill, ": {"name": "fitnets"},
        "soft must lie in (0, 1), got 1": {"soft": 1},
        "T must be positive and finite, got 0": {"T": 0},
        "classes must be a whole number from 2 up, got 1": {"classes": 1},
    },
    "running_at_scale": {
        "n must be a whole number from 10 up, got 5": {"n": 5},
        "chunks must be a whole number from 1 up, got 0": {"chunks": 0},
        "seed must be a whole number from 0 up, got 1.5": {"seed": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
    },
    "tutorial": {
        "n must be a whole number from 50 to 1000, got 20": {"n": 20},
        "n must be a whole number from 50 to 1000, got '200': write it without quotes": {"n": "200"},
        "seed must be a whole number from 0 up, got 1.5": {"seed": 1.5},
        "T must be positive and finite, got 0": {"T": 0},
        "depth must be a whole number from 1 up, got 0": {"depth": 0},
    },
}

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(notebook, tag=None):
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def printed(notebook):
    """What is printed in each of the cells whose output is stored."""
    streams = ([o.text for o in cell.outputs if o.output_type == "stream"] for cell in code_cells(notebook, CHECKED))
    return list(map("".join, streams))


def run(*command, cwd, env=None):
    command = [sys.executable, "-m", *map(str, command)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=900)


def compare(path):
    """nbval's comparison of a copy, away from the settings of this project's own tests, and without other plugins."""
    options = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", "-q"]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return run("pytest", "-c", os.devnull, "--rootdir", path.parent, *options, path, cwd=path.parent, env=alone)


@pytest.fixture(scope="module")
def papermill():
    """Runs a copy, and returns the error that stopped it, if one did, and the notebook that was written.

    In one process for all of them, as it takes seconds to begin.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        def ran(name, folder, parameters):
            output = folder / "out.ipynb"
            error = process.submit(execute, NOTEBOOKS[name], output, parameters, folder).exception()
            return error, read(output)

        yield ran


def execute(path, output, parameters, folder):
    from papermill import execute_notebook

    execute_notebook(path, output, parameters, cwd=folder, progress_bar=False, request_save_on_cell_execute=False,
                     execution_timeout=900)  # of a cell


def papermill_command(name, folder, parameters):
    """The same, as it is typed: its process, and the notebook."""
    arguments = [word for item in parameters.items() for word in ("-p", *item)]
    result = run("papermill", NOTEBOOKS[name], folder / "out.ipynb", *arguments, "--no-progress-bar", cwd=folder)
    return result, read(folder / "out.ipynb")


def read(path):
    written = nbformat.read(path, as_version=4)
    nbformat.validate(written)
    return written


def stops_with(name, parameters):
    """The error at which a notebook's cells stop, when they run here one after the other."""
    names = {"__name__": "__main__"}
    try:
        for cell in code_cells(nbformat.read(NOTEBOOKS[name], as_version=4)):
            tags = cell.metadata.get("tags", [])
            assert "raises-exception" not in tags  # with it Jupyter and papermill would go on
            exec(cell.source, names)
            if "parameters" in tags:
                names |= parameters
    except ValueError as error:
        return str(error)


def test_every_notebook_has_settings_to_try():
    assert set(OTHER) == set(REFUSED) == set(NOTEBOOKS)


@each_notebook
def test_stored_outputs_are_those_that_are_compared(name):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    cells, checked = code_cells(notebook), code_cells(notebook, CHECKED)
    assert checked and all(cell.outputs for cell in checked)
    assert [cell.id for cell in cells if cell.outputs] == [cell.id for cell in checked]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert len(code_cells(notebook, "parameters")) == 1


@each_notebook
def test_notebook_prints_what_it_says(name, tmp_path):
    result = compare(Path(shutil.copy(NOTEBOOKS[name], tmp_path)))
    assert result.returncode == 0, result.stdout


def test_a_changed_number_and_a_lost_output_are_noticed(tmp_path):
    """Guards the guard: nbval itself must fail, in the two cells that were tampered with."""
    notebook = nbformat.read(NOTEBOOKS["tutorial"], as_version=4)
    changed, lost = [cell for cell in code_cells(notebook, CHECKED) if cell.outputs[0].output_type == "stream"][:2]
    changed.outputs[0].text = re.sub(r"\d", lambda digit: str(9 - int(digit[0])), changed.outputs[0].text, count=1)
    lost.outputs = []
    nbformat.write(notebook, tmp_path / "tampered.ipynb")
    result = compare(tmp_path / "tampered.ipynb")
    failed = re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)
    assert failed == [str(code_cells(notebook).index(cell)) for cell in (changed, lost)], result.stdout


@each_notebook
def test_other_parameters_change_what_is_printed(name, tmp_path, papermill):
    error, at_other = papermill(name, tmp_path, OTHER[name])
    assert error is None, str(error)
    assert printed(at_other) != printed(nbformat.read(NOTEBOOKS[name], as_version=4))


@each_notebook
def test_every_parameter_is_used(name):
    """To be checked, and assigned to itself, is no use."""
    parameters, *others = code_cells(nbformat.read(NOTEBOOKS[name], as_version=4))
    names = {target.id for node in ast.parse(parameters.source).body for target in node.targets}
    used = set()
    for cell in others:
        for statement in ast.parse(python(cell.source)).body:
            found = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
            assigned = {node.id for node in found if isinstance(node.ctx, ast.Store)}
            used |= {node.id for node in found if isinstance(node.ctx, ast.Load)} - assigned
    assert names and names <= used


@each_notebook
def test_a_bad_parameter_stops_papermill_with_the_remedy(name, tmp_path, papermill):
    message, parameters = next(iter(REFUSED[name].items()))
    error, written = papermill(name, tmp_path, parameters)
    assert message in str(error)
    errors = [output.evalue for cell in code_cells(written) for output in cell.outputs if output.output_type == "error"]
    assert len(errors) == 1 and message in errors[0]


@each_notebook
def test_a_notebook_looks_at_its_parameters_first(name):
    parameters, after, *_ = code_cells(nbformat.read(NOTEBOOKS[name], as_version=4))
    assert "parameters" in parameters.metadata.tags and "\nrefuse_unknown_parameters(globals())" in after.source


@each_notebook
def test_a_fold_says_what_is_behind_it(name):
    cells = code_cells(nbformat.read(NOTEBOOKS[name], as_version=4))
    folded = [cell for cell in cells if {"hide-input", "hide-output", "hide-cell"} & set(cell.metadata.get("tags", []))]
    words = [cell.metadata.get("mystnb", {}) for cell in folded]
    assert all({"code_prompt_show", "code_prompt_hide"} <= said.keys() for said in words)


def test_a_misspelt_parameter_stops_papermill(tmp_path):
    result, _ = papermill_command("index", tmp_path, {"rh": 0.9})
    assert result.returncode != 0
    assert "ValueError: rh is no parameter of this notebook: it has rho, T, z_t" in result.stderr


@pytest.mark.parametrize("name, message", [(name, message) for name in REFUSED for message in REFUSED[name]])
def test_bad_parameters_are_refused(name, message):
    assert message in (stops_with(name, REFUSED[name][message]) or "")


def own_file(folder, kind):
    """A file as somebody may have it, and the parameters that say what is where in it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    truth = np.stack([x[:, 0], x[:, 1] * x[:, 2], x[:, 3]], 1) * 2
    y = (truth + rng.normal(size=truth.shape)).argmax(1)
    names = np.array(["ape", "bee", "cat"])
    path = folder / f"mine.{kind.partition(',')[0]}"
    if kind == "npz, logits of classes with names":
        np.savez(path, x=x, z_t=truth, y_g=names[y])
        return path, {}
    if kind == "npz, features under a linear head":
        np.savez(path, layer=x, answer=truth[:, 0], kind=2 * (y == 0) - 1)
        return path, {"inputs": "layer", "teacher": "answer", "labels": "kind", "linear_head": True}
    p = np.exp(truth) / np.exp(truth).sum(1, keepdims=True)
    rows = (",".join([*map(str, [*a, *b]), names[c]]) for a, b, c in zip(x, p, y, strict=True))
    path.write_text("\n".join(["a,b,c,d,p_ape,p_bee,p_cat,kind", *rows]), "utf-8")
    return path, {"teacher": "p_", "labels": "kind"}


@pytest.mark.parametrize("kind", ["npz, logits of classes with names", "npz, features under a linear head",
                                  "csv, probabilities"])  # fmt: skip
def test_advice_on_an_own_file_needs_no_editing_and_shows_its_figure_when_exported(kind, tmp_path):
    path, parameters = own_file(tmp_path, kind)
    result, written = papermill_command("advise", tmp_path, {"data": path.name} | parameters)
    assert result.returncode == 0, result.stderr
    [report, table] = printed(written)
    assert "with 120 samples" in report and re.search(r"^(Move from|Keep) ", report, re.MULTILINE)
    assert len(table.splitlines()) == 22
    exported = run("nbconvert", "--to", "html", "out.ipynb", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    page = (tmp_path / "out.html").read_text("utf-8")
    assert page.index("Only 120 labels") < page.index('class="kd-still"')
