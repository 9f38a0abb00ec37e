"""All nested students at once, against one solve per student and against other libraries."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel
from tolerances import INTERPOLATION, NESTED, ROUNDING
from witness import witness

from kdlib import NestedStudents, fully_connected

network = fully_connected(3, width=64)
N = 60


def data(seed, d=2, n=N, tests=7):
    draw = np.random.default_rng(seed)
    return [draw.standard_normal(shape) for shape in ((n, d), (tests, d), (n, 2))]


@pytest.mark.parametrize("d", [1, 2, 20])
def test_every_student_is_that_of_a_solve_of_its_own(d):
    x, x_test, z = data(0, d)
    students = NestedStudents(x, network.ntk)
    norms, inner = students.weight_norms(z), students.inner(z[:, 0], z)
    predictions, distance = students.predict(x_test, z), students.distance(x_test)
    gram, cross = network.ntk(x), network.ntk(x_test, x)
    own = np.diagonal(network.ntk(x_test))
    for n in range(1, N + 1):
        alpha = np.linalg.solve(gram[:n, :n], z[:n])
        assert norms[n - 1] ** 2 == pytest.approx(np.sum(z[:n] * alpha, axis=0), rel=NESTED)
        assert inner[n - 1] == pytest.approx(z[:n, 0] @ alpha, rel=NESTED, abs=NESTED * norms[n - 1].prod())
        scale = np.abs(cross[:, :n]) @ np.abs(alpha)
        assert (np.abs(predictions[n - 1] - cross[:, :n] @ alpha) <= NESTED * scale).all()
        seen = np.sum(cross[:, :n] * np.linalg.solve(gram[:n, :n], cross[:, :n].T).T, axis=1)
        assert distance[n - 1] ** 2 == pytest.approx(own - seen, abs=NESTED * own.max())


def test_sizes_may_come_in_any_order():
    x, x_test, z = data(1)
    students = NestedStudents(x, network.ntk)
    every = students.predict(x_test, z)
    for sizes in ([5], [60, 1, 20, 20], np.array([3, 4])):
        assert np.allclose(students.predict(x_test, z, sizes), every[np.array(sizes) - 1], rtol=1e-12, atol=1e-12)
        assert students.distance(x_test, sizes).shape == (len(sizes), len(x_test))


def test_more_test_points_than_a_block():
    x, _, z = data(2, n=10)
    x_test = np.linspace(-2, 2, 5000).reshape(2500, 2)
    students = NestedStudents(x, network.ntk)
    direct = network.ntk(x_test, x) @ np.linalg.solve(network.ntk(x), z)
    assert np.allclose(students.predict(x_test, z, [10])[0], direct, rtol=1e-10, atol=1e-10)


@given(seed=st.integers(0, 2**20), d=st.sampled_from([1, 2, 5]), offset=st.floats(-5, 5))
@settings(max_examples=20)
def test_norms_never_decrease_and_later_samples_change_nothing(seed, d, offset):
    x, _, z = data(seed, d, n=20)
    z = z[:, 0] + offset
    students = NestedStudents(x, network.ntk)
    norms = students.weight_norms(z)
    assert (np.diff(norms) >= 0).all()
    other = np.r_[0:12, np.random.default_rng(seed).permutation(np.arange(12, 20))]
    shuffled = NestedStudents(x[other], network.ntk)
    assert shuffled.weight_norms(z[other])[:12] == pytest.approx(norms[:12], rel=ROUNDING)
    # The last student has the same samples, in another order.
    assert shuffled.weight_norms(z[other])[-1] == pytest.approx(norms[-1], rel=1e-9)


@pytest.mark.parametrize("d", [1, 2])
def test_students_answer_their_samples_with_the_targets(d):
    x, _, z = data(3, d)
    students = NestedStudents(x, network.ntk)
    for n in (1, 17, N):
        assert np.abs(students.predict(x[:n], z, [n])[0] - z[:n]).max() < INTERPOLATION
        assert students.distance(x[:n], [n]).max() < 1e-6


def test_leave_one_out_is_training_without_the_sample():
    x, _, z = data(4, n=25)
    z = np.column_stack([z, z**2])
    for jitter in (0, 0.1):
        quick = NestedStudents(x, network.ntk, jitter=jitter).leave_one_out(z)
        for i in range(25):
            rest = np.delete(np.arange(25), i)
            slow = NestedStudents(x[rest], network.ntk, jitter=jitter).predict(x[[i]], z[rest], [24])[0, 0]
            assert quick[i] == pytest.approx(slow, rel=1e-9, abs=1e-9)


# --- Other libraries ----------------------------------------------------------------------------


def test_agrees_with_neural_tangents_predict():
    x, x_test, z = data(5, n=30)
    students = NestedStudents(x, network.ntk)
    ours = students.predict(x_test, z, [10, 30])
    for n, prediction in zip((10, 30), ours, strict=True):
        predictor = witness().predict.gradient_descent_mse(jnp.asarray(network.ntk(x[:n])), jnp.asarray(z[:n]))
        _, theirs = predictor(np.inf, 0.0, 0.0, jnp.asarray(network.ntk(x_test, x[:n])))
        assert np.allclose(prediction, theirs, rtol=1e-9, atol=1e-9)


class _Given(Kernel):
    """Our kernel in scikit-learn's clothes, without anything to fit."""

    def __init__(self):
        pass

    def __call__(self, X, Y=None, eval_gradient=False):
        return network.ntk(X) if Y is None else network.ntk(X, Y)

    def diag(self, X):
        return np.diagonal(network.ntk(X)).copy()

    def is_stationary(self):
        return False

    @property
    def requires_vector_input(self):
        return True


def test_agrees_with_scikit_learn():
    x, x_test, z = data(6, n=30)
    # alpha = 0 is what we mean; scikit-learn asks for at least the smallest float.
    theirs = GaussianProcessRegressor(_Given(), alpha=np.finfo(float).tiny, optimizer=None).fit(x[:20], z[:20, 0])
    mean, deviation = theirs.predict(x_test, return_std=True)
    students = NestedStudents(x, network.ntk)
    assert np.allclose(students.predict(x_test, z[:, 0], [20])[0], mean, rtol=1e-9, atol=1e-9)
    assert np.allclose(students.distance(x_test, [20])[0], deviation, rtol=1e-7, atol=1e-7)


def test_agrees_with_least_squares_on_explicit_features():
    """Eq. 4 is the shortest weight change that meets the targets; the kernel is a given network's."""
    small = fully_connected(2, width=32)
    params = small.init(jax.random.key(7), 2)
    x, x_test, z = data(7, n=12)
    features = jax.jit(lambda x: jax.vmap(lambda g: ravel_pytree(g)[0])(jax.jacobian(small.apply)(params, x)))
    phi, phi_test = np.split(np.asarray(features(np.r_[x, x_test])), [len(x)])
    students = NestedStudents(x, lambda a, b: small.empirical_ntk(params, jnp.asarray(a), jnp.asarray(b)))
    z_0, z_0_test = np.split(np.asarray(small.apply(params, np.r_[x, x_test])), [len(x)])
    delta_z = z[:, 0] - z_0
    norms = students.weight_norms(delta_z)
    for n in (1, 5, 12):
        change = np.linalg.lstsq(phi[:n], delta_z[:n], rcond=None)[0]
        assert norms[n - 1] == pytest.approx(np.linalg.norm(change), rel=1e-9)
        prediction = z_0_test + students.predict(x_test, delta_z, [n])[0]
        assert prediction == pytest.approx(z_0_test + phi_test @ change, rel=1e-9, abs=1e-9)


# --- What is refused ----------------------------------------------------------------------------


def test_repeated_samples_are_named():
    x, *_ = data(8)
    x[41] = x[13]
    with pytest.raises(ValueError, match=r"sample 41 .* nearest is sample 13, with a correlation of 1: drop it, or"):
        NestedStudents(x, network.ntk)
    # LAPACK alone would let this one pass: its pivot is rounding, but positive.
    x[41] = x[13] + 1e-14
    with pytest.raises(ValueError, match=r"sample 41 .* nearest is sample 13"):
        NestedStudents(x, network.ntk)


def test_a_pivot_of_rounding_is_not_taken_for_a_sample():
    """Rank 3 and rounding noise that leaves every pivot positive."""
    features = np.random.default_rng(0).normal(size=(6, 3))
    gram = features @ features.T + 1e-16 * np.diag(np.arange(1, 7))
    with pytest.raises(ValueError, match="sample 3 "):
        NestedStudents(np.arange(6.0)[:, None], lambda a, b: gram)


MEMORY_AND_BLOCKS = pytest.mark.parametrize("engine", [{}, {"engine": "dask", "chunks": 2}])


def refusal(*arguments, **options):
    with pytest.raises(ValueError) as error:
        NestedStudents(*arguments, **options)
    return str(error.value)


@MEMORY_AND_BLOCKS
@pytest.mark.parametrize("jitter", [0, 1e-3, 1])
def test_a_kernel_that_is_not_positive_definite_is_not_blamed_on_the_samples(engine, jitter):
    x, kernel = [[0.0], [1.0], [3.0]], lambda a, b: 1 - np.abs(a - b.T)
    message = refusal(x, kernel, jitter=jitter, **engine)
    assert message == ("kernel(x, x) must be positive definite, got the eigenvalue -1.24 among 3 samples: "
                       "use another kernel, or a jitter from 1.3 up and accept its bias")
    assert np.linalg.eigvalsh(kernel(np.array(x), np.array(x)))[0] == pytest.approx(-1.24, abs=0.005)


@pytest.mark.parametrize("x, kernel", [
    ([[0.0], [1.0], [3.0]], lambda a, b: 1 - np.abs(a - b.T)),
    (np.arange(1200.0)[:, None] % 1000, lambda a, b: np.exp(-np.abs(a - b.T))),
    (np.arange(1.0, 7.0)[:, None], lambda a, b: a @ b.T),
    (np.arange(40.0)[:, None] / 40, lambda a, b: np.exp(-np.abs(a - b.T) ** 2).astype(np.float32)),
])
def test_the_jitter_that_a_message_names_is_enough(x, kernel):
    jitter = float(re.search(r"a jitter from (\S+) up", refusal(x, kernel))[1])
    assert np.isfinite(NestedStudents(x, kernel, jitter=jitter).weight_norms(np.ones(len(x)))).all()
    assert "a jitter from" in refusal(x, kernel, jitter=jitter / 10)


@MEMORY_AND_BLOCKS
def test_a_kernel_in_single_precision_may_be_as_asymmetric_as_its_rounding(engine):
    """As torch's distances are; the same in double precision is no rounding."""
    x = np.arange(5.0)[:, None]

    def uneven(a, b):
        values = np.exp(-np.abs(a - b.T)).astype(np.float32)
        return np.where(a > b.T, values * np.float32(1 + 2**-22), values)

    norms = NestedStudents(x, uneven, **engine).weight_norms(np.ones(5))
    exact = NestedStudents(x, lambda a, b: np.exp(-np.abs(a - b.T)), **engine).weight_norms(np.ones(5))
    assert norms == pytest.approx(exact, rel=1e-6)
    assert "average it with its transpose" in refusal(x, lambda a, b: uneven(a, b).astype(float), **engine)


@MEMORY_AND_BLOCKS
@pytest.mark.parametrize("kernel, message", [
    (lambda a, b: np.zeros((len(a), len(b))), "kernel(x, x) must be positive on the diagonal, got 0 at sample 0: "),
    (lambda a, b: np.ones((len(a), 1)), "kernel(x, x) must have shape (3, 3), got (3, 1): "),
    (lambda a, b: np.full((len(a), len(b)), "1"), "kernel(x, x) must be numeric, got ndarray of shape (3, "),
    (fully_connected(1, width=8), "kernel must be a function k(x1, x2), got a Network: pass its method ntk"),
])
def test_kernels_that_are_none_are_refused(engine, kernel, message):
    assert refusal([[0.0], [1.0], [3.0]], kernel, **engine).startswith(message)


def test_jitter_lets_repeated_samples_in_and_shortens_the_weights():
    x, _, z = data(9)
    plain, biased = (NestedStudents(x, network.ntk, jitter=j).weight_norms(z) for j in (0, 1e-3))
    assert (biased < plain).all()
    x[41] = x[13]
    assert np.isfinite(NestedStudents(x, network.ntk, jitter=1e-3).weight_norms(z)).all()


def test_the_kernels_own_matrix_is_left_as_it_is():
    x, *_ = data(10)
    gram = network.ntk(x)
    kept = gram.copy()
    NestedStudents(x, lambda a, b: gram)
    assert np.array_equal(gram, kept)


def test_bad_arguments_are_refused():
    x, x_test, z = data(11, n=5)
    students = NestedStudents(x, network.ntk)
    with pytest.raises(ValueError, match=r"delta_z must be finite, got inf.*at rho = 0 no finite target exists"):
        students.weight_norms([np.inf, 0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"delta_z must have shape \(5,\) or \(5, k\), got \(4,\)"):
        students.weight_norms(np.zeros(4))
    for bad in (x_test[0], x_test[:, :1]):
        for method in (lambda x: students.predict(x, z), students.distance):
            with pytest.raises(ValueError, match=r"x_test must have shape \(m, 2\), got "):
                method(bad)
    with pytest.raises(ValueError, match=r"kernel must be a function k\(x1, x2\), got a Network: pass its"):
        NestedStudents(x, network)
    assert students.predict(x_test, z, []).shape == (0, len(x_test), 2)
    assert students.predict(x_test[:0], z, [2, 3]).shape == (2, 0, 2)
    assert students.distance(x_test[:0], [2]).shape == (1, 0)
    with pytest.raises(ValueError, match="a and b must have as many columns, got 2 and 3"):
        students.inner(z, np.ones((5, 3)))
    for nothing in (np.empty((0, 2)), 3.0):
        assert refusal(nothing, network.ntk).startswith("x must hold at least one sample, got shape (")
    assert refusal([[np.inf, 0.0]], network.ntk).startswith("x must be finite, got inf: ")
    assert refusal([["a"]], network.ntk).startswith("x must be numeric, got [['a']]: ")
    assert refusal(x, network.ntk, jitter="1e-3") == "jitter must be a number, got '1e-3': write it without quotes"
    with pytest.raises(ValueError, match="sizes must be whole numbers from 1 to 5, got 6"):
        students.predict(x_test, z, [1, 6])
    with pytest.raises(ValueError, match=r"kernel\(x, x\) must have shape \(5, 5\), got \(5, 1\)"):
        NestedStudents(x, lambda a, b: np.ones((5, 1)))
    with pytest.raises(ValueError, match=r"kernel\(x, x\) must be symmetric, got 0\.\d+: that is its rel"):
        NestedStudents(x, lambda a, b: network.ntk(a, b) + a[:, :1])
    with pytest.raises(ValueError, match="jitter must lie in"):
        NestedStudents(x, network.ntk, jitter=-1)
    with pytest.raises(ValueError, match="must be positive on the diagonal, got -1 at sample 0"):
        NestedStudents(x, lambda a, b: -np.eye(5))
