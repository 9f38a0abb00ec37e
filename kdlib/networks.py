"""Eq. 1's network, its wide-limit kernels and its linearisation (Section 2 of the paper).

Limit kernels are computed in closed form, layer by layer. Distillation asks more of ReLU's than the
usual formula gives: see `_relu`. For other architectures, :func:`neural_tangents` has kernels;
this is the one module that imports that package, and nothing else here needs it.

Sources: A. Jacot, F. Gabriel and C. Hongler, *Neural Tangent Kernel*, NeurIPS 2018; J. Lee et al.,
*Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent*, NeurIPS 2019;
Y. Cho and L. K. Saul, *Kernel Methods for Deep Learning*, NeurIPS 2009 (ReLU); C. K. I. Williams,
*Computing with Infinite Networks*, NeurIPS 1996 (erf); R. Tsuchida et al., *Avoiding Kernel Fixed
Points*, AAAI 2021 (GELU); R. Novak et al., *Neural Tangents*, ICLR 2020, and *Fast Finite Width
Neural Tangent Kernel*, ICML 2022.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree
from scipy.linalg.lapack import dpstrf

from kdlib import _neural_tangents
from kdlib._checks import choice, floats, numeric, own_type, real, require, require_double, whole

_TILE = 512  # edge of the blocks in which kernels are computed: 2 MB each, compiled once


def fully_connected(
    depth: int, *, width: int | None = None, activation: str = "relu", sigma_w: float = 1.0, sigma_b: float = 1.0
) -> "Network":
    r"""Fully connected network with one output, in NTK parametrisation (Eq. 1).

    .. math::
        h^1 &= \sigma_W W^0 x / \sqrt d + \sigma_b b^0, \\
        h^{l+1} &= \sigma_W W^l x^l / \sqrt m + \sigma_b b^l, \qquad x^l = g(h^l), \\
        f(x; w) &= h^{L+1},

    with all entries of :math:`W^l, b^l` drawn from :math:`\mathcal N(0, 1)`.

    Args:
        depth: number of hidden layers L, at least 1.
        width: their width m. Left out, the network is infinitely wide: it has kernels, and no weights.
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
    return Network(depth, width, activation, sigma_w, sigma_b)


@dataclass(frozen=True)
class Network:
    """A fully connected network and its kernels; made by :func:`fully_connected`."""

    depth: int  #: hidden layers
    width: int | None  #: units in each; None for the limit of infinite width
    activation: str  #: g
    sigma_w: float  #: scale of the weights
    sigma_b: float  #: scale of the biases

    def __post_init__(self):
        checked = {
            "depth": whole("depth", self.depth, remedy="it counts layers"),
            "width": None if self.width is None else whole("width", self.width, remedy="it counts units"),
            "sigma_w": real("sigma_w", self.sigma_w, "be positive and finite", lambda s: 0 < s < np.inf,
                            "the paper has 1"),
            "sigma_b": real("sigma_b", self.sigma_b, "lie in [0, inf)", lambda s: 0 <= s < np.inf, "the paper has 1"),
        }
        for name in ("sigma_w", "sigma_b"):
            require(name, checked[name], "be at most 1e10", lambda s: s <= 1e10,
                    "kernels grow by its square in each layer")
        choice("activation", self.activation, ACTIVATIONS,
               "for another network, pass its kernel k(x1, x2) to NestedStudents yourself")
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # 3.0 layers are 3

    def init(self, key: Array, dimension: int) -> PyTree:
        """Weights drawn for inputs of the given dimension: a pair (W, b) for each layer, b None without biases.

        Raises:
            ValueError: a network without a width, or a dimension that is no whole number from 1 up.
        """
        if self.width is None:
            raise ValueError("width must be a whole number from 1 up for a network that has weights, got None: "
                             "write fully_connected(3, width=512), or draw logits by initial_logits")
        dimension = whole("dimension", dimension, remedy="it counts the columns of x")
        fan_in = [dimension, *[self.width] * self.depth]
        fan_out = [*[self.width] * self.depth, 1]
        params = []
        for n, m in zip(fan_in, fan_out, strict=True):
            # Keys are split as in neural_tangents' stax: the same key draws the same network in both.
            key, of_layer = jax.random.split(key)
            if len(params) < self.depth:
                _, of_layer = jax.random.split(of_layer)
            of_weights, of_biases = jax.random.split(of_layer)
            biases = jax.random.normal(of_biases, (1, m)) if self.sigma_b else None
            params.append((jax.random.normal(of_weights, (n, m)), biases))
        return tuple(params)

    def apply(self, params: PyTree, x: Float[ArrayLike, "n d"]) -> Float[Array, " n"]:
        """Logits f(x; w).

        Raises:
            ValueError: inputs that are not (n, d), or empty.
        """
        *hidden, last = params
        x = _own_rows("x", x)
        for layer in hidden:
            x = ACTIVATIONS[self.activation](_affine(self, layer, x))
        return _affine(self, last, x)[:, 0]

    def linearize(self, params: PyTree) -> Callable[[PyTree, Array], Array]:
        r"""First-order expansion of the network at ``params`` = :math:`w_0` (Section 2).

        .. math:: f_\text{lin}(x; w) = f(x; w_0) + (w - w_0)^\top \phi(x), \qquad
                  \phi(x) = \partial_w f(x; w_0).

        Returns:
            A function of (weights, x), to be used in place of :meth:`apply`.
        """

        def linear(w, x):
            change = jax.tree.map(jnp.subtract, w, params)
            return sum(jax.jvp(lambda w: self.apply(w, x), (params,), (change,)))

        return linear

    def empirical_ntk(
        self, params: PyTree, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[Array, "n1 n2"]:
        r"""Kernel of the network's random features, :math:`\hat\Theta = \phi(x_1)^\top \phi(x_2)`.

        The features are never made: in each layer the derivative by :math:`W^l` is a product of the
        layer's input and the slope by its output, and the kernel a product of two (n1, n2) matrices.
        """
        x1 = _own_rows("x1", x1)
        return _empirical_ntk(self, params, x1, x1 if x2 is None else _own_rows("x2", x2))

    def ntk(
        self, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[np.ndarray, "n1 n2"]:
        r"""Neural tangent kernel, the limit :math:`\Theta` of :meth:`empirical_ntk` for infinite width.

        Computed in blocks, so that memory peaks near the size of the result; without ``x2`` (or
        with ``x2 is x1``) only one triangle is computed. For ReLU, close inputs cost no accuracy up
        to d = 16; beyond, distances below about 1e-7 of the inputs' norms count as zero. For erf and
        GELU, errors are below 1e-12 sqrt(k(x1, x1) k(x2, x2)) for inputs up to 10 in size. Without
        biases, an input below 0.01 beside a much larger one costs digits: errors are then below
        1e-12 of the larger k(x, x).

        Raises:
            ValueError: inputs that are not (n, d), that differ in d, or that are not finite.
        """
        return _in_tiles(partial(_kernel, self, "ntk"), x1, x2)

    def nngp(
        self, x1: Float[ArrayLike, "n1 d"], x2: Float[ArrayLike, "n2 d"] | None = None
    ) -> Float[np.ndarray, "n1 n2"]:
        r"""Covariance of the logits at initialisation, :math:`E_{w_0}[f(x_1) f(x_2)]`, for infinite width.

        Blocks and errors as in :meth:`ntk`.
        """
        return _in_tiles(partial(_kernel, self, "nngp"), x1, x2)

    def initial_logits(self, key: Array, x: Float[ArrayLike, "n d"], count: int = 1) -> Float[np.ndarray, "n count"]:
        r"""Logits :math:`z_0 = f(x; w_0)` of infinitely wide networks at initialisation, one column each.

        Exact draws from :math:`\mathcal N(0, \text{nngp}(x, x))`. To predict elsewhere, draw training
        and test inputs in one call: they belong to one function.
        """
        count = whole("count", count)
        covariance = self.nngp(_inputs("x", x))
        # The NNGP of many inputs is singular to rounding. Pivoted Cholesky stops where nothing but
        # rounding is left; what it leaves out is interpolated smoothly, not replaced by noise.
        factor, pivots, rank, _ = dpstrf(covariance.T, lower=1, overwrite_a=1)
        normal = np.asarray(jax.random.normal(key, (len(covariance), count)))
        drawn = np.empty_like(normal)
        drawn[pivots - 1] = np.tril(factor[:, :rank]) @ normal[:rank]
        return drawn


def neural_tangents():
    """The package neural_tangents, whose ``stax`` has kernels of many other architectures.

    It is loaded here because its last release does not import on today's JAX by itself. Its kernels have
    half the digits where inputs coincide or nearly do; Gram matrices that are close to singular show it.

    Raises:
        ModuleNotFoundError: it is not installed; it is the extra ``architectures``.

    >>> stax = neural_tangents().stax
    >>> *_, of_images = stax.serial(stax.Conv(1, (3, 3)), stax.Relu(), stax.Flatten(), stax.Dense(1))
    >>> kernel = lambda x1, x2: of_images(x1.reshape(-1, 8, 8, 1), x2.reshape(-1, 8, 8, 1), "ntk")
    >>> x = jax.random.normal(jax.random.key(0), (5, 64))
    >>> kernel(x, x[:3]).shape  # NestedStudents(x, kernel) takes it as it is
    (5, 3)
    """
    return _neural_tangents.load()


# --- Networks of finite width --------------------------------------------------------------------

ACTIVATIONS = {"relu": jax.nn.relu, "erf": jax.scipy.special.erf, "gelu": partial(jax.nn.gelu, approximate=False)}


def _affine(network, layer, x):
    W, b = layer
    h = network.sigma_w / len(W) ** 0.5 * (x @ W)
    return h if b is None else h + network.sigma_b * b


@partial(jax.jit, static_argnums=0)
def _empirical_ntk(network, params, x1, x2):
    """Sum over layers l of (sigma_w^2 x1^l . x2^l / m + sigma_b^2) (df/dh^{l+1}(x1) . df/dh^{l+1}(x2))."""
    kernel = 0.0
    layers1, layers2 = (_layers(network, params, x) for x in (x1, x2))
    for (in1, slope1), (in2, slope2) in zip(layers1, layers2, strict=True):
        kernel += (network.sigma_w**2 / in1.shape[1] * (in1 @ in2.T) + network.sigma_b**2) * (slope1 @ slope2.T)
    return kernel


def _layers(network, params, x):
    """For each layer, from the last to the first: its input x^l and the slope df/dh^{l+1} by its output."""
    g = ACTIVATIONS[network.activation]
    passed = []
    for layer in params[:-1]:
        h = _affine(network, layer, x)
        image, bend = jax.jvp(g, (h,), (jnp.ones_like(h),))
        passed.append((x, bend))
        x = image
    slope = jnp.ones((len(x), 1))
    yield x, slope
    for (W, _), (x, bend) in zip(reversed(params[1:]), reversed(passed), strict=True):
        slope = network.sigma_w / len(W) ** 0.5 * (slope @ W.T) * bend
        yield x, slope


# --- The limit of infinite width -----------------------------------------------------------------


def _kernel(network, which, x1, x2):
    nngp, ntk = _kernels(network.activation, network.depth, network.sigma_w**2, network.sigma_b**2, x1, x2)
    return ntk if which == "ntk" else nngp


@partial(jax.jit, static_argnames=("activation", "depth"))
def _kernels(activation, depth, w2, b2, x1, x2):
    r"""NNGP K and NTK Theta, by recursion over the layers.

    With (u, v) the normal pair h^l(x1), h^l(x2), a layer maps

        q1, q2, D -> sigma_w^2 E g(u)^2 + sigma_b^2, sigma_w^2 E g(v)^2 + sigma_b^2, sigma_w^2 E (g(u) - g(v))^2,
        Theta     -> K + sigma_w^2 E[g'(u) g'(v)] Theta,                               K = (q1 + q2 - D) / 2,

    where q = K(x, x), and D is the squared distance between the images of two inputs.
    """
    scale = w2 / x1.shape[1]
    q1 = scale * jnp.sum(x1**2, axis=1)[:, None] + b2
    q2 = scale * jnp.sum(x2**2, axis=1)[None] + b2
    D = scale * _squared_distances(x1, x2)
    ntk = nngp = (q1 + q2 - D) / 2
    for _ in range(depth):
        q1, q2, D, slopes = _EXPECTATIONS[activation](q1, q2, D)
        q1, q2, D = w2 * q1 + b2, w2 * q2 + b2, w2 * D
        nngp = (q1 + q2 - D) / 2
        ntk = nngp + w2 * slopes * ntk
    return nngp, ntk


def _relu(q1, q2, D):
    r"""Expectations of a ReLU layer, as accurate for close inputs as their distance is.

    With t the angle between u and v (Cho and Saul's arc-cosine kernels),

        E g(u)^2          = q1 / 2,
        E (g(u) - g(v))^2 = (sqrt q1 - sqrt q2)^2 / 2 + sqrt(q1 q2) (2 sin^2(t/2) - (sin t - t cos t) / pi),
        E g'(u) g'(v)     = 1/2 - t / 2 pi,

    and the angle comes from D - (sqrt q1 - sqrt q2)^2 = 4 sqrt(q1 q2) sin^2(t/2). Taking it from K,
    by 1 - cos^2 t, loses half the digits as t -> 0: coinciding inputs would be 1e-8 apart, not far from
    the Gram matrix's smallest eigenvalues, 3e-7 for 1,000 normal inputs with d = 1.
    """
    size, radial = _size_and_radial(q1, q2)
    # Inputs at the origin of an unbiased layer have no angle; any will do, as size = 0.
    sin2 = jnp.clip((D - radial) / jnp.where(size > 0, 4 * size, 1), 0, 1)  # of half the angle
    angle = 2 * _arcsin_of_root(sin2)
    bend = 2 * _sqrt(sin2 * (1 - sin2)) - angle * (1 - 2 * sin2)
    return q1 / 2, q2 / 2, radial / 2 + size * (2 * sin2 - bend / np.pi), 0.5 - angle / (2 * np.pi)


def _erf(q1, q2, D):
    r"""Expectations of an erf layer (Williams). With s, c, r of `_noisy_correlation` for noise of variance 1/2,

        E g(u) g(v)   = (2 / pi) arctan(c / r),
        E g'(u) g'(v) = 2 / (pi s r).
    """

    def products(q1, q2, D):
        s, c, r = _noisy_correlation(q1, q2, D, 0.5)
        return 2 / np.pi * jnp.arctan2(c, r), 2 / (np.pi * s * r)

    return _from_products(products, q1, q2, D)


def _gelu(q1, q2, D):
    r"""Expectations of a layer of GELUs, g(u) = u Phi(u) with the normal distribution Phi (Tsuchida et al.).

    With s, c, r of `_noisy_correlation` for noise of variance 1, and p = q1 q2 / s^2,

        E g(u) g(v)   = s [c pi/2 + c arctan(c / r) + (c/s)^2 / r + p r] / 2 pi,
        E g'(u) g'(v) = [pi/2 + arctan(c / r) + (c / r) (1 + 1 / (s r)^2 + 1 / s^2 - p)] / 2 pi.
    """

    def products(q1, q2, D):
        s, c, r = _noisy_correlation(q1, q2, D, 1.0)
        angle = np.pi / 2 + jnp.arctan2(c, r)
        p = q1 / (1 + q1) * (q2 / (1 + q2))
        product = s * (c * angle + (c / s) ** 2 / r + p * r) / (2 * np.pi)
        return product, (angle + c / r * (1 + 1 / (s * r) ** 2 + 1 / s**2 - p)) / (2 * np.pi)

    return _from_products(products, q1, q2, D)


_EXPECTATIONS = {"relu": _relu, "erf": _erf, "gelu": _gelu}


def _from_products(products, q1, q2, D):
    """Expectations of a smooth activation, from its E g(u) g(v) and E g'(u) g'(v)."""
    (new1, _), (new2, _), (product, slopes) = products(q1, q1, 0), products(q2, q2, 0), products(q1, q2, D)
    return new1, new2, new1 + new2 - 2 * product, slopes


def _noisy_correlation(q1, q2, D, noise):
    """Size s = sqrt((q1 + noise) (q2 + noise)), correlation c = K / s of u and v with noise, and r = sqrt(1 - c^2).

    By (r s)^2 = noise (noise + q1 + q2) + q1 q2 - K^2 and q1 q2 - K^2 = gap (4 size - gap) / 4, where no digits cancel
    for close inputs, and in factors that do not overflow.
    """
    s = jnp.sqrt(q1 + noise) * jnp.sqrt(q2 + noise)
    size, radial = _size_and_radial(q1, q2)
    gap = jnp.clip(D - radial, 0, 4 * size)
    r2 = noise / s * ((noise + q1 + q2) / s) + gap / s * ((size - gap / 4) / s)
    return s, (q1 + q2 - D) / (2 * s), jnp.sqrt(r2)


def _size_and_radial(q1, q2):
    """sqrt(q1 q2), and (sqrt q1 - sqrt q2)^2: the least that D can be."""
    return _sqrt(q1) * _sqrt(q2), (_sqrt(q1) - _sqrt(q2)) ** 2


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
    x1 = _inputs("x1", x1)
    x2 = x1 if symmetric else _inputs("x2", x2)
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(f"inputs x1 and x2 must have one dimension, got {x1.shape[1]} and {x2.shape[1]}: "
                         "use the same features")
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


def _own_rows(name, x):
    """Inputs in their own precision."""
    return _sound(name, _rows(name, own_type(name, x)))


def _rows(name, x):
    require_double()
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} must have shape (n, d), got {x.shape}: write {name}[:, None] for one-dimensional "
                         "inputs")
    return x


def _inputs(name, x):
    return _sound(name, _rows(name, floats(name, x) if isinstance(x, jax.core.Tracer) else numeric(name, x)))


def _sound(name, x):
    # Squares of larger values overflow.
    require(name, x, "be finite and below 1e150 in size", lambda v: np.abs(v) < 1e150,
            "remove or repair those samples first")
    return x
