"""The parameters that papermill gives a notebook."""

import ast
from itertools import pairwise


def refuse_unknown_parameters(names: dict):
    """Raise a ValueError if papermill was given a parameter that the notebook does not have.

    It writes what it was given into a cell after the notebook's own parameters, and only warns of a name that is not
    among them: the run would go on with the default, as if the misspelt parameter had been heard.

    Args:
        names: the notebook's ``globals()``, among them the cells run so far.

    >>> refuse_unknown_parameters({"In": ["rho = 0.5", "# Parameters\\nrh = 0.9\\n", ""]})
    Traceback (most recent call last):
    ValueError: rh is no parameter of this notebook: it has rho
    """
    for own, given in pairwise(names.get("In", [])):
        if given.startswith("# Parameters\n"):
            known = _assigned(own)
            for name in _assigned(given):
                if name not in known:
                    raise ValueError(f"{name} is no parameter of this notebook: it has {', '.join(known)}")


def _assigned(source):
    return [target.id for node in ast.parse(source).body for target in node.targets]
