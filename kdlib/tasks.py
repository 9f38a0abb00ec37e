"""Synthetic tasks: input distributions, Gaussian mixtures, label noise (Sections 2, 4 and 5).

The paper's appendix with its exact settings is not available; where it would have decided, the
choice is ours and the docstring says so.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from kdlib._checks import LARGE, choice, floats, numeric, real, require, require_logits, require_size, shown, whole


def sample_inputs(key: Array, n: int, d: int, *, distribution: str = "normal") -> Float[Array, "n d"]:
    r"""n independent inputs of dimension d.

    Args:
        distribution: ``"normal"`` for :math:`\mathcal N(0, I_d)`, ``"uniform"`` on
            :math:`[-1, 1]^d`, ``"sphere"`` for uniform on the sphere of radius :math:`\sqrt d`, which
            has the normal's mean square.

    Raises:
        ValueError: another distribution; n or d that are not whole numbers from 1 up.

    >>> x = sample_inputs(jax.random.key(0), 5, 3, distribution="sphere")
    >>> print((x**2).sum(axis=1).round(6))
    [3. 3. 3. 3. 3.]
    """
    n, d = whole("n", n), whole("d", d)
    choice("distribution", distribution, ("normal", "uniform", "sphere"),
           "any other inputs may be given as an array of shape (n, d)")
    if distribution == "uniform":
        return jax.random.uniform(key, (n, d), minval=-1)
    x = jax.random.normal(key, (n, d))
    if distribution == "sphere":
        return x * jnp.sqrt(d / jnp.sum(x**2, axis=1, keepdims=True))
    return x


@dataclass(frozen=True)
class GaussianMixture:
    r"""A sum of Gaussian bumps, the paper's smooth target of adjustable difficulty (Section 4).

    .. math:: z(x) = \sum_{j=1}^q A_j \exp(-\|x - x_j\|^2 / \sigma_j^2)

    Args:
        amplitudes: A, of shape (q,).
        centers: x_j, of shape (q, d).
        widths: sigma, of shape (q,), positive.

    Raises:
        ValueError: parameters of other shapes or not finite, or a width that is not positive; when called, inputs that
            are not (n, d).

    >>> bump = GaussianMixture(jnp.array([2.0]), jnp.zeros((1, 2)), jnp.array([1.0]))
    >>> print(bump(jnp.array([[0.0, 0.0], [1.0, 0.0]])).round(4))
    [2.     0.7358]
    """

    amplitudes: Float[Array, " q"]
    centers: Float[Array, "q d"]
    widths: Float[Array, " q"]

    def __post_init__(self):
        for name in ("amplitudes", "centers"):
            require(name, getattr(self, name), "be finite", np.isfinite, "leave out those modes")
            require_size(name, getattr(self, name))
        _require_widths(self.widths)
        for name in ("amplitudes", "centers", "widths"):
            object.__setattr__(self, name, floats(name, getattr(self, name)))
        shapes = self.amplitudes.shape, self.centers.shape, self.widths.shape
        if len(shapes[1]) != 2 or not shapes[0] == shapes[2] == shapes[1][:1] or 0 in shapes[1]:
            raise ValueError(f"amplitudes, centers and widths must have shapes (q,), (q, d) and (q,), got {shapes}: "
                             "give one of each for every mode")

    def __call__(self, x: Float[ArrayLike, "n d"]) -> Float[Array, " n"]:
        require("x", x, "be finite", np.isfinite, "remove or repair those samples first")
        require_size("x", x)
        x = floats("x", x)
        if x.ndim != 2 or x.shape[1] != self.centers.shape[1]:
            raise ValueError(f"x must have shape (n, {self.centers.shape[1]}), got {x.shape}: one row for each input")
        squares = jnp.sum((x[:, None] - self.centers[None]) ** 2, axis=2)
        return jnp.exp(-squares / self.widths[None] ** 2) @ self.amplitudes


def random_mixture(
    key: Array, q: int, d: int, *, widths: float | tuple[float, float], distribution: str = "uniform"
) -> GaussianMixture:
    """A mixture of q modes with centres from `distribution` and standard normal amplitudes (our choice).

    Args:
        widths: one width for all modes, or the ends of an interval from which each is drawn.

    Raises:
        ValueError: a width that is not positive, or ends of an interval in the wrong order.

    >>> random_mixture(jax.random.key(0), q=3, d=2, widths=(0.3, 0.8)).centers.shape
    (3, 2)
    """
    _require_widths(widths)
    if np.shape(widths) not in ((), (2,)):
        raise ValueError(f"widths must be a number or two, got shape {np.shape(widths)}: for other widths, make a "
                         "GaussianMixture yourself")
    q = whole("q", q)
    of_amplitudes, of_centers, of_widths = jax.random.split(key, 3)
    low, high = np.broadcast_to(numeric("widths", widths), 2)
    if low > high:
        raise ValueError(f"widths must be (smallest, largest), got {shown(widths)}: swap them")
    return GaussianMixture(
        jax.random.normal(of_amplitudes, q),
        sample_inputs(of_centers, q, d, distribution=distribution),
        jax.random.uniform(of_widths, q, minval=low, maxval=high),
    )


def _require_widths(widths):
    require("widths", widths, "be positive and finite", lambda w: (w > 0) & (w < np.inf),
            "give one width, or the two ends of an interval")
    require_size("widths", widths, smallest=1 / LARGE)


def labels(z: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    r"""Hard labels :math:`y_g = \mathbb 1\{z > 0\}` of a ground truth's logits.

    >>> print(labels(jnp.array([-1.0, 0.0, 2.0])))
    [0. 0. 1.]
    """
    require_logits(z=z)
    return (floats("z", z) > 0).astype(float)


def flip_signs(key: Array, z: Float[ArrayLike, "*n"], *, p_flip: float) -> Float[Array, "*n"]:
    r"""Each logit with its sign flipped at probability ``p_flip`` (Section 4); 0.5 makes signs random.

    Raises:
        ValueError: NaN, or p_flip outside [0, 1].

    >>> print(flip_signs(jax.random.key(0), [1.0, -2.0, 3.0], p_flip=1.0))
    [-1.  2. -3.]
    """
    require("z", z, "be numbers", lambda z: ~np.isnan(z), "repair those logits first")
    p_flip = real("p_flip", p_flip, "lie in [0, 1]", lambda p: 0 <= p <= 1, "it is a probability, such as 0.1")
    z = floats("z", z)
    return jnp.where(jax.random.bernoulli(key, p_flip, z.shape), -z, z)
