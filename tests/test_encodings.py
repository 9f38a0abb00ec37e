"""Text is UTF-8 wherever it is read or written, whatever the machine's own encoding."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for pattern in ("book/**/*.py", "book/**/*.ipynb", "kdlib/**/*.py", "benchmarks/*.py", "tests/*.py")
        for path in ROOT.glob(pattern) if not any(part.startswith((".", "_build")) for part in path.parts)]


def trees(path):
    """Its code, a notebook's by cell."""
    if path.suffix == ".py":
        return [ast.parse(path.read_text("utf-8"))]
    cells = nbformat.read(path, as_version=4).cells
    return [ast.parse(cell.source) for cell in cells if cell.cell_type == "code" and not cell.source.startswith("%")]


def leaves_the_encoding_open(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name == "open" and isinstance(call.func, ast.Name):
        mode = call.args[1] if len(call.args) > 1 else given.get("mode")
        return mode is None or "b" not in mode.value
    return any(getattr(given.get(option), "value", None) is True for option in ("text", "universal_newlines"))


@pytest.mark.parametrize("code, left_open", [
    ("Path('a').read_text()", True), ("Path('a').read_text('utf-8')", False), ("file.write_text(text)", True),
    ("file.write_text(text, encoding='utf-8')", False), ("open('a')", True), ("open('a', 'rb')", False),
    ("subprocess.run(command, text=True)", True), ("subprocess.run(command, encoding='utf-8')", False),
])
def test_the_guard_sees_what_leaves_it_open(code, left_open):
    assert leaves_the_encoding_open(ast.parse(code).body[0].value) == left_open


def test_every_text_file_names_its_encoding():
    found = [f"{path.relative_to(ROOT)}: {ast.unparse(node)}" for path in CODE for tree in trees(path)
             for node in ast.walk(tree) if isinstance(node, ast.Call) and leaves_the_encoding_open(node)]
    assert not found, "\n".join(found)


def test_explorers_speak_utf_8_where_the_machine_does_not():
    pytest.importorskip("anywidget")
    script = "from kdlib.explorers import EffectiveLogitExplorer as E; print(ascii(E._esm).count('u03c1'))"
    command = [sys.executable, "-X", "utf8=0", "-c", script]
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert int(done.stdout) > 0  # the Greek letter of a slider


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no copy that git has made")
def test_a_checkout_has_the_same_bytes_where_git_converts_the_ends_of_lines(tmp_path):
    git = lambda *words: subprocess.run(["git", *words], stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    git("clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(tmp_path))
    for line in git("-C", str(tmp_path), "ls-files", "--eol").splitlines():
        index, work, *_ = line.split()
        assert index.removeprefix("i/") == work.removeprefix("w/"), line
