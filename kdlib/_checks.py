"""Checks at the public boundary: an error states the rule, the value received and the remedy, on one line."""

from contextlib import suppress
from decimal import Decimal
from numbers import Real
from reprlib import repr as abridged

import jax
import jax.numpy as jnp
import numpy as np

LARGE = 1e140  # what squares of numbers, in sums, may be made of
_LARGEST = 2**63 - 1  # of the integers that NumPy and JAX hold

_IN_UNIT_INTERVAL = "lie in [0, 1]", lambda r: (r >= 0) & (r <= 1), "give a fraction, such as 0.9 for 90 %"
_NO_DENORMAL = "be 0 or at least 1e-300", lambda r: (r == 0) | (r >= 1e-300), "smaller ones count as 0: write 0"
_SOUND_TEMPERATURE = ("lie between 1e-100 and 1e100", lambda t: (t >= 1e-100) & (t <= 1e100),
                      "float64 has no room for logits in units of others")
_POSITIVE_TEMPERATURE = ("be positive and finite", lambda t: (t > 0) & (t < np.inf),
                         "T = 1 leaves the logits as they are, T > 1 softens them")


def require_double():
    """Raise a RuntimeError where JAX computes in 32 bits: answers there may be imprecise or infinite in silence."""
    if jnp.result_type(float) != np.float64:
        raise RuntimeError("kdlib computes in 64 bits, and JAX is switched to 32: call jax.config.update("
                           "'jax_enable_x64', True), or set JAX_ENABLE_X64=1; arrays of float32 stay what they are")


# One number, checked and returned in the type that it stands for.


def whole(name, value, least=1, most=None, remedy=None):
    """A whole number in a range, as an int: 1e3 is 1000, while True and '10' are no numbers.

    >>> whole("n", 1e3), whole("seed", 0, least=0)
    (1000, 0)
    """
    rule = f"be a whole number from {least} {'up' if most is None else f'to {most}'}"
    remedy = remedy or f"write {name} = {least}, for example"
    number = _one_number(name, value, rule, remedy)
    if most is None and _LARGEST < number < np.inf:
        return whole(name, number, least, _LARGEST, remedy)
    if not (least <= number <= (_LARGEST if most is None else most) and number == number // 1):
        raise ValueError(f"{name} must {rule}, got {shown(number)}: {remedy}")
    return int(number)


def real(name, value, rule="be finite", holds=np.isfinite, remedy="give one number"):
    """A number for which the rule holds, as a float.

    >>> real("rate", 1, "be positive", lambda r: r > 0, "0.1 is a good start")
    1.0
    """
    number = _one_number(name, value, "be a number", remedy)
    try:
        number = float(number)
    except OverflowError:
        number = np.inf
    require(name, number, rule, holds, remedy)
    return number


def ratio(name, value):
    """A number from 0 to 1, as a float."""
    require_ratios(**{name: real(name, value, *_IN_UNIT_INTERVAL)})
    return float(value)


def temperature(name, value):
    """A temperature, as a float."""
    require_temperature(real(name, value, *_POSITIVE_TEMPERATURE))
    return float(value)


def choice(name, value, options, remedy="choose one of these"):
    """The one of the options, names or numbers, that was given: 16.0 is 16.

    >>> choice("epoch", 16.0, [16, 32])
    16
    """
    scalar = isinstance(value, str) or _is_number(value)
    found = [option for option in options if scalar and option == value]
    if not found:
        raise ValueError(f"{name} must be one of {', '.join(map(str, options))}, got {shown(value)}: {remedy}")
    return found[0]


def _one_number(name, value, rule, remedy):
    require_double()
    if getattr(value, "shape", None) == ():
        with suppress(TypeError, RuntimeError):  # as of a JAX key, or of a tensor with a gradient
            value = np.asarray(value).item()
    if not _is_number(value):
        raise ValueError(f"{name} must {rule}, got {shown(value)}: {_conversion(name, value) or remedy}")
    return value


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def shown(value):
    """A value in a message: one line, and not a long one."""
    if isinstance(value, float | np.floating):
        short = f"{value:g}"
        return short if float(short) == value or value != value else repr(float(value))
    if hasattr(value, "dtype") and value.shape:
        return f"{type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"
    text = " ".join((repr(value) if np.isscalar(value) else abridged(value)).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


# Arrays.


def require(name, value, rule, holds, remedy):
    """Raise a ValueError that states the rule, the value received and the remedy."""
    try:
        array = numeric(name, value)
    except jax.errors.TracerArrayConversionError:
        return  # not known yet
    bad = array[~holds(array)]
    if bad.size:
        more = f" (and {bad.size - 1} more)" if bad.size > 1 else ""
        raise ValueError(f"{name} must {rule}, got {shown(bad.flat[0])}{more}: {remedy}")


def numeric(name, value):
    """The value as an array of float64; text is no number, though NumPy would read it as one."""
    require_double()
    remedy = "give a number, or an array of some without text, gaps or imaginary parts"
    try:
        array = np.asarray(value)
        if np.ma.is_masked(value):
            raise TypeError
        if array.dtype.kind not in _NUMBERS and not (array.dtype == object and all(map(_is_real, array.flat))):
            raise TypeError
        return np.asarray(array, float)
    except jax.errors.TracerArrayConversionError:
        raise
    except (OverflowError, RuntimeError, TypeError, ValueError):
        raise ValueError(f"{name} must be numeric, got {shown(value)}: {_conversion(name, value) or remedy}") from None


def precision(value):
    """The rounding unit of the type in which a value comes, 2^-52 unless it is one of lower precision."""
    kind = str(getattr(value, "dtype", None)).removeprefix("torch.")
    return float(jnp.finfo(kind if kind in ("float32", "float16", "bfloat16") else float).eps)


_NUMBERS = "biufV"  # kinds of NumPy's types; V are bfloat16 and its like


def _is_real(value):
    return isinstance(value, Real | Decimal | np.bool_)


def _conversion(name, value):
    """The remedy for what could be a number, or an array of some; else None."""
    if type(value).__module__.startswith("torch"):
        return f"write {name}.detach().cpu().float()"
    if isinstance(value, list | tuple) and len({len(row) for row in value if isinstance(row, list | tuple)}) > 1:
        return "give all its rows one length"
    if isinstance(value, str):
        with suppress(ValueError):
            float(value)
            return "write it without quotes"
    return None


def require_logits(**logits):
    for name, z in logits.items():
        require(name, z, "be finite", np.isfinite, "remove or repair those samples first")


def require_size(name, value, smallest=0.0):
    """Sizes whose squares, sums of these and ratios float64 can hold; a number may be zero if `smallest` is."""
    require(name, value, f"be below {LARGE:g} in size" + (f" and at least {smallest:g}" if smallest else ""),
            lambda v: (np.abs(v) < LARGE) & (np.abs(v) >= smallest),
            "their squares are beyond float64, take other units")


def require_labels(y_g):
    require("y_g", y_g, "be 0 or 1", lambda y: (y == 0) | (y == 1), "encode the two classes as 0 and 1")


def require_classes(y_g, K):
    require("y_g", y_g, f"be classes from 0 to {K - 1}", lambda y: (y >= 0) & (y < K) & (y == np.floor(y)),
            "number the classes from 0, in the order of the logits; subtract 1 from labels that begin with 1")


def require_ratios(**ratios):
    for name, ratio in ratios.items():
        require(name, ratio, *_IN_UNIT_INTERVAL)
        require(name, ratio, *_NO_DENORMAL)


def require_temperature(T):
    require("T", T, *_POSITIVE_TEMPERATURE)
    require("T", T, *_SOUND_TEMPERATURE)


def broadcast(*, of_samples=(), stretch=True, **named):
    """The arguments as float64 arrays of one shape, scalars left as they are: they cost nothing.

    Those named in `of_samples` belong to the same samples: with (n, 1) beside (n,) they would become all pairs. The
    others may add axes to theirs if they may `stretch` them.
    """
    arrays = {name: floats(name, value) for name, value in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    try:
        shape = np.broadcast_shapes(*shapes.values())
    except ValueError:
        shapes = _listed(shapes)
        raise ValueError(f"shapes must broadcast, got {shapes}: give one value per sample, or a scalar") from None
    layouts = {name: shapes.pop(name) for name in of_samples}
    together = np.broadcast_shapes(*layouts.values())
    if layouts and together not in layouts.values():
        raise ValueError(f"{', '.join(layouts)} must have one shape for the same samples, got {_listed(layouts)}, "
                         f"which would pair all with all: add or drop an axis, as by {of_samples[-1]}[:, None]")
    if not stretch and shape != together:
        raise ValueError(f"{', '.join(shapes)} must be numbers, or one for each sample, got {_listed(shapes)} beside "
                         f"samples of shape {together}: a mean over other axes has no meaning, take mean=False")
    return [array if array.ndim == 0 else jnp.broadcast_to(array, shape) for array in arrays.values()]


def own_type(name, value):
    """The value as an array of JAX in its own precision, known or traced; what is no type of JAX in float64."""
    if _is_real_of_jax(value):
        return value
    try:
        checked = numeric(name, value)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(value)
    array = np.asarray(value)
    of_jax = array.dtype.kind in _NUMBERS and array.dtype.isnative and array.itemsize <= 8
    return jnp.asarray(array if of_jax else checked)


def floats(name, value):
    """The value as an array of JAX in float64, known or traced."""
    try:
        return jnp.asarray(value if _is_real_of_jax(value) else numeric(name, value), float)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(value, float)


def _is_real_of_jax(value):
    kinds = jnp.floating, jnp.integer, jnp.bool_
    return isinstance(value, jax.Array) and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)


def _listed(named):
    return ", ".join(f"{name} {value}" for name, value in named.items())


def require_whole(name, values, remedy, largest=_LARGEST):
    """Whole numbers from 1 to `largest`, as integers of the same shape."""
    if isinstance(values, str) or not np.iterable(values):
        return np.asarray(whole(name, values, 1, None if largest == _LARGEST else largest, remedy))
    values = numeric(name, values)
    rule = "be whole numbers from 1 " + ("up" if largest == _LARGEST else f"to {largest}")
    require(name, values, rule, lambda v: (v >= 1) & (v <= largest) & (v == np.floor(v)), remedy)
    return values.astype(int)


def require_increasing(name, values, remedy):
    """Whole numbers from 1 up, in increasing order, as a vector."""
    values = np.atleast_1d(require_whole(name, values, remedy))
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name} must be a number or a list of some, got shape {values.shape}: {remedy}")
    if (np.diff(values) <= 0).any():
        raise ValueError(f"{name} must increase, got {shown(values.tolist())}: sort them and drop what is there twice")
    return values


def require_vectors(**arrays):
    """Arrays with one number for each sample."""
    for name, values in arrays.items():
        if np.ndim(values) != 1:
            raise ValueError(f"{name} must have shape (n,), got {np.shape(values)}: give one value for each sample")


def require_rows(**arrays):
    """Arrays with one row for each sample."""
    lengths = [len(values) if np.ndim(values) else "none" for values in arrays.values()]
    if len(set(lengths)) > 1 or "none" in lengths:
        counts = _listed(dict(zip(arrays, lengths, strict=True)))
        raise ValueError(f"{', '.join(arrays)} must have one row for each sample, got {counts}: give as many of each")
