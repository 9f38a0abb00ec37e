"""What the cache of a sweep knows a call by: the same for equal values, another for anything that counts."""

import functools
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib import NestedStudents, fully_connected
from kdlib._identity import identity
from kdlib.sweeps import sweep


def cell(source, **others):
    """The function `task` of a notebook's cell: its globals name no file."""
    names = {"__name__": "__main__", **others}
    exec(source, names)
    return names["task"]


def installed(monkeypatch, source):
    lab = ModuleType("lab")
    exec(source, vars(lab))
    monkeypatch.setitem(sys.modules, "lab", lab)
    return lab


def doubled(task):
    @functools.wraps(task)
    def double(*arguments):
        return 2 * task(*arguments)

    return double


@pytest.mark.parametrize("one, other", [(True, False), (None, True), (0, False), (1.0, 1), ("a", "b"), ((), None)])
def test_a_global_or_an_argument_of_any_value_counts(one, other):
    for source in ("task = lambda z: (z, value)", "task = lambda z, value=value: z"):
        assert identity(cell(source, value=one)) == identity(cell(source, value=one))
        assert identity(cell(source, value=one)) != identity(cell(source, value=other))
    assert identity(functools.partial(pow, value=one)) != identity(functools.partial(pow, value=other))
    assert identity((one,)) != identity((other,))


def test_a_decorator_counts():
    plain = lambda z: z**2
    ways = [lambda f: f, doubled, jax.jit, jax.grad, jax.vmap, jax.jacfwd, jax.value_and_grad]
    ways += [lambda f, a=a, b=b: a(b(f)) for a in (jax.jit, jax.grad, jax.vmap) for b in (jax.jit, jax.grad)]
    assert len({identity(way(plain)) for way in ways}) == len(ways)
    assert identity(jax.jit(plain)) != identity(jax.jit(lambda z: z**3))


def test_compiling_changes_nothing():
    for way in (jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f)), lambda f: jax.vmap(jax.jit(f))):
        task = way(lambda z: z**2)
        before = identity(task)
        task(jnp.ones(3))
        assert identity(task) == before


def test_where_a_task_is_written_down_does_not_count():
    task = "def task(z):\n    return [z + i for i in range(3)], (lambda: z)\n"
    spread = "\n\nother = 1\n" + task.replace("\n    ", "\n    # why\n\n    ")
    assert identity(cell(task)) == identity(cell(spread)) == identity(cell(task, __file__="a.py"))
    assert identity(cell(task)) != identity(cell(task.replace("z + i", "z - i")))


def test_equal_values_are_the_same():
    network = fully_connected(2, width=1)
    for value in (
        lambda: np.arange(6.0).reshape(2, 3), lambda: jnp.arange(3.0), lambda: jax.random.split(jax.random.key(1))[0],
        lambda: {"a": "x" * len(network.__doc__), "b": [1, 2]}, lambda: fully_connected(2, width=1).ntk,
        lambda: functools.partial(cell("task = lambda z: z"), rho=0.5), lambda: cell("def task(z): return task(z - 1)"),
        lambda: NestedStudents([[1.0]], lambda a, b: a @ b.T).predict,
    ):  # fmt: skip
        assert identity(value()) == identity(value())
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
    assert identity(jax.random.key(1)) != identity(jax.random.key(2))
    assert identity(fully_connected(2, width=1).ntk) != identity(network.nngp) != identity(fully_connected(3, width=1))


@pytest.mark.parametrize("task", [
    lambda lab: lab.f, lambda lab: functools.partial(lab.f, 1), lambda lab: lab.Task(), lambda lab: lab.Task().method,
    lambda lab: cell("task = lambda z: f(z)", f=lab.f), lambda lab: [lab.f],
])  # fmt: skip
def test_of_an_installed_module_its_own_code_counts(monkeypatch, task):
    source = "f = lambda z: z + 1\nclass Task:\n    def __call__(self): return 1\n    def method(self): return 1"
    first = identity(task(installed(monkeypatch, source)))
    assert identity(task(installed(monkeypatch, source))) == first
    assert identity(task(installed(monkeypatch, source.replace("1", "2")))) != first


def test_functions_in_a_setting_are_told_apart(tmp_path):
    called = lambda f: f(3)
    for power in (2, 3, 2):
        f = cell(f"def task(z): return z**{power}")
        assert sweep(called, [(f,), (lambda z: z - 1,)], cache=tmp_path) == [3**power, 2]
