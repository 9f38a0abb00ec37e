"""Eq. 1's network, its wide-limit kernels and its linearisation (Section 2 of the paper).

The one module that imports neural_tangents. ReLU's limit kernels are computed here, because
distillation asks more of them than the general formula gives: see `_relu_kernels`.

Sources: A. Jacot, F. Gabriel and C. Hongler, *Neural Tangent Kernel*, NeurIPS 2018; J. Lee et al.,
*Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent*, NeurIPS 2019;
Y. Cho and L. K. Saul, *Kernel Methods for Deep Learning*, NeurIPS 2009; R. Novak et al., *Neural
Tangents*, ICLR 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree
from scipy.linalg.lapack import dpstrf

from kdlib import _neural_tangents
from kdlib._checks import require, require_whole

nt = _neural_tangents.load()
stax = nt.stax

ACTIVATIONS = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}

_TILE = 512  # edge of the blocks in which kernels are computed: 2 MB each, compiled once


def fully_connected(
    depth: int, *, width: int, activation: str = "relu", sigma_w: float = 1.0, sigma_b: float = 1.0
) -> "Network":
    r"""Fully connected network with one output, in NTK parametrisation (Eq. 1).

    .. math::
        h^1 &= \sigma_W W^0 x / \sqrt d + \sigma_b b^0, \\
        h^{l+1} &= \sigma_W W^l x^l / \sqrt m + \sigma_b b^l, \qquad x^l = g(h^l), \\
        f(x; w) &= h^{L+1},

    with all entries of :math:`W^l, b^l` drawn from :math:`\mathcal N(0, 1)`.

    Args:
        depth: number of hidden layers L, at least 1.
        width: their width m. The limit kernels do not depend on it.
        activation: g, one of ``"relu"``, ``"erf"``, ``"gelu"``.
        sigma_w: scale of the weights, positive.
        sigma_b: scale of the biases, at least 0.

    Raises:
        ValueError: an argument outside its domain.

    >>> network = fully_connected(3, width=64)
    >>> params = network.init(jax.random.key(0), dimension=2)
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])
    >>> network.apply(params, x).shape
    (3,)
    >>> print(network.ntk(x[:2]).round(4))
    [[3.5   3.059]
     [3.059 3.5  ]]
    """
    return Network(depth, width, activation, float(sigma_w), float(sigma_b))


@dataclass(frozen=True)
class Network:
    """A fully connected network and its kernels; made by :func:`fully_connected`."""

    depth: int  #: hidden layers
    width: int  #: units in each
    activation: str  #: g
    sigma_w: float  #: scale of the weights
    sigma_b: float  #: scale of the biases

    def __post_init__(self):
        for name in ("depth", "width"):
            whole = require_whole(name, getattr(self, name), "it counts layers or units")
            object.__setattr__(self, name, int(whole))
        require("sigma_w", self.sigma_w, "be positive and finite", lambda s: (s > 0) & (s < np.inf), "the paper has 1")
        require("sigma_b", self.sigma_b, "lie in [0, inf)", lambda s: (s >= 0) & (s < np.inf), "the paper has 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}: "
                             "for another network, pass its kernel k(x1, x2) to NestedStudents yourself")

    def init(self, key: Array, dimension: int) -> PyTree:
        """Weights drawn for inputs of the given dimension."""
        return _stax(self)[0](key, (-1, dimension))[1]

    def apply(self, params: PyTree, x: Float[ArrayLike, "n d"]) -> Float[Array, " n"]:
        """Logits f(x; w).

        Raises:
            ValueError: inputs that are not (n, d), or empty.
        """
        return _stax(self)[1](params, _rows(jnp.asarray(x)))[:, 0]

    def linearize(self, params: PyTree) -> Callable[[PyTree, Array], Array]:
        r"""First-order expansion of the network at ``params`` = :math:`w_0` (Section 2).

        .. math:: f_\text{lin}(x; w) = f(x; w_0) + (w - w_0)^\top \phi(x), \qquad
                  \phi(x) = \partial_w f(x; w_0).

        Returns:
            A function of (weights, x), to be used in place of :meth:`apply`.
        """
        return nt.linearize(self.apply, params)

    def empirical_ntk(
        self, params: PyTree, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[Array, "n1 n2"]:
        r"""Kernel of the network's random features, :math:`\hat\Theta = \phi(x_1)^\top \phi(x_2)`."""
        return _empirical_ntk(self, params, x1, x2)

    def ntk(
        self, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[np.ndarray, "n1 n2"]:
        r"""Neural tangent kernel, the limit :math:`\Theta` of :meth:`empirical_ntk` for infinite width.

        Computed in blocks, so that memory peaks near the size of the result; without ``x2`` (or
        with ``x2 is x1``) only one triangle is computed. For ReLU, close inputs cost no accuracy up
        to d = 16; beyond, distances below about 1e-7 of the inputs' norms count as zero.

        Raises:
            ValueError: inputs that are not (n, d), that differ in d, or that are not finite.
        """
        return _in_tiles(partial(_kernel, replace(self, width=1), "ntk"), x1, x2)

    def nngp(
        self, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[np.ndarray, "n1 n2"]:
        r"""Covariance of the logits at initialisation, :math:`E_{w_0}[f(x_1) f(x_2)]`, for infinite width.

        Blocks and errors as in :meth:`ntk`.
        """
        return _in_tiles(partial(_kernel, replace(self, width=1), "nngp"), x1, x2)

    def initial_logits(self, key: Array, x: Float[ArrayLike, "n d"], count: int = 1) -> Float[np.ndarray, "n count"]:
        r"""Logits :math:`z_0 = f(x; w_0)` of infinitely wide networks at initialisation, one column each.

        Exact draws from :math:`\mathcal N(0, \text{nngp}(x, x))`. To predict elsewhere, draw training
        and test inputs in one call: they belong to one function.
        """
        covariance = self.nngp(x)
        # The NNGP of many inputs is singular to rounding. Pivoted Cholesky stops where nothing but
        # rounding is left; what it leaves out is interpolated smoothly, not replaced by noise.
        factor, pivots, rank, _ = dpstrf(covariance.T, lower=1, overwrite_a=1)
        normal = np.asarray(jax.random.normal(key, (len(covariance), count)))
        drawn = np.empty_like(normal)
        drawn[pivots - 1] = np.tril(factor[:, :rank]) @ normal[:rank]
        return drawn


@lru_cache
def _stax(network):
    """neural_tangents' triple (init, apply, kernel) of a network."""
    dense = partial(stax.Dense, W_std=network.sigma_w, b_std=network.sigma_b or None, parameterization="ntk")
    activation = ACTIVATIONS[network.activation]
    hidden = [stax.serial(dense(network.width), activation()) for _ in range(network.depth)]
    return stax.serial(*hidden, dense(1))


@partial(jax.jit, static_argnums=0)
def _empirical_ntk(network, params, x1, x2):
    kernel = nt.empirical_ntk_fn(
        lambda params, x: network.apply(params, x)[:, None],
        trace_axes=(-1,), vmap_axes=0, implementation=nt.NtkImplementation.JACOBIAN_CONTRACTION,
    )
    return kernel(x1, x2, params)


@partial(jax.jit, static_argnums=(0, 1))
def _kernel(network, which, x1, x2):
    if network.activation == "relu":
        nngp, ntk = _relu_kernels(x1, x2, network.depth, network.sigma_w, network.sigma_b)
        return ntk if which == "ntk" else nngp
    return _stax(network)[2](x1, x2, which)


def _relu_kernels(x1, x2, depth, sigma_w, sigma_b):
    r"""NNGP K and NTK Theta of the ReLU network, as accurate for close inputs as their distance is.

    With q = K(x, x), angle t between two inputs' images, and D = q1 + q2 - 2K their squared
    distance, a ReLU layer (Cho and Saul's arc-cosine kernels) maps

        D     -> sigma_w^2 [ (sqrt q1 - sqrt q2)^2 / 2
                             + sqrt(q1 q2) (2 sin^2(t/2) - (sin t - t cos t) / pi) ],
        q     -> sigma_w^2 q / 2 + sigma_b^2,            K = (q1 + q2 - D) / 2,
        Theta -> K + sigma_w^2 (1/2 - t / 2 pi) Theta,

    and the angle comes from D - (sqrt q1 - sqrt q2)^2 = 4 sqrt(q1 q2) sin^2(t/2). Taking it from K,
    by 1 - cos^2 t, loses half the digits as t -> 0: coinciding inputs would be 1e-8 apart, not far from
    the Gram matrix's smallest eigenvalues, 3e-7 for 1,000 normal inputs with d = 1.
    """
    scale = sigma_w**2 / x1.shape[1]
    q1 = scale * jnp.sum(x1**2, axis=1)[:, None] + sigma_b**2
    q2 = scale * jnp.sum(x2**2, axis=1)[None] + sigma_b**2
    D = scale * _squared_distances(x1, x2)
    ntk = nngp = (q1 + q2 - D) / 2
    for _ in range(depth):
        size = _sqrt(q1) * _sqrt(q2)
        radial = (_sqrt(q1) - _sqrt(q2)) ** 2
        # Inputs at the origin of an unbiased layer have no angle; any will do, as size = 0.
        sin2 = jnp.clip((D - radial) / jnp.where(size > 0, 4 * size, 1), 0, 1)  # of half the angle
        angle = 2 * _arcsin_of_root(sin2)
        bend = 2 * _sqrt(sin2 * (1 - sin2)) - angle * (1 - 2 * sin2)
        D = sigma_w**2 * (radial / 2 + size * (2 * sin2 - bend / np.pi))
        q1, q2 = (sigma_w**2 * q / 2 + sigma_b**2 for q in (q1, q2))
        nngp = (q1 + q2 - D) / 2
        ntk = nngp + sigma_w**2 * (0.5 - angle / (2 * np.pi)) * ntk
    return nngp, ntk


def _sqrt(t):
    """Square root with slope 0 at 0: at coinciding inputs, the mean of a cusp's two sides; JAX's own makes NaN."""
    return jnp.where(t > 0, jnp.sqrt(jnp.where(t > 0, t, 1)), 0)


def _arcsin_of_root(t):
    """arcsin(sqrt t) for t in [0, 1] by arithmetic alone, which XLA vectorises, unlike its own arcsin."""
    small = t <= 0.25
    # Beyond 1/4, arcsin r = pi/2 - 2 arcsin sqrt((1 - r) / 2), which brings t below 1/4.
    t = jnp.where(small, t, (1 - _sqrt(t)) / 2)
    # sqrt t (1 + t/6 + 3 t^2/40 + ...): 24 terms leave 1e-17 at t = 1/4.
    series = 0.0
    for k in range(23, -1, -1):
        series = series * t + comb(2 * k, k) / (4**k * (2 * k + 1))
    angle = _sqrt(t) * series
    return jnp.where(small, angle, np.pi / 2 - 2 * angle)


def _squared_distances(x1, x2):
    d = x1.shape[1]
    if d <= 16:
        return sum((x1[:, None, i] - x2[None, :, i]) ** 2 for i in range(d))
    # A matrix product is far faster, and errs by rounding: what is no more than that counts as zero.
    norms = jnp.sum(x1**2, axis=1)[:, None] + jnp.sum(x2**2, axis=1)[None]
    squares = norms - 2 * x1 @ x2.T
    return jnp.where(squares > 1e-14 * np.sqrt(d) * norms, squares, 0)


def _in_tiles(kernel, x1, x2):
    """kernel(x1, x2) as one array, computed in square tiles; the lower half alone if x2 is x1."""
    symmetric = x2 is None or x2 is x1
    x1 = _inputs(x1)
    x2 = x1 if symmetric else _inputs(x2)
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(f"inputs must have one dimension, got {x1.shape[1]} and {x2.shape[1]}: use the same features")
    if isinstance(x1, jax.core.Tracer) or isinstance(x2, jax.core.Tracer):
        return kernel(x1, x2)  # under jit: one whole array
    result = np.empty((len(x1), len(x2)))
    tiles1 = _tiles(x1)
    tiles2 = tiles1 if symmetric else _tiles(x2)
    for i, (rows, block1) in enumerate(tiles1):
        for columns, block2 in tiles2[: i + 1] if symmetric else tiles2:
            block = np.asarray(kernel(block1, block2))[: rows.stop - rows.start, : columns.stop - columns.start]
            result[rows, columns] = block
            if symmetric:
                result[columns, rows] = block.T
    return result


def _tiles(x):
    """Slices of x with their inputs, padded to few different sizes: a kernel compiles once for each."""
    edge = min(_TILE, 1 << max(len(x) - 1, 1).bit_length())
    padded = np.pad(x, ((0, -len(x) % edge), (0, 0)), mode="edge")
    starts = range(0, len(x), edge)
    return [(slice(i, min(i + edge, len(x))), jnp.asarray(padded[i : i + edge])) for i in starts]


def _rows(x):
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must have shape (n, d), got {x.shape}: write x[:, None] for one-dimensional inputs")
    return x


def _inputs(x):
    x = _rows(jnp.asarray(x, float) if isinstance(x, jax.core.Tracer) else np.asarray(x, float))
    # Squares of larger values overflow.
    require("x", x, "be finite and below 1e150 in size", lambda v: np.abs(v) < 1e150,
            "remove or repair those samples first")
    return x
