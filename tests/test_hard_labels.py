"""Theorem 2 and the floor of the pointwise correction, against derivatives, vectors and mpmath."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.scipy.linalg import solve_triangular
from strategies import ratios
from tolerances import DERIVATIVE, LOGIT, NESTED

from kdlib.distillation import correction_logit, effective_logit
from kdlib.hard_labels import (
    correction_floor,
    ground_truth_cosine,
    hard_label_derivative,
    hard_label_projection,
    largest_soft_ratio,
)
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents

NETWORK = fully_connected(2)
TEMPERATURES = [0.5, 1.0, 2.0, 5.0, 10.0]
DIFFERENCES = 1e-6  # Theorem 2 against one-sided differences in float64, relative


def linear(a, b):
    return a @ b.T


def task(seed, N=40, d=2):
    """A ground truth, and a teacher that is wrong about some of the samples."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, d))
    z_g = np.sin(2 * x[:, 0]) + x[:, 1]
    z_t = 1.5 * z_g + rng.standard_normal(N)
    return NestedStudents(x, NETWORK.ntk), z_t, z_g > 0, z_g


# --- Theorem 2 is the derivative of the cosine ------------------------------------------------------


def one_sided_slope(f, scale, levels=8):
    """Slope of f at 0 from values at 0, h, h/2, ...: forward differences, extrapolated to h = 0 (Richardson)."""
    h = scale * 0.5 ** np.arange(levels)
    table = np.array([(f(step) - f(0.0)) / step for step in h])
    for order in range(1, levels):
        table = (2**order * table[1:] - table[:-1]) / (2**order - 1)
    return table[0]


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("norm", [None, 50.0])
def test_derivative_agrees_with_finite_differences(T, norm):
    students, z_t, y_g, z_g = task(0)
    z_0 = 0.1 * np.cos(students.x[:, 0])
    exact = hard_label_derivative(students, z_t, y_g, z_g, T=T, z_0=z_0, norm=norm)
    cosine = lambda hard: ground_truth_cosine(students, z_t, y_g, z_g, rho=1 - hard, T=T, z_0=z_0, norm=norm)
    # Steps on the scale on which the largest correction is comparable to a logit of 1.
    slope = one_sided_slope(cosine, 0.2 / np.abs(correction_logit(z_t, y_g, T=T)).max())
    np.testing.assert_allclose(slope[1:], exact[1:], rtol=DIFFERENCES)
    assert exact[0] == 0


SIZES = (2, 3, 10, 40)


@jax.jit
def slopes_of_cosines(L, z_t, y_g, z_g, z_0, T):
    def cosine(hard, n):
        s = solve_triangular(L[:n, :n], effective_logit(z_t[:n], y_g[:n], rho=1 - hard, T=T) - z_0[:n], lower=True)
        g = solve_triangular(L[:n, :n], z_g[:n] - z_0[:n], lower=True)
        return g @ s / jnp.sqrt((g @ g) * (s @ s))

    return [jax.grad(cosine)(0.0, n) for n in SIZES]


@pytest.mark.parametrize("T", TEMPERATURES)
def test_derivative_agrees_with_automatic_differentiation(T):
    students, z_t, y_g, z_g = task(1)
    z_0 = 0.1 * np.cos(students.x[:, 0])
    exact = hard_label_derivative(students, z_t, y_g, z_g, T=T, z_0=z_0)
    slopes = slopes_of_cosines(np.tril(students.factor), z_t, y_g, z_g, z_0, T)
    assert np.array(slopes) == pytest.approx(exact[np.array(SIZES) - 1], rel=DERIVATIVE)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_derivative_agrees_with_central_differences_in_50_digits(T):
    """Eq. 3 has a root on both sides of rho = 1, though only one is a distillation."""
    students, z_t, y_g, z_g = task(2, N=6)
    gram = mp.matrix(NETWORK.ntk(students.x).tolist())
    sigma = lambda z: 1 / (1 + mp.exp(-z))

    def root(z, y, hard):
        f = lambda s: (1 - hard) / T * (sigma(s / T) - sigma(mp.mpf(z) / T)) + hard * (sigma(s) - int(y))
        return mp.findroot(f, mp.mpf(z))

    with mp.workdps(50):
        for n in (2, 4, 6):
            inverse = gram[:n, :n] ** -1
            inner = lambda a, b, inverse=inverse: (a.T * inverse * b)[0]
            g = mp.matrix(z_g[:n].tolist())

            def cosine(hard, n=n, inner=inner, g=g):
                s = mp.matrix([root(z, y, hard) for z, y in zip(z_t[:n], y_g[:n], strict=True)])
                return inner(g, s) / mp.sqrt(inner(g, g) * inner(s, s))

            h = mp.mpf(10) ** -12
            slope = (cosine(h) - cosine(-h)) / (2 * h)
            assert hard_label_derivative(students, z_t, y_g, z_g, T=T)[n - 1] == pytest.approx(float(slope), rel=NESTED)


# --- Geometry, against explicit vectors -------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_projection_and_its_parts_are_those_of_the_weight_vectors(seed):
    rng = np.random.default_rng(seed)
    phi, w_g, w_t = rng.standard_normal((12, 30)), rng.standard_normal(30), rng.standard_normal(30)
    z_g, z_t, z_0 = phi @ w_g, phi @ w_t, 0.3 * rng.standard_normal(12)
    y_g, T = z_g > 0, 3.0
    students = NestedStudents(phi, linear)
    parts = hard_label_projection(students, z_t, y_g, z_g, T=T, z_0=z_0)
    delta_h = np.asarray(correction_logit(z_t, y_g, T=T))
    for n in range(1, 13):
        weights = lambda z, n=n: np.linalg.lstsq(phi[:n], z[:n])[0]
        dw_t, dw_g, dw_h = weights(z_t - z_0), weights(z_g - z_0), weights(delta_h)
        dw_c = dw_g - dw_t * (dw_t @ dw_g) / (dw_t @ dw_t)
        lengths = [np.linalg.norm(w) for w in (dw_h, dw_c, dw_t, dw_g)]
        along = (dw_g - dw_c) @ dw_h
        expected = [dw_h @ dw_c, dw_h @ dw_g, along, *lengths]
        found = [part[n - 1] for part in parts]
        np.testing.assert_allclose(found, expected, rtol=NESTED, atol=NESTED * lengths[0] * lengths[3])


def test_projection_of_a_nearly_perfect_teacher_keeps_its_digits():
    """Of two inner products' difference only rounding would be left."""
    students, _, y_g, z_g = task(3)
    z_t = 3 * z_g * (1 + 1e-10 * np.cos(np.arange(len(z_g))))
    found = hard_label_projection(students, z_t, y_g, z_g, T=5.0).projection
    with mp.workdps(50):
        L = np.tril(students.factor)
        t, g, h = (mp.lu_solve(mp.matrix(L.tolist()), mp.matrix(np.asarray(z).tolist()))
                   for z in (z_t, z_g, correction_logit(z_t, y_g, T=5.0)))
        dot = lambda a, b, n: mp.fdot(a[:n], b[:n])
        for n in (2, 10, 40):
            exact = dot(g, h, n) - dot(g, t, n) * dot(t, h, n) / dot(t, t, n)
            assert found[n - 1] == pytest.approx(float(exact), rel=1e-4)
    assert found[0] == 0


def test_a_teacher_parallel_to_the_ground_truth_leaves_nothing_to_gain():
    students, _, y_g, z_g = task(4)
    parts = hard_label_projection(students, 2 * z_g, y_g, z_g, T=5.0)
    assert np.abs(parts.projection).max() <= 1e-12 * (parts.correction * parts.truth).max()
    cosine = ground_truth_cosine(students, 2 * z_g, y_g, z_g, rho=1.0, T=5.0)
    np.testing.assert_allclose(cosine, 1, rtol=1e-13)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), rho=ratios, T=st.floats(0.5, 10))
def test_cosine_is_one_and_independent_of_the_norm_up_to_scale(seed, rho, T):
    students, z_t, y_g, z_g = task(seed, N=12)
    cosine = ground_truth_cosine(students, z_t, y_g, z_g, rho=rho, T=T)
    assert (np.abs(cosine) <= 1 + 1e-12).all()
    norms = students.weight_norms(z_g)
    fixed = ground_truth_cosine(students, z_t, y_g, z_g, rho=rho, T=T, norm=2 * norms[-1])
    np.testing.assert_allclose(fixed * 2 * norms[-1], cosine * norms, rtol=1e-12, atol=1e-300)


def test_rho_zero_is_the_limit():
    students, z_t, y_g, z_g = task(5)
    at_zero = ground_truth_cosine(students, z_t, y_g, z_g, rho=0.0, T=5.0, z_0=0.5)
    gaps = [np.abs(ground_truth_cosine(students, z_t, y_g, z_g, rho=rho, T=5.0, z_0=0.5) - at_zero).max()
            for rho in (1e-30, 1e-100, 1e-300)]
    # The logits grow like log(1/rho), and so slowly does the cosine tend to its limit.
    np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], [100 / 30, 3], rtol=0.15)


def test_columns_are_cases_of_their_own():
    students, z_t, y_g, z_g = task(6)
    teachers = np.column_stack([z_t, -z_t, z_g + 0.1])
    ratios, temperatures = [1.0, 0.9, 0.0], [1.0, 2.0, 5.0]
    derivatives = hard_label_derivative(students, teachers, y_g, z_g, T=temperatures)
    cosines = ground_truth_cosine(students, z_t, y_g, z_g, rho=ratios, T=5.0)
    assert derivatives.shape == cosines.shape == (40, 3)
    for k in range(3):
        alone = hard_label_derivative(students, teachers[:, k], y_g, z_g, T=temperatures[k])
        np.testing.assert_allclose(derivatives[:, k], alone, rtol=NESTED, atol=1e-12)
        np.testing.assert_allclose(
            cosines[:, k], ground_truth_cosine(students, z_t, y_g, z_g, rho=ratios[k], T=5.0), rtol=NESTED, atol=1e-12
        )


def test_as_many_columns_as_samples_are_still_columns():
    students, z_t, y_g, z_g = task(7, N=3)
    found = ground_truth_cosine(students, z_t, y_g, z_g, rho=[1.0, 0.9, 0.5], T=5.0)
    np.testing.assert_allclose(found[:, 1], ground_truth_cosine(students, z_t, y_g, z_g, rho=0.9, T=5.0))


# --- The floor --------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0.05, 0.5, 1.0, 5.0, 10.0, 100.0])
@pytest.mark.parametrize("rho", [1e-300, 1e-3, 0.3, 0.5, 0.9, 0.99, 1 - 1e-9])
def test_floor_is_the_root_of_its_equation(rho, T):
    with mp.workdps(60):
        r, T_ = mp.mpf(rho), mp.mpf(T)
        logs = lambda z: mp.log(r / T_) - mp.log1p(mp.exp(-z / T_)) - mp.log(1 - r) + mp.log1p(mp.exp(z))
        z = mp.findroot(logs, (-2000, 2000), solver="anderson", tol=1e-40)
        exact = 1 / (1 + mp.exp(-z))
        assert float(correction_floor(rho=rho, T=T)) == pytest.approx(float(exact), rel=LOGIT * max(1, 100 * T))


@settings(max_examples=50)
@given(rho=ratios, T=st.floats(0.05, 100), z_t=st.floats(-1e3, 1e3), y_g=st.integers(0, 1))
def test_no_teacher_takes_the_right_class_below_the_floor(rho, T, z_t, y_g):
    z = float(effective_logit(z_t, y_g, rho=rho, T=T))
    kept = jax.nn.sigmoid(z if y_g else -z)
    assert kept >= correction_floor(rho=rho, T=T) * (1 - 1e-12 * max(1, 100 * T, abs(z)))


def test_floor_is_approached():
    floor = correction_floor(rho=0.9, T=5.0)
    kept = jax.nn.sigmoid(effective_logit([-10.0, -50.0, -100.0, -150.0], 1, rho=0.9, T=5.0))
    assert (np.diff(kept) < 0).all()
    assert float(kept[-1]) == pytest.approx(float(floor), rel=1e-12)


def test_floor_at_temperature_one_and_its_ends():
    rho = np.linspace(0, 1, 11)
    np.testing.assert_allclose(correction_floor(rho=rho, T=1.0), 1 - rho, rtol=1e-12)
    np.testing.assert_array_equal(correction_floor(rho=[0.0, 1.0], T=[[0.05], [5.0]]), [[1, 0], [1, 0]])
    for T in (0.2, 1.0, 5.0):
        assert float(correction_floor(rho=T / (1 + T), T=T)) == pytest.approx(0.5, rel=1e-12)


@settings(max_examples=50)
@given(p=st.floats(0.001, 0.999), T=st.floats(0.3, 20))
def test_largest_soft_ratio_is_the_inverse(p, T):
    rho = float(largest_soft_ratio(p, T=T))
    # Near rho = 1 a float's spacing is large beside 1 - rho.
    assert float(correction_floor(rho=rho, T=T)) == pytest.approx(p, rel=1e-10 + 1e-15 * (1 + T) / (1 - rho))


def test_largest_soft_ratio_at_its_ends():
    np.testing.assert_array_equal(largest_soft_ratio([0.0, 1.0], T=5.0), [1, 0])


def test_temperature_raises_a_high_floor_and_lowers_a_low_one():
    T = jnp.array([1.0, 2.0, 5.0, 10.0])
    assert (np.diff(correction_floor(rho=0.8, T=T)) > 0).all()
    assert (np.diff(correction_floor(rho=0.999, T=T)) < 0).all()
    # The turn is where u sigma(u) = 1.
    u = 1.2784645427610738
    for T in (0.5, 1.0, 5.0):
        rho = float(largest_soft_ratio(jax.nn.sigmoid(-u * T), T=T))
        slope = jax.grad(lambda T, rho=rho: jnp.log(correction_floor(rho=rho, T=T)))(T)
        assert abs(float(slope)) < 1e-9


# --- Bad input --------------------------------------------------------------------------------------

STUDENTS = NestedStudents(np.eye(2), linear)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: correction_floor(rho=1.5, T=1.0), r"rho must lie in \[0, 1\], got 1.5"),
        (lambda: largest_soft_ratio(0.5, T=0.0), "T must be positive and finite, got 0"),
        (lambda: largest_soft_ratio(-0.5, T=1.0), r"p must lie in \[0, 1\], got -0.5"),
        (lambda: hard_label_derivative(STUDENTS, [0.0, 1.0], [1, 1], [1.0, 1.0], T=1.0),
         "z_t must differ from z_0 at the first sample"),
        (lambda: hard_label_derivative(STUDENTS, [1.0, 1.0], [1, 1], [0.0, 1.0], T=1.0),
         "z_g must differ from z_0 at the first sample"),
        (lambda: hard_label_derivative(STUDENTS, [1.0, 1.0], [1, 1], [1.0, 1.0], T=1.0, norm=1.2),
         "norm must be finite and at least that of the ground truth's student, 1.41421, got 1.2"),
        (lambda: hard_label_derivative(STUDENTS, [-800.0, 1.0], [1, 1], [1.0, 1.0], T=1.0),
         "the correction logit must be finite, got inf: the teacher is too wrong"),
        (lambda: ground_truth_cosine(STUDENTS, [1.0, 1.0], [1, 2], [1.0, 1.0], rho=1.0, T=1.0), "y_g must be 0 or 1"),
        (lambda: ground_truth_cosine(STUDENTS, [1.0, 1.0], [1, 1], [1.0, np.nan], rho=1.0, T=1.0), "z_g must be fin"),
        (lambda: ground_truth_cosine(STUDENTS, [1.0, 1.0], [1, 1], [1.0, 1.0], rho=1.0, T=1.0, z_0=np.inf),
         "z_0 must be finite"),
        (lambda: ground_truth_cosine(STUDENTS, [1.0], [1], [1.0], rho=1.0, T=1.0), "one logit for each of the 2 sam"),
        (lambda: ground_truth_cosine(STUDENTS, np.ones((2, 3)), [1, 1], [1.0, 1.0], rho=[1.0, 0.5], T=1.0),
         "shapes must broadcast"),
        (lambda: hard_label_derivative(STUDENTS, [1.0, 1.0], [1, 1], 1.0, T=1.0), "one logit for each of the 2 sam"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
