"""What a call is known by: a digest of values, the same in every session."""

from inspect import unwrap
from io import BytesIO
from types import CodeType, FunctionType, MethodType

import cloudpickle
import jax
from joblib.hashing import NumpyHasher

_COMPILED = type(jax.jit(lambda: None))


def identity(*values):
    """A digest that equal values share: numbers, arrays, JAX keys, functions of equal code, and what holds them.

    A function that cloudpickle sends to a worker by value counts with all that it refers to. One that it sends by name,
    as from an installed module, counts with its name and its own code, which is that under its decorators;
    a class, likewise, with the code of its ``__call__``. In which file and line code stands does not count.
    """
    return _Digest().hash(values)


class _Digest(NumpyHasher):
    """Joblib's digest of values, with more of functions than their names, and of sets without their order."""

    dispatch_table = cloudpickle.Pickler.dispatch_table

    def __init__(self):
        super().__init__()
        self._sender = cloudpickle.Pickler(BytesIO())

    def reducer_override(self, value):
        reduced = self._sender.reducer_override(value)
        if isinstance(value, FunctionType) and reduced is not NotImplemented:
            make, (code, module, *rest), (attributes, state), *how = reduced
            module.pop("__file__", None)
            if hasattr(value, "__wrapped__"):  # then they are copies of what the wrapped function has
                attributes = {}
            reduced = make, (code, module, *rest), (attributes, state), *how
        return reduced

    def save(self, value):
        if isinstance(value, CodeType):
            placeless = value.replace(co_filename="", co_firstlineno=1, co_linetable=b"")
            _, value = self.dispatch_table[CodeType](placeless)
        elif isinstance(value, set | frozenset):
            value = type(value), sorted(map(identity, value))
        elif isinstance(value, MethodType):
            value = value.__func__, value.__self__
        elif isinstance(value, _COMPILED):  # JAX would add where it was defined
            value = jax.jit, value.__wrapped__
        elif isinstance(value, FunctionType | type) and self.reducer_override(value) is NotImplemented:
            called = value.__call__ if isinstance(value, type) else value
            value = value.__module__, value.__qualname__, getattr(unwrap(called), "__code__", None)
        super().save(value)
