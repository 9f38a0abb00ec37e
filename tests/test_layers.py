"""The library's imports, held against the map in CONTRIBUTING.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kdlib"


def layers():
    """The number of the row that names a module, or the package within the package."""
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## The map")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    return {name: i for i, row in enumerate(rows) for name in row}


def imports(path):
    """The modules of kdlib that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kdlib":
            inside = node.module.split(".")[1:]
            yield from inside[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("kdlib."))


def test_every_module_is_on_the_map_and_imports_only_from_its_row_and_above():
    layer = layers()
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        assert name in layer, f"{name} is not in CONTRIBUTING.md's map: add it to the row of its idea"
        wrong += [f"{name} imports {other}" for other in imports(path) if layer.get(other, 99) > layer[name]]
    assert not wrong
    assert set(layer) <= {path.stem for path in PACKAGE.iterdir()}


def test_one_module_alone_imports_neural_tangents():
    importing = re.compile(r"import_module\(.neural_tangents|import neural_tangents\b")
    users = {path.stem for path in PACKAGE.rglob("*.py") if importing.search(path.read_text("utf-8"))}
    assert users == {"_neural_tangents"}
