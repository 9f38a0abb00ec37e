"""Teachers trained on hard labels and stopped early, at several epochs of one run (Sections 4 and 5).

Both kinds answer `logits(x)` anywhere, with one row for each epoch at which they were stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import sigmoid
from jaxtyping import Array, ArrayLike, Float, PyTree
from scipy.sparse.linalg import eigsh

from kdlib._checks import require, require_increasing, require_labels, require_rows, require_vectors
from kdlib.networks import Network
from kdlib.training import full_batch, mini_batches, train


@dataclass(frozen=True)
class KernelTeacher:
    """An infinitely wide network, stopped at several epochs; made by :func:`train_kernel_teacher`."""

    x: Float[np.ndarray, "n d"]  #: its training inputs
    kernel: Callable  #: Theta
    epochs: np.ndarray  #: steps after which it stopped
    coefficients: Float[np.ndarray, "epochs n"]  #: a, one row for each epoch
    weight_norms: Float[np.ndarray, " epochs"]  #: ``|dw|`` = sqrt(a^T Theta a), exact

    def logits(self, x: Float[ArrayLike, "m d"]) -> Float[Array, "epochs m"]:
        r"""Logits :math:`z_t(x) = \Theta(x, X)\, a`, one row for each epoch."""
        x = x if isinstance(x, jax.Array) else np.asarray(x, float)
        return jnp.asarray(self.coefficients) @ jnp.asarray(self.kernel(self.x, x))


def train_kernel_teacher(
    x: Float[ArrayLike, "n d"],
    y_g: Float[ArrayLike, " n"],
    kernel: Callable,
    *,
    epochs: Sequence[int],
    learning_rate: float | None = None,
) -> KernelTeacher:
    r"""Train an infinitely wide network on hard labels by gradient descent in function space.

    The logits start at zero, and a step of full-batch descent on the mean cross-entropy moves the
    coefficients of :math:`z(x) = \Theta(x, X)\, a` by

    .. math:: a \leftarrow a - \frac{\eta}{n} \bigl[\sigma(\Theta a) - y_g\bigr].

    Args:
        x, y_g: training inputs and their labels, 0 or 1.
        kernel: a kernel ``k(x1, x2)``, such as ``network.ntk``.
        epochs: increasing numbers of steps after which to stop, all in one pass.
        learning_rate: :math:`\eta`; by default :math:`4 n / \lambda_{\max}(\Theta)`, half of what descent
            can bear, and nearly the same for every n.

    Raises:
        ValueError: labels that are not 0 or 1, or epochs that do not increase.

    >>> x = np.linspace(-1, 1, 8)[:, None]
    >>> teacher = train_kernel_teacher(x, (x[:, 0] > 0), lambda a, b: np.exp(-((a - b.T) ** 2)), epochs=[1, 100])
    >>> print(teacher.logits(np.array([[0.9]])).round(2).ravel())  # more epochs, more confidence
    [1.12 7.4 ]
    """
    require_labels(y_g)
    epochs = require_increasing("epochs", epochs, "give numbers of passes")
    x, y_g = np.asarray(x, float), jnp.asarray(y_g, float)
    require_vectors(y_g=y_g)
    require_rows(x=x, y_g=y_g)
    gram = np.asarray(kernel(x, x), float)
    require("kernel(x, x)", gram, "be finite", np.isfinite, "repair the inputs or the kernel")
    if learning_rate is None:
        largest = eigsh(gram, 1, v0=np.ones(len(x)), return_eigenvectors=False)[0] if len(x) > 1 else gram[0, 0]
        learning_rate = 4 * len(x) / largest
    require("learning_rate", learning_rate, "be positive and finite",
            lambda rate: (rate > 0) & (rate < np.inf), "leave it out for the default")
    gram = jnp.asarray(gram)

    @jax.jit
    def descend(a, start, stop):
        step = lambda _, a: a - learning_rate / len(x) * (sigmoid(gram @ a) - y_g)
        return jax.lax.fori_loop(start, stop, step, a)

    a, start, stopped = jnp.zeros(len(x)), 0, []
    for epoch in epochs.tolist():
        a, start = descend(a, start, epoch), epoch
        stopped.append(a)
    coefficients = jnp.stack(stopped)
    norms = jnp.sqrt(jnp.sum(coefficients * (coefficients @ gram), axis=1))
    return KernelTeacher(x, kernel, epochs, np.asarray(coefficients), np.asarray(norms))


@dataclass(frozen=True)
class NetworkTeacher:
    """A network of finite width, stopped at several epochs; made by :func:`train_network_teacher`."""

    network: Network  #: what was trained
    epochs: np.ndarray  #: passes after which it stopped
    params: PyTree  #: first axis over epochs

    def logits(self, x: Float[ArrayLike, "m d"]) -> Float[Array, "epochs m"]:
        """Logits of the network at each epoch."""
        return jax.vmap(self.network.apply, (0, None))(self.params, jnp.asarray(x, float))


def train_network_teacher(
    key: Array,
    x: Float[ArrayLike, "n d"],
    y_g: Float[ArrayLike, " n"],
    network: Network,
    *,
    epochs: Sequence[int],
    optimizer: optax.GradientTransformation,
    batch_size: int | None = None,
) -> NetworkTeacher:
    """Train a network on hard labels, keeping its weights at each of the epochs.

    Args:
        key: for the initial weights and the order of the samples.
        x, y_g: training inputs and their labels, 0 or 1.
        epochs: increasing numbers of passes through the samples.
        optimizer: of optax.
        batch_size: samples for each step; all of them by default.

    Raises:
        ValueError: labels that are not 0 or 1, epochs that do not increase, or a learning rate too large.
    """
    epochs = require_increasing("epochs", epochs, "give numbers of passes")
    x = jnp.asarray(x, float)
    of_weights, of_batches = jax.random.split(key)
    no_teacher = jnp.zeros(len(x))
    batch, per_epoch = full_batch(x, no_teacher, y_g), 1
    if batch_size is not None:
        batch, per_epoch = mini_batches(x, no_teacher, y_g, size=batch_size), len(x) // batch_size
    params = network.init(of_weights, x.shape[1])
    done = train(network.apply, params, batch, rho=0.0, T=1.0, steps=per_epoch * epochs, key=of_batches,
                 optimizer=optimizer)
    return NetworkTeacher(network, epochs, done.records)

