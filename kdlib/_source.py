"""What code a definition uses, and a digest of it: by these, stored results and cached notebooks know what has changed.

A definition's sources are its own and those of all of kdlib that it names, directly or not; what other
definitions of the same modules say does not count. Comments, docstrings and blank lines do not count
either, and the digest is the same on every version of Python.
"""

import ast
import io
import tokenize
from functools import cache
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).parent
DATA = {".js", ".css"}  # files that belong to the modules of their folder


def digest(code, *, package=PACKAGE):
    """A digest of what a piece of code uses of the package, by names it imports from there.

    Args:
        code: Python code, such as a notebook's cells or ``"from kdlib.risk import transfer_risk"``; its own text does
            not count.
        package: the package's folder.

    >>> digest("from kdlib import effective_logit") == digest("from kdlib.distillation import effective_logit as f")
    True
    """
    total = sha256()
    for module, text in uses(code, package=package):
        total.update(f"{module}\n{text}\n".encode())
    return total.hexdigest()[:16]


def uses(code, *, package=PACKAGE):
    """Pairs of a module, or a file of data, and the text of a statement in it, sorted: all that the code uses."""
    package = Path(package)
    tree = ast.parse(code)
    aliases = _imports(tree, "", package)
    waiting = {target for target in aliases.values() if target[1]} | _references(tree, aliases, package)
    done, found = set(), set()
    while waiting:
        module, name = target = waiting.pop()
        done.add(target)
        aliases = _module_aliases(module, package)
        if name in aliases:  # it belongs to where it comes from
            waiting |= {aliases[name]} - done
            continue
        found |= set(_data(module, package))
        for statement in _statements(module, package):
            if not name or not statement.binds or name in statement.binds | statement.registers_with:
                found.add((module, statement.text))
                waiting |= statement.references - done
    return sorted(found)


def stored(code, *, package=PACKAGE):
    """The files in ``kdlib/stored`` of experiments that a piece of code uses: ``NAME.*`` of ``experiments.NAME``."""
    experiments = f"{package.name}.experiments."
    used = {module for module, _ in uses(code, package=package) if module.startswith(experiments)}
    names = {module.removeprefix(experiments) for module in used}
    return sorted(path for name in names for path in (package / "stored").glob(f"{name}.*"))


class _Statement:
    """A statement at the top of a module: its text, the names that it binds, and the targets that it uses.

    A function under a decorator such as ``@f.defjvp`` belongs to f, although f does not name it.
    """

    def __init__(self, node, lines, module, package):
        decorators = getattr(node, "decorator_list", [])
        first = min(part.lineno for part in (node, *decorators))
        self.text = "\n".join(line for line in lines[first - 1 : node.end_lineno] if line)
        self.binds = set(_bound(node))
        aliases = _module_aliases(module, package) | _imports(node, module, package)
        own = {name: (module, name) for name in _module_names(module, package)}
        self.references = _references(node, own | aliases, package)
        named = (part for decorator in decorators for part in ast.walk(decorator))
        self.registers_with = {part.id for part in named if isinstance(part, ast.Name)}


@cache
def _parsed(module, package):
    """The source of a module, and its tree."""
    source = _path(module, package).read_text("utf-8")
    return source, ast.parse(source)


@cache
def _statements(module, package):
    """The statements of a module but for its imports and its docstring."""
    source, tree = _parsed(module, package)
    lines = _plain_lines(source, tree)
    nodes = (node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom))
    made = [_Statement(node, lines, module, package) for node in nodes]
    return [statement for statement in made if statement.text]


@cache
def _module_names(module, package):
    return {name for node in _parsed(module, package)[1].body for name in _bound(node)}


@cache
def _module_aliases(module, package):
    _, tree = _parsed(module, package)
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    return _imports(top, module, package)


def _references(node, aliases, package):
    """The targets that a piece of code names: the longest that a dotted name gives, for each of them."""
    found = set()
    inner = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    for part in ast.walk(node):
        if id(part) in inner or not isinstance(part, ast.Name | ast.Attribute):
            continue
        names = []
        while isinstance(part, ast.Attribute):
            names.append(part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in aliases:
            found.add(_along(aliases[part.id], names[::-1], package))
    return found


def _imports(tree, module, package):
    """Names that the code imports from the package -> targets: pairs (module, name), the name empty for a module."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package.name:
                    found[alias.asname or package.name] = (alias.name if alias.asname else package.name, "")
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, module, package)
            if source.split(".")[0] == package.name:
                for alias in node.names:
                    found[alias.asname or alias.name] = _along((source, ""), [alias.name], package)
    return found


def _along(target, names, package):
    """From a module, further along a dotted name: into modules as far as there are any, then one name."""
    module, name = target
    for part in names:
        if name:
            break
        deeper = f"{module}.{part}"
        module, name = (deeper, "") if _path(deeper, package) else (module, part)
    return module, name


def _absolute(node, module, package):
    if not node.level:
        return node.module or ""
    is_package = _path(module, package).name == "__init__.py"
    folders = module.split(".")
    kept = folders[: len(folders) - node.level + is_package]
    return ".".join([*kept, *filter(None, [node.module])])


def _bound(node):
    """Names that a statement binds in its module."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return []
        case ast.Name(ctx=ast.Store()):
            return [node.id]
        case ast.comprehension():  # its variable is its own
            parts = [node.iter, *node.ifs]
        case _:
            parts = ast.iter_child_nodes(node)
    return [name for part in parts for name in _bound(part)]


def _path(module, package):
    inside = package.joinpath(*module.split(".")[1:])
    return next((path for path in (inside.with_suffix(".py"), inside / "__init__.py") if path.is_file()), None)


def _data(module, package):
    """The files of data beside a module of a package within the package, with their texts."""
    folder = _path(module, package).parent
    if folder == package:
        return []
    paths = (path for path in sorted(folder.iterdir()) if path.suffix in DATA)
    return [(path.relative_to(package).as_posix(), path.read_text("utf-8")) for path in paths]


def _plain_lines(source, tree):
    """The lines of a source without comments, docstrings and white space at their ends."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(tree):
        if _has_docstring(node):
            for row in range(node.body[0].lineno - 1, node.body[0].end_lineno):
                lines[row] = ""
    return [line.rstrip() for line in lines]


def _has_docstring(node):
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    first = node.body[0] if documented and node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
