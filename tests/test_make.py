"""The Makefile's commands in unusual places, with stand-ins for what they run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path):
    """A folder with the Makefile, whose environment counts as installed, and a name that an address must encode."""
    folder = tmp_path / "a copy #1 (50%)"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", ".venv/installed", "_build/html/index.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("pip", "uv", "jupyter-book"):
        script(folder / ".venv/bin" / name, "exit 0")
    script(folder / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    return folder


def script(path, does):
    path.write_text(f"#!/bin/sh\n{does}\n", "utf-8")
    path.chmod(0o755)


def make(folder, *arguments):
    """As a person types it, also where these tests are run by make."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8",
                          check=True).stdout


def test_the_printed_address_of_the_book_opens_wherever_the_book_is(copy):
    address = urlsplit(make(copy, "book").splitlines()[-1].removeprefix("The book is at "))
    assert address.scheme == "file" and not address.query and not address.fragment
    assert Path(url2pathname(address.path)) == copy / "_build/html/index.html"


def test_jupyterlab_starts_for_root_too(copy):
    assert ("--allow-root" in make(copy, "-n", "lab").split()) == (os.geteuid() == 0)


def test_clean_removes_what_git_ignores(copy):
    ignored = [line.replace("*", "kdlib") for line in (ROOT / ".gitignore").read_text("utf-8").split()]
    for name in ignored:
        (copy / name).mkdir(parents=True, exist_ok=True)
    make(copy, "clean")
    assert not [name for name in ignored if (copy / name).exists()]
    assert (copy / "requirements.txt").exists()


def test_a_python_that_is_too_old_is_named_with_those_that_are_not(copy):
    script(copy / "old", "exit 1")
    (copy / ".venv/bin/pip").unlink()
    done = subprocess.run(["make", ".venv/bin/pip", "PYTHON=./old"], cwd=copy, stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode and "needs Python 3.11, 3.12, 3.13 or 3.14, and ./old is none of them" in done.stderr


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_share_a_worker(request):
    """Two would make one folder at once. Pytest 9.2 with xdist 3.8 drops groups without a word."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("tests are not sent out in groups")
    assert request.node.nodeid.endswith("@together")
