"""The network's limit kernels, its features and its draws, against independent computations."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy.special import erf, ndtr
from tolerances import KERNEL, QUADRATURE, ROUNDING, SMOOTH_KERNEL
from witness import stax_network, witness

from kdlib import fully_connected
from kdlib.networks import ACTIVATIONS

KEY = jax.random.key(0)


def normal(*shape, seed=0):
    """Drawn by NumPy: JAX would compile a program for each shape."""
    return np.random.default_rng(seed).standard_normal(shape)


def arc_cosine_ntk(x1, x2, depth, sigma_w, sigma_b):
    """NNGP and NTK of one pair by Cho and Saul's formulas as they are published, in 60 digits."""
    with mpmath.workdps(60):
        w2, b2 = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2
        dot = lambda u, v: w2 * mpmath.fdot(map(mpmath.mpf, u), map(mpmath.mpf, v)) / len(u) + b2
        k11, k22, k12 = dot(x1, x1), dot(x2, x2), dot(x1, x2)
        ntk = k12
        for _ in range(depth):
            size = mpmath.sqrt(k11 * k22)
            cosine = min(k12 / size, mpmath.mpf(1))
            angle = mpmath.acos(cosine)
            k12 = w2 * size * (mpmath.sin(angle) + (mpmath.pi - angle) * cosine) / (2 * mpmath.pi) + b2
            ntk = k12 + w2 * ntk * (mpmath.pi - angle) / (2 * mpmath.pi)
            k11, k22 = w2 * k11 / 2 + b2, w2 * k22 / 2 + b2
        return float(k12), float(ntk)


@given(  # few dimensions and depths: a kernel compiles once for each pair
    x=st.sampled_from([1, 16, 17]).flatmap(lambda d: st.lists(st.floats(-10, 10), min_size=d, max_size=d)),
    step=st.one_of(st.just(0.0), st.floats(-16, 1).map(lambda e: 10**e)),
    depth=st.sampled_from([1, 3, 5]),
    sigma_w=st.floats(0.3, 3),
    sigma_b=st.sampled_from([0.05, 1.0, 2.0]),
)
@settings(max_examples=80)
def test_relu_kernels_are_accurate_however_close_the_inputs(x, step, depth, sigma_w, sigma_b):
    network = fully_connected(depth, sigma_w=sigma_w, sigma_b=sigma_b)
    x1 = np.array(x)
    x2 = x1 + step * np.resize([1.0, -0.5], len(x))
    nngp, ntk = arc_cosine_ntk(x1, x2, depth, sigma_w, sigma_b)
    # From 17 dimensions on distances come from a matrix product and are rounded at 1e-14 of the norms.
    tolerance = KERNEL if len(x) <= 16 else 2e-7
    assert network.nngp(x1[None], x2[None])[0, 0] == pytest.approx(nngp, rel=KERNEL)
    assert network.ntk(x1[None], x2[None])[0, 0] == pytest.approx(ntk, rel=tolerance)


@pytest.mark.parametrize("dimension", [1, 2, 40])
def test_coinciding_inputs_have_no_distance(dimension):
    """neural_tangents itself is off by 1e-8 here."""
    x = normal(50, dimension)
    network = fully_connected(3)
    exact = [arc_cosine_ntk(point, point, 3, 1, 1)[1] for point in x]
    assert np.diagonal(network.ntk(x, x.copy())) == pytest.approx(exact, rel=KERNEL)
    assert np.array_equal(np.diagonal(network.ntk(x, x.copy())), np.diagonal(network.ntk(x)))


def arcsine_kernels(x1, x2, depth, sigma_w, sigma_b):
    """NNGP and NTK of one pair for erf by Williams' formula as it is published, in 60 digits."""
    with mpmath.workdps(60):
        w2, b2 = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2
        dot = lambda u, v: w2 * mpmath.fdot(map(mpmath.mpf, u), map(mpmath.mpf, v)) / len(u) + b2
        k11, k22, k12 = dot(x1, x1), dot(x2, x2), dot(x1, x2)
        ntk = k12
        for _ in range(depth):
            p1, p2 = 1 + 2 * k11, 1 + 2 * k22
            slopes = 4 / (mpmath.pi * mpmath.sqrt(p1 * p2 - 4 * k12**2))
            k12, k11, k22 = (2 * w2 / mpmath.pi * mpmath.asin(2 * k / size) + b2
                             for k, size in ((k12, mpmath.sqrt(p1 * p2)), (k11, p1), (k22, p2)))
            ntk = k12 + w2 * ntk * slopes
        return float(k12), float(ntk)


@given(
    x=st.sampled_from([1, 8]).flatmap(lambda d: st.lists(st.floats(-10, 10), min_size=d, max_size=d)),
    step=st.one_of(st.just(0.0), st.floats(-16, 1).map(lambda e: 10**e)),
    depth=st.sampled_from([1, 5]),
    sigma_w=st.floats(0.3, 3),
    sigma_b=st.sampled_from([0, 0.05, 1.0, 2.0]),
)
@settings(max_examples=80)
def test_erf_kernels_are_accurate_however_close_the_inputs(x, step, depth, sigma_w, sigma_b):
    network = fully_connected(depth, activation="erf", sigma_w=sigma_w, sigma_b=sigma_b)
    pair = np.array([x, x + step * np.resize([1.0, -0.5], len(x))])
    tiny = not sigma_b and np.abs(pair).max(axis=1).min() < 0.01
    for kernel, exact in zip((network.nngp, network.ntk), arcsine_kernels(*pair, depth, sigma_w, sigma_b), strict=True):
        (k11, k12), (_, k22) = kernel(pair)
        # A covariance may be near 0, and squares of inputs may underflow.
        scale = max(k11, k22) if tiny else np.sqrt(k11) * np.sqrt(k22)
        assert k12 == pytest.approx(exact, rel=0, abs=SMOOTH_KERNEL * scale + 1e-300)


@pytest.mark.parametrize("activation, g, slope", [
    ("erf", erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-u**2)),
    ("gelu", lambda u: u * ndtr(u), lambda u: ndtr(u) + u * np.exp(-u**2 / 2) / np.sqrt(2 * np.pi)),
])
def test_smooth_activations_have_the_expectations_that_define_their_kernels(activation, g, slope):
    """By quadrature over the two logits of a pair of inputs, which covariance k makes u and v."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    z, weights = np.meshgrid(nodes, nodes), np.outer(weights, weights) / weights.sum() ** 2
    for x in normal(5, 2, 3):
        k = 1.2**2 * x @ x.T / 3 + 0.5**2
        u, v = np.tensordot(np.linalg.cholesky(k), z, 1)
        nngp = 1.2**2 * (weights * g(u) * g(v)).sum() + 0.5**2
        ntk = nngp + 1.2**2 * (weights * slope(u) * slope(v)).sum() * k[0, 1]
        network = fully_connected(1, activation=activation, sigma_w=1.2, sigma_b=0.5)
        assert network.nngp(x)[0, 1] == pytest.approx(nngp, rel=QUADRATURE)
        assert network.ntk(x)[0, 1] == pytest.approx(ntk, rel=QUADRATURE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_stay_finite_from_the_smallest_to_the_largest_inputs(activation):
    x = np.array([[1e149, 1e149], [1e149, 0], [-1e149, 1e149], [1, 1], [1e-200, 0], [0, 0]])
    for sigma_b in (0, 1):
        network = fully_connected(3, activation=activation, sigma_b=sigma_b)
        assert np.isfinite(network.ntk(x)).all() and np.isfinite(network.nngp(x)).all()


@pytest.mark.parametrize("sigma_b", [0.0, 0.7])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_are_those_of_neural_tangents(activation, sigma_b):
    network = fully_connected(3, activation=activation, sigma_w=1.3, sigma_b=sigma_b)
    x1, x2 = jnp.asarray(normal(7, 3)), jnp.asarray(normal(600, 3, seed=1))
    for name in ("ntk", "nngp"):
        theirs = stax_network(network)[2](x1, x2, name)
        assert np.allclose(getattr(network, name)(x1, x2), theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sigma_b", [0.0, 0.7])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_are_those_of_neural_tangents(activation, sigma_b):
    """The same key draws the same weights, to the last bit; what is computed from them agrees to rounding."""
    network = fully_connected(3, width=17, activation=activation, sigma_w=1.3, sigma_b=sigma_b)
    init, apply, _ = stax_network(network)
    x1, x2 = jnp.asarray(normal(7, 3)), jnp.asarray(normal(5, 3, seed=1))
    kernel = witness().empirical_ntk_fn(apply, trace_axes=(-1,))
    moved = lambda params: jax.tree.map(lambda w: w + 0.1, params)
    ours = jax.jit(lambda params: (network.apply(params, x1), network.empirical_ntk(params, x1, x2),
                                   network.linearize(params)(moved(params), x1)))
    other = jax.jit(lambda params: (apply(params, x1)[:, 0], kernel(x1, x2, params),
                                    witness().linearize(apply, params)(moved(params), x1)[:, 0]))
    for key in (KEY, jax.random.PRNGKey(7)):
        params, theirs = network.init(key, 3), init(key, (-1, 3))[1]
        drawn = zip(jax.tree.leaves(params), jax.tree.leaves(theirs), strict=True)
        assert all(w.dtype == v.dtype and np.array_equal(w, v) for w, v in drawn)
        for one, another in zip(ours(params), other(theirs), strict=True):
            assert one.shape == another.shape and np.allclose(one, another, rtol=1e-12, atol=1e-12)


def test_tiles_do_not_show():
    network = fully_connected(2)
    x = normal(1100, 2)
    whole = network.ntk(x)
    assert np.array_equal(whole, whole.T)
    assert np.allclose(whole, jax.jit(network.ntk)(x), rtol=ROUNDING, atol=0)  # traced: in one piece
    assert np.allclose(whole[3:5, 500:1090], network.ntk(x[3:5], x[500:1090]), rtol=ROUNDING, atol=0)


def test_an_input_at_the_origin_is_no_trouble_without_biases():
    kernel = fully_connected(2, sigma_b=0).ntk(np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert kernel[0] == pytest.approx([0, 0], abs=ROUNDING) and kernel[1, 1] == pytest.approx(3 / 8)


def test_network_is_equation_1():
    network = fully_connected(2, width=5, sigma_w=1.5, sigma_b=0.3)
    params = network.init(KEY, 3)
    x = normal(4, 3)
    (W0, b0), (W1, b1), (W2, b2) = ((np.asarray(W), np.asarray(b)) for W, b in params)
    x1 = np.maximum(1.5 * x @ W0 / np.sqrt(3) + 0.3 * b0, 0)
    x2 = np.maximum(1.5 * x1 @ W1 / np.sqrt(5) + 0.3 * b1, 0)
    expected = (1.5 * x2 @ W2 / np.sqrt(5) + 0.3 * b2)[:, 0]
    assert np.allclose(network.apply(params, x), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
def test_empirical_kernel_and_linearisation_come_from_the_gradient(activation, sigma_b):
    network = fully_connected(3, width=6, activation=activation, sigma_b=sigma_b)
    params = network.init(KEY, 2)
    x = jnp.asarray(normal(5, 2))
    gradient = jax.jit(jax.jacobian(network.apply))(params, x)
    features = jax.vmap(lambda g: ravel_pytree(g)[0])(gradient)
    assert np.allclose(network.empirical_ntk(params, x), features @ features.T, rtol=1e-12)
    assert np.allclose(network.empirical_ntk(params, x, x[:2]), features @ features[:2].T, rtol=1e-12)

    moved = jax.tree.map(lambda w: w + 0.1, params)
    change = ravel_pytree(jax.tree.map(jnp.subtract, moved, params))[0]
    assert np.allclose(network.linearize(params)(moved, x), network.apply(params, x) + features @ change, rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_empirical_kernel_averages_to_the_ntk(activation):
    """Over seeds, within five standard errors; a wrong layer or scale would be tens of them off."""
    network = fully_connected(2, width=128, activation=activation)
    x = jnp.asarray(normal(3, 2))
    seeds = jax.random.split(KEY, 200)
    kernels = jax.jit(jax.vmap(lambda key: network.empirical_ntk(network.init(key, 2), x)))(seeds)
    # The mean at width m differs from the limit by O(1/m), well inside these errors.
    error = kernels.std(axis=0) / np.sqrt(len(seeds))
    assert (np.abs(kernels.mean(axis=0) - network.ntk(x)) < 5 * error).all()


def test_initial_logits_have_the_nngp_covariance():
    network = fully_connected(3)
    x = jnp.asarray(normal(30, 2))
    draws = network.initial_logits(jax.random.key(5), x, 20_000)
    covariance = network.nngp(x)
    # Standard error of a covariance: sqrt((k_ii k_jj + k_ij^2) / count).
    error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / 20_000)
    assert (np.abs(draws @ draws.T / 20_000 - covariance) < 5 * error).all()


def test_initial_logits_are_smooth_where_the_nngp_is_singular():
    """1,000 inputs on a line: the covariance is singular to rounding, and noise would show as jumps."""
    x = np.linspace(-1, 1, 1000)[:, None]
    network = fully_connected(3)
    draw = network.initial_logits(KEY, x)[:, 0]
    step = np.array([[0.0], [0.002]])
    variance = [1, -1] @ network.nngp(step) @ [1, -1]
    assert np.abs(np.diff(draw)).max() < 6 * np.sqrt(variance)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"depth": 0}, "depth must be a whole number from 1 up, got 0"),
        ({"width": 2.5}, "width must be a whole number from 1 up, got 2.5"),
        ({"sigma_w": 0}, "sigma_w must be positive and finite, got 0"),
        ({"sigma_b": -1}, r"sigma_b must lie in \[0, inf\), got -1"),
        ({"activation": "tanh"}, "activation must be one of relu, erf, gelu, got 'tanh'"),
    ],
)
def test_bad_networks_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fully_connected(**{"depth": 2, "width": 8} | settings)


def test_a_network_without_a_width_is_the_limit():
    limit, x = fully_connected(2), np.eye(2)
    assert np.array_equal(limit.ntk(x), fully_connected(2, width=8).ntk(x))
    with pytest.raises(ValueError, match="width must be a whole number from 1 up for a network that has weights"):
        limit.init(KEY, 2)


def test_bad_inputs_are_refused():
    kernel = fully_connected(2, width=8).ntk
    with pytest.raises(ValueError, match=r"x1 must have shape \(n, d\), got \(5,\): write x1\[:, None\]"):
        kernel(np.zeros(5))
    with pytest.raises(ValueError, match="inputs x1 and x2 must have one dimension, got 2 and 3"):
        kernel(np.zeros((5, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="x1 must be finite and below 1e150 in size, got nan"):
        kernel(np.full((2, 2), np.nan))


def test_nothing_of_what_neural_tangents_was_given_to_import_is_left():
    """In a process of its own: here other tests have loaded it."""
    code = """
import sys, jax
before = set(dir(jax.core)), set(dir(jax.interpreters.ad)), {name for name in sys.modules if name.startswith("jax")}
from kdlib.networks import neural_tangents
assert "neural_tangents" not in sys.modules
assert neural_tangents() is neural_tangents() is sys.modules["neural_tangents"]
assert not {"neural_tangents.experimental", "tensorflow"} & set(sys.modules)
assert before[:2] == (set(dir(jax.core)), set(dir(jax.interpreters.ad)))
assert hasattr(jax, "util") == ("jax.util" in before[2])
"""
    witness()
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_neural_tangents_where_inputs_coincide(activation):
    x = jnp.asarray(normal(5, 2))
    network = fully_connected(2, activation=activation)
    slopes = [jax.jit(jax.grad(lambda a, kernel=kernel: kernel(a, x).sum()))(x)
              for kernel in (network.ntk, lambda a, b: stax_network(network)[2](a, b, "ntk"))]
    assert np.allclose(*slopes, rtol=1e-6, atol=1e-6)
