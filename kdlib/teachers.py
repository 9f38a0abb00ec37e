"""Teachers trained on hard labels and stopped early, at several epochs of one run (Sections 4 and 5).

Both kinds answer `logits(x)` anywhere, with one row for each epoch at which they were stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree
from scipy.linalg.blas import dsymv
from scipy.sparse.linalg import eigsh
from scipy.special import expit
from threadpoolctl import threadpool_limits

from kdlib._checks import (
    floats,
    numeric,
    real,
    require,
    require_double,
    require_increasing,
    require_labels,
    require_rows,
    require_vectors,
)
from kdlib._flow import chebyshev_flow
from kdlib._gram import kernel_values, semidefinite
from kdlib.networks import Network
from kdlib.training import full_batch, mini_batches, train

_PLAIN_STEPS = 64  # after so many, descent and flow stay within 0.01 of each other in the logits
_LOCAL_ERROR = 3e-4  # of the logits, in a step on the flow


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
        require_double()
        x = x if isinstance(x, jax.Array) else numeric("x", x)
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

    The first 64 epochs are such steps. From there on an epoch is a unit of time on the flow that descent follows,

    .. math:: \frac{\mathrm{d} a}{\mathrm{d} e} = -\frac{\eta}{n} \bigl[\sigma(\Theta a) - y_g\bigr],

    which takes some 900 products with :math:`\Theta` for 16,384 epochs.

    Args:
        x, y_g: training inputs and their labels, 0 or 1.
        kernel: a kernel ``k(x1, x2)``, such as ``network.ntk``; it may be singular.
        epochs: increasing numbers of steps after which to stop, all in one pass.
        learning_rate: :math:`\eta`; by default :math:`4 n / \lambda_{\max}(\Theta)`, half of what descent
            can bear, and nearly the same for every n.

    Limits:
        Beyond epoch 64 logits are those of descent to about 0.01, at the default learning rate or below. Towards
        twice the default, descent overshoots and the flow does not.

    Raises:
        ValueError: labels that are not 0 or 1, epochs that do not increase, a learning rate beyond what descent can
            bear, or a kernel that is not symmetric and positive semidefinite.

    >>> x = np.linspace(-1, 1, 8)[:, None]
    >>> teacher = train_kernel_teacher(x, (x[:, 0] > 0), lambda a, b: np.exp(-((a - b.T) ** 2)), epochs=[1, 100])
    >>> print(teacher.logits(np.array([[0.9]])).round(2).ravel())  # more epochs, more confidence
    [1.12 7.4 ]
    """
    require_labels(y_g)
    epochs = require_increasing("epochs", epochs, "give numbers of passes")
    require("x", x, "be finite", np.isfinite, "remove or repair those samples first")
    x, y_g = numeric("x", x), numeric("y_g", y_g)
    require_vectors(y_g=y_g)
    require_rows(x=x, y_g=y_g)
    values = kernel_values(kernel, x, x, "x")
    # On a busy machine, threads that wait for each other at every product cost more than they gain.
    with threadpool_limits(1, "blas"):
        gram = semidefinite(values)
        largest = _largest_eigenvalue(gram)
        bearable = 8 * len(x) / largest  # the loss has no curvature beyond largest / (4 n)
        if learning_rate is None:
            learning_rate = bearable / 2
        learning_rate = real("learning_rate", learning_rate, f"be positive and at most {bearable:.6g}, which descent "
                             "can bear", lambda rate: 0 < rate <= bearable,
                             "leave it out for the default, half of that")
        coefficients = _descend(gram, y_g, learning_rate / len(x), epochs, largest)
        norms = np.sqrt(np.sum(coefficients * (coefficients @ gram), axis=1))
    return KernelTeacher(x, kernel, epochs, coefficients, norms)


def _largest_eigenvalue(gram):
    if len(gram) == 1:
        return gram[0, 0]
    start = np.random.default_rng(0).standard_normal(len(gram))  # has a share in every mode
    return eigsh(gram, 1, v0=start, return_eigenvectors=False)[0]


def _descend(gram, y_g, rate, epochs, largest):
    """Coefficients at the epochs, for a Gram matrix with this largest eigenvalue.

    A state has two rows, the logits and their coefficients: one product serves both, and errors are seen in the logits.
    """

    def velocity(state):
        pull = rate * (y_g - expit(state[0]))
        return np.stack([dsymv(1.0, gram.T, pull), pull])

    def radius(state):
        """At most that of rate Theta D, D = sigma (1 - sigma), by norms or by the trace; and a tenth, for D changes."""
        D = expit(state[0]) * expit(-state[0])
        return 1.1 * rate * min(largest * D.max(), gram.diagonal() @ D)

    error = lambda local: np.abs(local[0]).max() / _LOCAL_ERROR
    plain = [np.zeros((2, len(y_g)))]
    for _ in range(min(_PLAIN_STEPS, epochs[-1])):
        plain.append(plain[-1] + velocity(plain[-1]))
    early, late = epochs[epochs < len(plain)], epochs[epochs >= len(plain)]
    flow = chebyshev_flow(velocity, plain[-1], [len(plain) - 1, *late], radius=radius, error=error, step=1.0)
    return np.array([state[1] for state in [*(plain[epoch] for epoch in early), *flow]])


@dataclass(frozen=True)
class NetworkTeacher:
    """A network of finite width, stopped at several epochs; made by :func:`train_network_teacher`."""

    network: Network  #: what was trained
    epochs: np.ndarray  #: passes after which it stopped
    params: PyTree  #: first axis over epochs

    def logits(self, x: Float[ArrayLike, "m d"]) -> Float[Array, "epochs m"]:
        """Logits of the network at each epoch."""
        return jax.vmap(self.network.apply, (0, None))(self.params, floats("x", x))


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
    x = floats("x", x)
    require_rows(x=x, y_g=y_g)
    of_weights, of_batches = jax.random.split(key)
    no_teacher = jnp.zeros(len(x))
    batch, per_epoch = full_batch(x, no_teacher, y_g), 1
    if batch_size is not None:
        batch, per_epoch = mini_batches(x, no_teacher, y_g, size=batch_size), len(x) // batch_size
    params = network.init(of_weights, x.shape[1])
    done = train(network.apply, params, batch, rho=0.0, T=1.0, steps=per_epoch * epochs, key=of_batches,
                 optimizer=optimizer)
    return NetworkTeacher(network, epochs, done.records)

