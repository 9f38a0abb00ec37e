"""What a piece of code uses: an edit that matters changes the digest, any other edit does not."""

import pytest

from kdlib._source import _module_aliases, _module_names, _parsed, _statements, digest, uses

FILES = {
    "__init__.py": "from pack.theory import bound, rate\n",
    "theory.py": '''"""Theory."""
from pack import tools
from pack.tools import half

LIMIT = 3


def bound(n):
    """A bound."""
    return half(n) + LIMIT  # why


def rate(n):
    return tools.double(n)


@bound.register
def _bound_rule(n):
    return n
''',
    "tools.py": "def half(n):\n    return n / 2\n\n\ndef double(n):\n    return 2 * n\n",
    "show/__init__.py": "from .page import Page\n",
    "show/page.py": "class Page:\n    def draw(self):\n        from pack import tools\n        tools.double(1)\n",
    "show/page.js": "export default 1;\n",
}


@pytest.fixture
def pack(tmp_path):
    def write(name, text):
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        for cached in (_module_aliases, _module_names, _parsed, _statements):
            cached.cache_clear()

    for name, text in FILES.items():
        write(name, text)
    write.folder = tmp_path / "pack"
    return write


@pytest.mark.parametrize("name, old, new, changes", [
    ("theory.py", "A bound.", "The bound.", False),
    ("theory.py", "  # why", "", False),
    ("theory.py", "2 * n", "3 * n", False),
    ("tools.py", "2 * n", "3 * n", False),
    ("show/page.js", "1", "2", False),
    ("theory.py", "LIMIT = 3", "LIMIT = 4", True),
    ("tools.py", "n / 2", "n / 3", True),
    ("theory.py", "    return n\n", "    return -n\n", True),
])  # fmt: skip
def test_an_edit_counts_where_it_is_used(pack, name, old, new, changes):
    code = "from pack import bound"
    before = digest(code, package=pack.folder)
    pack(name, FILES[name].replace(old, new))
    assert (digest(code, package=pack.folder) != before) == changes


def test_modules_are_followed_by_attribute_and_into_functions_and_data_come_along(pack):
    found = uses("from pack import show\nshow.Page()", package=pack.folder)
    assert {module for module, _ in found} == {"pack.show.page", "pack.tools", "show/page.js"}
    assert uses("import pack.theory as t\nt.rate(1)", package=pack.folder) == uses(
        "from pack import rate", package=pack.folder)  # fmt: skip
    assert not uses("import numpy\nnumpy.half(1)", package=pack.folder)


def test_a_stray_file_and_a_new_definition_count_for_nothing(pack):
    before = digest("from pack import rate", package=pack.folder)
    pack("results.json", "{}")
    pack("tools.py", FILES["tools.py"] + "\n\ndef third(n):\n    return n / 3\n")
    assert digest("from pack import rate", package=pack.folder) == before


def test_the_variable_of_a_comprehension_is_no_name_of_its_module(pack):
    """Two experiments that both loop over d would share their digests."""
    pack("runs.py", "FIRST = [d for d in (1, 2)]\nSECOND = {d: 0 for d in (3, 4)}\nfor D in (1,):\n    THIRD = D\n")
    [(_, text)] = uses("from pack.runs import FIRST", package=pack.folder)
    assert text == "FIRST = [d for d in (1, 2)]"
    [(_, text)] = uses("from pack.runs import D", package=pack.folder)
    assert text == "for D in (1,):\n    THIRD = D"
