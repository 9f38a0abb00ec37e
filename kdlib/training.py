"""Training by gradient descent on the distillation loss: the witness for the closed forms.

Networks, their linearisations or any other function of (weights, x) are trained, many at once: for
every pair (rho, T) and every seed. Batches come from a function of (key, step), so full batches,
mini-batches and fresh samples at each step are one case.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PyTree
from tqdm import tqdm

from kdlib._checks import (
    broadcast,
    floats,
    own_type,
    require,
    require_classes,
    require_increasing,
    require_labels,
    require_logits,
    require_ratios,
    require_rows,
    require_temperature,
    require_vectors,
    shown,
    whole,
)
from kdlib.distillation import distillation_loss

Batch = Callable[[Array, Array], tuple[Array, Array, Array]]  # (key, step) -> x, z_t, y_g
Loss = Callable[..., Array]  # (z_s, z_t, y_g, rho=, T=) -> a number


class Trained(NamedTuple):
    """What :func:`train` returns."""

    params: PyTree  #: after the last step, with axes (cells, seeds, ...) as far as they were asked for
    steps: np.ndarray  #: the steps after which a record was made
    records: PyTree  #: the records; their first axis runs over `steps`


def full_batch(x: Float[ArrayLike, "n d"], z_t: Float[ArrayLike, " n"], y_g: Float[ArrayLike, " n"]) -> Batch:
    """All samples at every step."""
    samples = _samples(x, z_t, y_g)
    return lambda key, step: samples


def mini_batches(
    x: Float[ArrayLike, "n d"], z_t: Float[ArrayLike, " n"], y_g: Float[ArrayLike, " n"], *, size: int
) -> Batch:
    """Samples in batches of the given size, shuffled anew in each epoch; an incomplete last batch is left out."""
    samples = _samples(x, z_t, y_g)
    n = len(samples[0])
    size = whole("size", size, most=n, remedy="give at most the number of samples")

    def batch(key, step):
        epoch, place = jnp.divmod(step, n // size)
        order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
        chosen = jax.lax.dynamic_slice_in_dim(order, place * size, size)
        return tuple(values[chosen] for values in samples)

    return batch


def online_batches(draw: Callable[[Array], tuple[Array, Array, Array]]) -> Batch:
    r"""Fresh samples at every step, as if there were infinitely many (Section 3.1).

    The paper finds the oracle's weight change :math:`\Delta w_*` and the zero function's
    :math:`\Delta w_z` in this way.

    Args:
        draw: maps a key to a batch ``x, z_t, y_g``; it is traced by JAX. :func:`train` checks what it draws first.
    """
    return lambda key, step: draw(jax.random.fold_in(key, step))


def batches_by_seed(
    x: Float[Array, "seeds n ..."], z_t: Float[Array, "seeds n ..."], y_g: Int[Array, "seeds n"], *, size: int
) -> Batch:
    """Random batches where every seed has samples and a teacher of its own; only for a vector of keys.

    Samples of a batch are drawn with replacement. Arrays keep their dtype: in single precision like the
    weights, training is so too.

    Args:
        x, z_t: samples and teacher logits, one or K for each sample.
        y_g: labels 0 or 1; beside K logits for each sample, classes from 0 to K - 1.
        size: samples of a batch.

    Raises:
        ValueError: arrays whose first two axes differ, no samples, or values outside their domain.
    """
    for name, values in (("x", x), ("z_t", z_t)):
        require(name, values, "be finite", np.isfinite, "remove or repair those samples first")
    arrays = x, z_t, y_g = own_type("x", x), own_type("z_t", z_t), own_type("y_g", y_g)
    shapes = [values.shape[:2] for values in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) < 2 or 0 in shapes[0]:
        raise ValueError(f"x, z_t, y_g must have the same first two axes, (seeds, n), got {shapes}: "
                         "give every seed as many samples")
    if y_g.ndim != 2 or z_t.ndim not in (2, 3) or z_t.shape[2:] == (1,):
        raise ValueError("y_g must have shape (seeds, n) and z_t that or (seeds, n, K), with K from 2 up, got "
                         f"{y_g.shape} and {z_t.shape}: give one label for each sample, and one logit or K")
    if z_t.ndim == 3:
        require_classes(y_g, z_t.shape[2])
    else:
        require_labels(y_g)
    size, n = whole("size", size, remedy="give the number of samples of a batch"), shapes[0][1]

    def batch(x, z_t, y_g, key, step):
        chosen = jax.random.randint(jax.random.fold_in(key, step), (size,), 0, n)
        return x[chosen], z_t[chosen], y_g[chosen]

    return Partial(batch, *arrays)


def train(
    f: Callable[[PyTree, Array], Array],
    params: PyTree,
    batch: Batch,
    *,
    rho: float | Float[ArrayLike, " cells"],
    T: float | Float[ArrayLike, " cells"],
    steps: int | Sequence[int],
    key: Array,
    optimizer: optax.GradientTransformation,
    loss: Loss = distillation_loss,
    record: Callable[[PyTree], PyTree] = lambda params: params,
    progress: bool | None = None,
    in_turn: bool = False,
) -> Trained:
    """Minimise the distillation loss (Eq. 2) by gradient steps.

    Args:
        f: logits as a function of (weights, x), such as ``network.apply`` or
            ``network.linearize(params)``.
        params: initial weights.
        batch: from :func:`full_batch`, :func:`mini_batches` or :func:`online_batches`, or any function
            of (key, step) that JAX can trace. A ``jax.tree_util.Partial``, as from :func:`batches_by_seed`, holds
            arrays with a first axis over seeds.
        rho, T: numbers, or vectors of equal length, one entry for each student to train: its *cells*.
        steps: how many steps; or an increasing sequence, after each of which ``record`` is called.
        key: a key, from which batches are drawn; or a vector of keys, one for each *seed*, and then every
            leaf of ``params`` has a first axis over seeds: ``jax.vmap(init)(keys)``.
        optimizer: of optax, or anything with ``init`` and ``update`` like these. Plain and momentum descent keep the
            weight change of a linear model in the span of the features, which Eq. 4 assumes; Adam does not.
        loss: the mean loss of a batch, a function of ``(z_s, z_t, y_g, rho=, T=)``; by default Eq. 2's, for two
            classes. For K logits: :func:`~kdlib.classes.class_distillation_loss`.
        record: what to keep of the weights, such as ``lambda params: f(params, x_test)``.
        progress: whether to show a bar; by default in a terminal, after two seconds.
        in_turn: train cells and seeds one behind the other, and not side by side as one program of wide products. On a
            CPU that is the faster way for networks of images: what one layer hands to the next stays in the cache.

    Returns:
        The final weights, the steps and the records, with axes ``(cells, seeds, ...)`` as far as they
        were asked for, and a first axis over ``steps`` in the records.

    Raises:
        ValueError: an argument outside its domain; or weights that are no longer finite: the learning rate is too
            large. One that is too large may also end with finite weights, but with all ReLUs dead: then all logits are
            the same.

    >>> f = lambda w, x: x @ w
    >>> data = full_batch(jnp.eye(2), [2.0, -1.0], [1, 0])
    >>> descent = optax.sgd(4.0)
    >>> done = train(f, jnp.zeros(2), data, rho=[1.0, 0.5], T=1.0, steps=200, key=jax.random.key(0), optimizer=descent)
    >>> print(done.params.round(3))  # rows: rho = 1 copies the teacher, rho = 0.5 is pulled by the labels
    [[ 2.    -1.   ]
     [ 2.759 -1.862]]
    """
    require_ratios(rho=rho)
    require_temperature(T)
    steps = require_increasing("steps", steps, "give step counts")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"optimizer must have init and update, as those of optax, got {shown(optimizer)}: "
                         "write optax.sgd(0.5)")
    rho, T = broadcast(rho=rho, T=T)
    if max(rho.ndim, T.ndim) > 1 or not (rho.size and T.size):
        raise ValueError(f"rho and T must be numbers or vectors, got shapes {rho.shape} and {T.shape}: "
                         "give one entry for each student")
    if not isinstance(key, jax.Array | np.ndarray):
        raise ValueError(f"key must be a JAX key, got {shown(key)}: write jax.random.key(0)")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)  # the last axis of an old-style key is no axis of seeds
    if key.ndim and any(jnp.shape(leaf)[:1] != key.shape for leaf in jax.tree.leaves(params)):
        raise ValueError(f"every leaf of params must have a first axis over the {len(key)} seeds, as there are so many "
                         "keys: draw them by jax.vmap(init)(keys), or give one key")

    batch = batch if isinstance(batch, Partial) else Partial(batch)  # a plain function has no arrays to map over
    if jax.tree.leaves(batch) and (not key.ndim or any(len(leaf) != len(key) for leaf in jax.tree.leaves(batch))):
        raise ValueError("a batch with arrays for each seed must come with as many keys: split one for all seeds")

    _check_first(batch, key, loss, rho, T)

    def one(weights, state, key, batch, rho, T, start, stop):
        def objective(weights, x, z_t, y_g):
            z_s = f(weights, x)
            if z_s.shape != z_t.shape:
                raise ValueError(f"f must return logits of the teacher's shape, {z_t.shape}, got {z_s.shape}: "
                                 "drop or add an axis, as by [:, 0], or give as many classes")
            return loss(z_s, z_t, y_g, rho=rho, T=T)

        def step(i, carry):
            weights, state = carry
            slope = jax.grad(objective)(weights, *batch(key, i))
            change, state = optimizer.update(slope, state, weights)
            return optax.apply_updates(weights, change), state

        return jax.lax.fori_loop(start, stop, step, (weights, state))

    if in_turn:
        one = jax.custom_batching.sequential_vmap(one)
    begin, recorder = optimizer.init, record
    if key.ndim:
        one = jax.vmap(one, (0, 0, 0, 0, None, None, None, None))
        begin, recorder = jax.vmap(begin), jax.vmap(recorder)
    if max(rho.ndim, T.ndim):
        rho, T = jnp.broadcast_arrays(rho, T)
        one = jax.vmap(one, (0, 0, None, None, 0, 0, None, None))
        begin, recorder = jax.vmap(begin), jax.vmap(recorder)
        params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(rho), *jnp.shape(leaf))), params)
    one, recorder = jax.jit(one), jax.jit(recorder)
    advance = lambda state, start, stop: one(*state, key, batch, rho, T, start, stop)

    state, done, records = (params, begin(params)), 0, []
    hidden = None if progress is None else not progress
    with tqdm(total=int(steps[-1]), unit="step", disable=hidden, delay=2, leave=False) as bar:
        length = 1
        for goal in steps:
            while done < goal:
                # Half a second at a time: the bar moves, and weights that are no longer finite end the run.
                began, until = time.monotonic(), min(done + length, int(goal))
                state = jax.block_until_ready(advance(state, done, until))
                if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state[0])):
                    raise ValueError(f"weights must stay finite, but by step {until} some are not: "
                                     "lower the learning rate")
                bar.update(until - done)
                # A stretch that a record cut short says nothing about the speed.
                if until - done == length and time.monotonic() - began < 0.25:
                    length *= 2
                done = until
            records.append(jax.device_get(recorder(state[0])))
    return Trained(state[0], steps, jax.tree.map(lambda *parts: np.stack(parts), *records))


def _check_first(batch, key, loss, rho, T):
    """Raise what the loss would raise outside jit, where values are known, at the first batch of the first cell."""
    if key.ndim:
        batch, key = jax.tree.map(lambda leaf: leaf[0], batch), key[0]
    drawn = batch(key, jnp.asarray(0))
    if not isinstance(drawn, tuple | list) or len(drawn) != 3:
        raise ValueError(f"batch must return x, z_t and y_g, got {shown(drawn)}: give the three as a tuple")
    x, z_t, y_g = drawn
    for leaf in jax.tree.leaves(x):
        require("x", leaf, "be finite", np.isfinite, "repair what draws the samples")
    loss(jnp.zeros_like(z_t), z_t, y_g, rho=rho.ravel()[0], T=T.ravel()[0])


def _samples(x, z_t, y_g):
    require_logits(z_t=z_t)
    require_labels(y_g)
    require("x", x, "be finite", np.isfinite, "remove or repair those samples first")
    x, z_t, y_g = floats("x", x), floats("z_t", z_t), floats("y_g", y_g)
    require_vectors(z_t=z_t, y_g=y_g)
    require_rows(x=x, z_t=z_t, y_g=y_g)
    return x, z_t, y_g
