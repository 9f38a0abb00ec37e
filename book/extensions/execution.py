"""Run notebooks side by side, and keep what they gave for as long as it holds.

A notebook's key is a digest of all that its outputs depend on: its own code, what the code uses of the package
(:mod:`kdlib._source`), the results stored for the experiments that it uses, the claims that it measures, and the lock.
A run is kept under its key, unless it failed. Nothing here has a limit of time: a slow machine is slow.
"""

import ast
import asyncio
import os
import shutil
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat

MIME = "application/vnd.kdlib.claims+json"  # as kdlib.claims has it, whose import takes seconds
KEPT = 4  # runs of each notebook: going back to earlier code runs nothing
NEVER = 10**6  # seconds after which nbclient may give up on a kernel that starts, or on the last of its outputs


@dataclass(frozen=True)
class Failure:
    """Where a notebook stopped, and why."""

    cell: int  #: its number among the cells with code, from 1 on, which Jupyter shows beside it; 0 before the first
    cells: int
    cause: str

    def __str__(self):
        place = f"stopped in cell {self.cell} of {self.cells}" if self.cell else "could not begin"
        return f"{place}: {self.cause}"


@dataclass(frozen=True)
class Run:
    """An executed notebook."""

    notebook: nbformat.NotebookNode
    key: str | None
    seconds: float
    calibration: float  #: seconds that a fixed computation took beside it
    failure: Failure | None = None

    def outputs_for(self, notebook):
        """The notebook, whose code is the same, with the outputs of this run."""
        notebook = deepcopy(notebook)
        for cell, ran in zip(code_cells(notebook), code_cells(self.notebook), strict=True):
            cell.outputs, cell.execution_count = deepcopy(ran.outputs), ran.execution_count
        notebook.metadata |= {key: ran for key, ran in self.notebook.metadata.items() if key == "language_info"}
        return notebook


class Book:
    """A folder with notebooks, a package that they use, and a lock.

    Args:
        root: the folder.
        kept: the folder of runs that are kept.
    """

    def __init__(self, root, kept=None):
        self.root = Path(root).resolve()
        self.kept = kept or self.root / "_build" / ".jupyter_cache"

    def notebooks(self):
        """The paths of those that the table of contents names, in its order."""
        from sphinx_external_toc.parsing import parse_toc_yaml

        documents = (self.root / name for name in parse_toc_yaml(self.root / "_toc.yml"))
        paths = (path.with_name(path.name.removesuffix(".ipynb") + ".ipynb") for path in documents)
        return [path for path in paths if path.exists()]

    def key(self, path):
        """A digest of all that a notebook's outputs depend on, or None if it cannot be made."""
        return _Notebook(self, path).key

    def kept_run(self, path):
        """The run that holds for a notebook as it is now, or None."""
        return _Notebook(self, path).load()

    def runs(self, paths):
        """The run of each notebook: one that is kept, or else a new one."""
        notebooks = [_Notebook(self, path) for path in paths]
        runs = {notebook: notebook.load() for notebook in notebooks}
        missing = [notebook for notebook in notebooks if not runs[notebook]]
        if missing:
            longest_first = sorted(missing, key=_Notebook.expected, reverse=True)
            runs |= _finish(_run_side_by_side(longest_first, Progress(len(missing))))
        return {notebook.path: run for notebook, run in runs.items()}

    @cached_property
    def lock(self):
        return (self.root / "requirements.txt").read_bytes()

    @cached_property
    def claims(self):
        return tomllib.loads((self.root / "kdlib" / "claims.toml").read_text("utf-8"))


class _Notebook:
    def __init__(self, book, path):
        self.book, self.path = book, Path(path).resolve()
        self.name = self.path.relative_to(book.root).with_suffix("").as_posix()
        self.folder = book.kept / self.name
        self.notebook = nbformat.read(path, as_version=4)
        for cell in code_cells(self.notebook):
            cell.outputs, cell.execution_count = [], None

    @cached_property
    def key(self):
        code = "\n".join(python(cell.source) for cell in code_cells(self.notebook))
        package = self.book.root / "kdlib"
        try:
            source = library("_source")
            used, stored = source.digest(code, package=package), source.stored(code, package=package)
            claims = [claim for claim in self.book.claims.items() if claim[1]["chapter"] == self.path.stem]
        except Exception:  # a module that is missing, or has a mistake: the run will tell
            return None
        total = sha256(self.book.lock)
        for cell in code_cells(self.notebook):
            total.update(f"{cell.source}\n{sorted(cell.metadata.get('tags', []))}\n".encode())
        total.update(f"{used}\n{claims}".encode())
        for path in stored:
            total.update(path.name.encode() + path.read_bytes())
        return total.hexdigest()[:16]

    def expected(self):
        """What sorts by length: the seconds of the last run; a notebook that never ran is longer, by its code."""
        if runs := self._kept_runs():
            return nbformat.read(runs[-1], as_version=4).metadata.run.seconds, 0
        return float("inf"), sum(len(cell.source) for cell in code_cells(self.notebook))

    def load(self):
        path = self.folder / f"{self.key}.ipynb"
        if not self.key or not path.exists():
            return None
        notebook = nbformat.read(path, as_version=4)
        return Run(notebook, self.key, **notebook.metadata.run)

    def save(self, run):
        run.notebook.metadata.run = {"seconds": run.seconds, "calibration": run.calibration}
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{self.key}.unfinished"
        nbformat.write(run.notebook, unfinished)
        unfinished.replace(self.folder / f"{self.key}.ipynb")
        for path in self._kept_runs()[:-KEPT]:
            path.unlink()

    def _kept_runs(self):
        return sorted(self.folder.glob("*.ipynb"), key=lambda path: path.stat().st_mtime)

    async def run(self, say, environment):
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, DeadKernelError

        notebook = deepcopy(self.notebook)
        at, cells = 0, sum(bool(cell.source.strip()) for cell in code_cells(notebook))

        def begin(cell, cell_index):
            nonlocal at
            at += 1
            say.begins(self.name, at, cells)

        client = NotebookClient(
            notebook, timeout=None, startup_timeout=NEVER, iopub_timeout=NEVER, coalesce_streams=True,
            record_timing=True, store_widget_state=False, on_cell_execute=begin,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # that it is not encrypted, no reader needs to know
            resources={"metadata": {"path": str(self.path.parent)}},
        )  # fmt: skip
        say.begins(self.name, at, cells)
        before, start, cause = await asyncio.to_thread(calibrate), time.perf_counter(), None
        try:
            await client.async_execute(env=environment)
        except CellExecutionError as error:
            cause = f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            if asyncio.current_task().cancelling():  # nbclient takes that for the kernel's death
                raise asyncio.CancelledError from None
            cause = "its kernel died; perhaps there was not enough memory"
        except Exception as error:  # of whatever kind: it costs this notebook, not the others
            cause = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        failure = cause and Failure(at, cells, " ".join(cause.split()))
        run = Run(notebook, self.key, seconds, max(before, await asyncio.to_thread(calibrate)), failure)
        if self.key and not failure:
            self.save(run)
        say.ends(self.name, run)
        return run


async def _run_side_by_side(notebooks, say):
    """Run notebooks, the first ones first, as many at once as there are cores."""
    at_once = min(cores(), len(notebooks))
    slots = asyncio.Semaphore(at_once)
    # More threads than cores, and those of OpenBLAS would spend most of the time waiting for each other.
    environment = {"OPENBLAS_NUM_THREADS": str(cores() // at_once)} | os.environ

    async def one(notebook):
        async with slots:
            return notebook, await notebook.run(say, environment)

    return dict(await asyncio.gather(*map(one, notebooks)))


def _finish(work):
    """What a coroutine returns. It runs in a thread, where nbclient leaves Ctrl-C alone: here that stops all of it."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as pool:
        loop = runner.get_loop()
        task = loop.create_task(work)
        done = pool.submit(loop.run_until_complete, task)
        try:
            return done.result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)
            raise


class Progress:
    """What a person sees while notebooks run: a line for each that has ended, and on a terminal one that changes."""

    def __init__(self, total, stream=sys.stderr):
        self.total, self.stream = total, stream
        self.done, self.running = 0, {}

    def begins(self, name, cell, cells):
        self.running[name] = f"{name} ({cell} of {cells})"
        self._show()

    def ends(self, name, run):
        del self.running[name]
        self.done += 1
        self._print(f"[{self.done} of {self.total}] {name} {run.failure or f'ran in {run.seconds:.0f} s'}\n")
        self._show()

    def _show(self):
        if self.running and self.stream.isatty():
            line = f"[{self.done} of {self.total}] running cells of {', '.join(self.running.values())}"
            self._print(line[: shutil.get_terminal_size().columns - 1])

    def _print(self, text):
        self.stream.write(f"\r\033[K{text}" if self.stream.isatty() else text)
        self.stream.flush()


def calibrate():
    """Seconds of a fixed computation on one core: how fast the machine is just now."""
    import numpy as np

    numbers = np.random.default_rng(0).normal(size=10**6)
    start = time.perf_counter()
    np.sort(numbers)
    return time.perf_counter() - start


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def seconds(cell):
    """How long a cell of a run took."""
    begun, ended = (datetime.fromisoformat(cell.metadata.execution[message]) for message in (
        "iopub.execute_input", "shell.execute_reply"))  # fmt: skip
    return (ended - begun).total_seconds()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def recorded_claims(notebook):
    """What the ledgers that a notebook shows say of each claim; of two records of one claim, the later."""
    outputs = (output for cell in code_cells(notebook) for output in cell.outputs)
    return {record["claim"]: record for output in outputs for record in output.get("data", {}).get(MIME, [])}


def python(source):
    """A cell's code, IPython's own commands made calls; nothing if it is no code: the run will tell."""
    from IPython.core.inputtransformer2 import TransformerManager

    for form in (str, TransformerManager().transform_cell):
        with suppress(SyntaxError):
            ast.parse(form(source))
            return form(source)
    return ""


def library(name):
    """A module of kdlib that needs no other, without the rest, whose import takes seconds."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, Path(__file__).parents[2] / "kdlib" / f"{name}.py")
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
