"""The library's tests on several Pythons and JAX versions: `make matrix`, or `python tests/matrix.py 3.12` for one.

Each Python has the newest packages that `pyproject.toml` admits; the first one runs the tests with the oldest JAX, too.
Environments are made in `_build/matrix`, without what only the book's pages need: of its packages the library itself
draws with plotly and anywidget. A Python that is not found is skipped.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Long training in single precision is chaotic: compiled by another JAX than the lock's it ends with other networks.
CHAOTIC = "comes_out_again and (photographs or trained_networks)"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# pyenv's versions come first: its commands on the path fail for versions that it does not have in use.
PATH = os.pathsep.join([*map(str, Path.home().glob(".pyenv/versions/*/bin")), os.environ["PATH"]])


def main(pythons):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = next(re.search("jax>=([0-9.]+)", line)[1] for line in project["dependencies"] if line.startswith("jax>="))
    cases = [(PYTHONS[0], f"jax=={oldest}")] * (PYTHONS[0] in pythons) + [(python, "jax") for python in pythons]
    outcomes = [f"Python {python}, {jax}: {outcome(python, jax)}" for python, jax in cases]
    print(*outcomes, sep="\n")
    return any(line.endswith("failed") for line in outcomes)


def outcome(python, jax):
    environment = ROOT / "_build" / "matrix" / f"{python}-{jax}"
    if uv("venv", "-q", "--clear", "--no-python-downloads", "--python", python, environment):
        return "skipped, as this Python was not found"
    needed = "-e", ".[architectures,dev]", "plotly", "anywidget"
    if uv("pip", "install", "-q", "--python", environment, *needed, jax):
        return "not installed, and so failed"
    print(f"Python {python}, {jax}", flush=True)
    tests = [environment / "bin" / "python", "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-q",
             "--doctest-ignore-import-errors", "-k", f"not ({CHAOTIC})", "tests", "kdlib"]
    as_a_user = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # see conftest.py
    as_a_user.pop("JAX_COMPILATION_CACHE_DIR", None)  # from which JAX 0.5.3 reads programs that compute nonsense
    return "failed" if subprocess.run(tests, cwd=ROOT, env=as_a_user).returncode else "passed"


def uv(*arguments):
    command = [Path(sys.executable).with_name("uv"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": PATH}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PYTHONS))
