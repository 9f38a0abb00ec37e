"""Checks at the public boundary: an error states the rule, the value received and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np


def require(name, value, rule, holds, remedy):
    """Raise a ValueError that states the rule, the value received and the remedy."""
    if isinstance(value, jax.core.Tracer):
        return
    array = _numeric(name, value, remedy)
    bad = array[~holds(array)]
    if bad.size:
        more = f" (and {bad.size - 1} more)" if bad.size > 1 else ""
        raise ValueError(f"{name} must {rule}, got {bad.flat[0]:g}{more}: {remedy}")


def _numeric(name, value, remedy):
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numeric, got {value!r}: {remedy}") from None


def require_logits(**logits):
    for name, z in logits.items():
        require(name, z, "be finite", np.isfinite, "remove or repair those samples first")


def require_labels(y_g):
    require("y_g", y_g, "be 0 or 1", lambda y: (y == 0) | (y == 1), "encode the two classes as 0 and 1")


def require_ratios(**ratios):
    for name, ratio in ratios.items():
        require(name, ratio, "lie in [0, 1]", lambda r: (r >= 0) & (r <= 1), "give a fraction, such as 0.9 for 90 %")


def require_temperature(T):
    require("T", T, "be positive and finite", lambda t: (t > 0) & (t < np.inf),
             "T = 1 leaves the logits as they are, T > 1 softens them")


def broadcast(**named):
    """The arguments as float64 arrays of one shape, scalars left as they are: they cost nothing."""
    arrays = [jnp.asarray(value, float) for value in named.values()]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(named, arrays, strict=True))
        raise ValueError(f"shapes must broadcast, got {shapes}: give one value per sample, or a scalar") from None
    return [array if array.ndim == 0 else jnp.broadcast_to(array, shape) for array in arrays]


def require_whole(name, values, remedy, largest=np.inf):
    """Whole numbers from 1 to `largest`, as integers of the same shape."""
    values = _numeric(name, values, remedy)
    rule = "be whole numbers" if values.ndim else "be a whole number"
    rule += " from 1 up" if largest == np.inf else f" from 1 to {largest}"
    require(name, values, rule, lambda v: (v >= 1) & (v <= largest) & (v < np.inf) & (v == np.floor(v)), remedy)
    return values.astype(int)


def require_increasing(name, values, remedy):
    """Whole numbers from 1 up, in increasing order, as a vector."""
    values = np.atleast_1d(require_whole(name, values, remedy))
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name} must be a number or a list of some, got shape {values.shape}: {remedy}")
    if (np.diff(values) <= 0).any():
        raise ValueError(f"{name} must increase, got {values.tolist()}: sort them and drop what is there twice")
    return values


def require_vectors(**arrays):
    """Arrays with one number for each sample."""
    for name, values in arrays.items():
        if np.ndim(values) != 1:
            raise ValueError(f"{name} must have shape (n,), got {np.shape(values)}: give one value for each sample")


def require_rows(**arrays):
    """Arrays with one row for each sample."""
    lengths = [len(values) for values in arrays.values()]
    if len(set(lengths)) > 1:
        counts = ", ".join(f"{name} {n}" for name, n in zip(arrays, lengths, strict=True))
        raise ValueError(f"{', '.join(arrays)} must have one row for each sample, got {counts}: give as many of each")
