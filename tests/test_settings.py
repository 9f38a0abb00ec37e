"""Appendix S4's tables: no constant of an experiment is missing, and no word of a comment moves a row."""

import ast
from dataclasses import fields
from importlib import import_module
from inspect import isclass

import numpy as np
import pytest
from extensions.settings import LIBRARY, documented, experiments, is_the_papers

from kdlib.experiments import Experiment, Setting


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_constant_and_parameter_of_an_experiment_is_listed_with_its_value(name):
    module = import_module(f"kdlib.experiments.{name.removesuffix('.py')}")
    constants = {name: value for name, value in vars(module).items()
                 if name.isupper() and not name.startswith("_") and not isinstance(value, Experiment | type)}
    settings = (each for each in vars(module).values() if isclass(each) and issubclass(each, Setting))
    own = (each for each in settings if each.__module__ == module.__name__)
    expected = constants | {f"{each.__name__}.{field.name}": field.default for each in own
                            for field in fields(each) if field.name in each.__annotations__ and field.metadata}
    rows = {name: (value, comment) for name, value, comment in
            documented((LIBRARY / "experiments" / name).read_text("utf-8"))}
    assert rows.keys() == expected.keys() and rows
    for name, (value, comment) in rows.items():
        assert comment
        assert np.array_equal(eval(ast.unparse(value), vars(module) | {"np": np}), expected[name])


@pytest.mark.parametrize("comment, paper", [
    ("temperature, > 0; the paper's, Fig. 1 left", True),
    ("as many as the paper has", False),
    ("the paper's Fig. 1 has other ones", False),
    ("unlike the paper's; ours", False),
])
def test_a_setting_is_the_papers_only_if_its_comment_ends_so(comment, paper):
    assert is_the_papers(comment) == paper


def test_a_comment_that_is_not_marked_lists_nothing():
    [(name, value, comment)] = documented("A = 1  # how many\nB = 2  #: how many\nC = A\n")
    assert (name, ast.unparse(value), comment) == ("B", "2", "how many")
