"""Linters find nothing: ruff in the Python, notebooks included, oxlint in the JavaScript."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("command", [
    ["ruff", "check", "--no-cache", "."],
    ["oxlint", "--deny-warnings", "kdlib/explorers", "book/assets"],
])  # fmt: skip
def test_a_linter_finds_nothing(command):
    found = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_linter_knows_what_a_module_does_not_import(tmp_path):
    """Guards the guard: modules are joined, where a forgotten import would go unnoticed."""
    (tmp_path / "piece.js").write_text("export const twice = (v) => add(v, v);\n", "utf-8")
    command = [BIN / "oxlint", "-c", ROOT / ".oxlintrc.json", tmp_path]
    found = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert found.returncode == 1 and "'add' is not defined" in found.stdout
