"""neural_tangents on today's JAX and without TensorFlow: `load()` returns the package.

Its last release, 0.6.5, imports names that JAX has moved since, and an experimental part that needs TensorFlow
and 14 s. While it is imported, the names stand where it looks for them and an empty module stands for that part;
afterwards both are gone again. This module may go when a release of neural_tangents imports on the JAX of the lock by
itself.
"""

import importlib
import sys
import warnings
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import ModuleType
from unittest.mock import patch

# Where neural_tangents looks for names, and where JAX may have them now.
_MOVED = {
    "jax.core": (
        ("jax.extend.core", "jax._src.core"),
        ("AbstractValue", "ClosedJaxpr", "Jaxpr", "JaxprEqn", "Literal", "Primitive", "ShapedArray", "Value", "Var"),
    ),
    "jax.util": (("jax._src.util",), ("safe_map", "safe_zip")),
    "jax.interpreters.ad": (("jax._src.ad_util",), ("zeros_like_p",)),
}


def load():
    """The package neural_tangents.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if sys.modules.get("neural_tangents") is None:
        try:
            _import()
        except ModuleNotFoundError as missing:
            if missing.name != "neural_tangents":
                raise
            raise ModuleNotFoundError(
                "neural_tangents must be installed for kernels of other architectures, and is not: install the extra "
                "`architectures` of kdlib, or neural-tangents with --no-deps, as TensorFlow is not needed",
                name=missing.name,
            ) from None
    return sys.modules["neural_tangents"]


def _import():
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore", category=DeprecationWarning))
        for place, (new_places, names) in _MOVED.items():
            module = stack.enter_context(_module_or_empty(place))
            for name in names:
                if not hasattr(module, name):
                    stack.enter_context(patch.object(module, name, _find(name, new_places), create=True))
        with _empty("neural_tangents.experimental"):
            importlib.import_module("neural_tangents")
        del sys.modules["neural_tangents"].experimental


@contextmanager
def _module_or_empty(name):
    """The module of this name; if JAX has none any more, an empty one in its place for as long."""
    if find_spec(name):
        yield importlib.import_module(name)
    else:
        with _empty(name) as module:
            yield module


@contextmanager
def _empty(name):
    module = sys.modules[name] = ModuleType(name)
    try:
        yield module
    finally:
        del sys.modules[name]


def _find(name, places):
    modules = map(importlib.import_module, places)
    return next(getattr(module, name) for module in modules if hasattr(module, name))
