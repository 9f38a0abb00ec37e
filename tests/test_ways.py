"""The ways to the book's notebooks without a clone: buttons of the pages, and the image that Docker makes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import copy
from urllib.request import Request, urlopen

import nbformat
import pytest
import yaml
from lab_server import TOKEN, serving
from nbformat.v4 import new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / ".binder" / "Dockerfile").read_text("utf-8")


# --- Buttons --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "https://github.com/someone/kdlib"])
def test_buttons_lead_to_the_repository_once_it_has_an_address(tmp_path, url):
    config = {"title": "Tiny", "execute": {"execute_notebooks": "off"},
              "repository": CONFIG["repository"] | {"url": url},
              "html": {key: value for key, value in CONFIG["html"].items() if "button" in key},
              "sphinx": {"local_extensions": {"ways": str(ROOT / "book/extensions")}}}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), "utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index", "utf-8")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Tiny")]), tmp_path / "index.ipynb")
    built = subprocess.run([BIN / "jupyter-book", "build", "-q", tmp_path], capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "_build/html/index.html").read_text("utf-8")
    assert (f'href="{url}"' in page and "source-repository-button" in page) == bool(url)
    assert (f'href="{url}/issues/new' in page and "source-issues-button" in page) == bool(url)
    assert 'href="notebooks/index.ipynb"' in page and "_sources/index.ipynb" not in page


# --- The image ------------------------------------------------------------------------------------------


def test_what_the_image_is_made_of_is_there():
    [packages] = re.findall(r"apt-get install [^&]*", DOCKERFILE)
    assert packages.split()[-1] == "make"
    targets = re.findall(r"^RUN make (\w+)$", DOCKERFILE, re.MULTILINE)
    assert targets
    made = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert made.returncode == 0 and "book/lab.py" in made.stdout, made.stderr
    [version] = re.findall(r"^FROM python:(3\.\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert version in (ROOT / ".github/workflows/book.yml").read_text("utf-8")


def test_the_image_leaves_out_what_git_does():
    ignored = (ROOT / ".binder/Dockerfile.dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", "_build"} <= set(ignored)
    assert not {"book", "kdlib", "requirements.txt"} & set(ignored)


def test_the_command_of_the_image_serves_the_notebooks(tmp_path):
    """With this environment in the place of the image's, and a free port."""
    (tmp_path / "_build/lab").mkdir(parents=True)
    copy(ROOT / "book/index.ipynb", tmp_path / "_build/lab")
    [command] = map(json.loads, re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE))
    with serving(tmp_path, *command) as address:
        request = Request(f"{address}/api/contents/lab/index.ipynb?content=0",
                          headers={"Authorization": f"token {TOKEN}"})
        with urlopen(request) as answer:
            assert json.load(answer)["type"] == "notebook"
