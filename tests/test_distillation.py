"""Eq. 2 and Eq. 3 against independent oracles: mpmath at 120 digits, scipy, closed forms."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from strategies import ratios
from tolerances import DERIVATIVE, LOGIT, ROUNDING

from kdlib import (
    correction_logit,
    distillation_loss,
    effective_logit,
    label_smoothing_logit,
    split_threshold,
)
from kdlib.distillation import targets

z_t_s = st.floats(-1e3, 1e3)
labels = st.sampled_from([0, 1])
temperatures = st.floats(np.log(0.05), np.log(1e3)).map(lambda u: float(np.exp(u)))
soft_ratios = st.one_of(
    st.floats(1e-3, 1 - 1e-3),
    st.floats(-300, -3).map(lambda u: 10.0**u),
    st.floats(-15, -3).map(lambda u: 1 - 10.0**u),
)


def sigma(v):
    return mp.exp(v) / (1 + mp.exp(v))  # full relative accuracy where it is tiny


def slope_of_loss(z, z_t, y_g, rho, T):
    """Eq. 3's left side, with each difference of sigmas taken on the side where both are small."""
    side = -1 if z_t > 0 else 1
    soft = side * (sigma(side * z / T) - sigma(side * z_t / T))
    return rho / T * soft + (1 - rho) * (sigma(z) if y_g == 0 else -sigma(-z))


def root_of_eq_3(z_t, y_g, rho, T):
    """By bisection on log |z - z_t| at 120 digits; roots closer than e^-100 count as z_t."""
    with mp.workdps(120):
        z_t, rho, T = mp.mpf(z_t), mp.mpf(rho), mp.mpf(T)
        towards = 2 * y_g - 1
        passed = lambda u: towards * slope_of_loss(z_t + towards * mp.exp(u), z_t, y_g, rho, T) > 0
        low, high = mp.mpf(-100), mp.log(3000 + 60 * T + 2 * abs(z_t) + 2 * abs(z_t / T))
        assert passed(high)
        while high - low > 1e-22:
            middle = (low + high) / 2
            low, high = (low, middle) if passed(middle) else (middle, high)
        return z_t + towards * mp.exp(low)


def check_against_mpmath(z_t, y_g, rho, T):
    exact = root_of_eq_3(z_t, y_g, rho, T)
    error = abs(mp.mpf(float(effective_logit(z_t, y_g, rho=rho, T=T))) - exact)
    assert error <= LOGIT * max(1, abs(exact))


@settings(max_examples=150)
@given(z_t_s, labels, soft_ratios, temperatures)
def test_effective_logit_is_the_root_anywhere(z_t, y_g, rho, T):
    check_against_mpmath(z_t, y_g, rho, T)


@pytest.mark.parametrize("y_g", [0, 1])
@pytest.mark.parametrize("z_t", [-1e3, -8.0, 0.0, 1e-3, 1e3])
@pytest.mark.parametrize("rho", [1e-300, 0.5, 1 - 1e-15])
@pytest.mark.parametrize("T", [1e-100, 0.05, 1.0, 5.0, 1e3, 1e100])
def test_effective_logit_is_the_root_at_the_corners(z_t, y_g, rho, T):
    check_against_mpmath(z_t, y_g, rho, T)


def root_by_halving(z_t, rho, T):
    """Of the logarithm of Eq. 3 for y_g = 1, on arrays: slower than the library's method, and never astray."""
    c = np.log(T) + np.log1p(-rho) - np.log(rho) + np.logaddexp(0, z_t / T)
    passed = lambda z: np.log(-np.expm1((z_t - z) / T)) + np.logaddexp(0, z) - np.logaddexp(0, -z / T) > c
    low, high = z_t, np.full_like(z_t, 1e3)
    for _ in range(80):
        middle = (low + high) / 2
        there = passed(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return high


def test_low_temperatures_do_not_send_the_solver_to_and_fro():
    """Where the equation bends sharply at z = 0, steps from one side of it may end on the other, and back."""
    z_t, rho, T = np.meshgrid(np.linspace(-20, -0.5, 391), 1 - np.logspace(-6, -0.5, 56), [0.05, 0.07, 0.1, 0.14, 0.2])
    exact = root_by_halving(z_t, rho, T)
    assert (abs(effective_logit(z_t, 1, rho=rho, T=T) - exact) <= LOGIT * np.maximum(1, abs(exact))).all()


@pytest.mark.parametrize("rho, T", [(0.05, 5.0), (0.5, 1.0), (0.9, 0.3)])
def test_effective_logit_minimises_the_loss(rho, T):
    """Eq. 3 is the derivative of Eq. 2: a finite step either way costs more."""
    z_t, y_g = np.meshgrid(np.linspace(-9, 9, 19), [0, 1])
    loss = lambda z: distillation_loss(z, z_t, y_g, rho=rho, T=T, mean=False)
    best = effective_logit(z_t, y_g, rho=rho, T=T)
    assert (loss(best) < loss(best - 0.01)).all() and (loss(best) < loss(best + 0.01)).all()


@given(st.floats(-30, 30), labels, st.floats(0.01, 1))
def test_closed_form_at_temperature_one(z_t, y_g, rho):
    # Compare the student's probability of the *wrong* class, which keeps its digits.
    flip = 2 * y_g - 1
    wrong = expit(-flip * float(effective_logit(z_t, y_g, rho=rho, T=1.0)))
    assert wrong == pytest.approx(rho * expit(-flip * z_t), rel=100 * ROUNDING)


def test_limits_in_rho():
    z_t = np.array([-1e3, -2.0, 0.0, 1e-9, 1e3])
    assert (effective_logit(z_t, 1, rho=1.0, T=3.0) == z_t).all()
    assert (effective_logit(z_t, 1, rho=0.0, T=3.0) == np.inf).all()
    assert (effective_logit(z_t, 0, rho=0.0, T=3.0) == -np.inf).all()
    assert split_threshold(rho=1.0, T=3.0) == 0
    assert split_threshold(rho=0.0, T=3.0) == np.inf


@given(st.floats(allow_nan=False, allow_infinity=False), labels,
       ratios, st.floats(1e-3, 1e6))
def test_no_valid_input_gives_nan(z_t, y_g, rho, T):
    assert not np.isnan(effective_logit(z_t, y_g, rho=rho, T=T))
    assert not np.isnan(correction_logit(z_t, y_g, T=T))


def derivatives_by_mpmath(z_t, y_g, rho, T):
    """dz/d(z_t, rho, T) = -l_{z.} / l_{zz}, from Eq. 3 differentiated numerically at high precision."""
    z = root_of_eq_3(z_t, y_g, rho, T)
    with mp.workdps(120):
        slope = lambda z, z_t, rho, T: slope_of_loss(z, z_t, y_g, rho, T)
        at = (z, mp.mpf(z_t), mp.mpf(rho), mp.mpf(T))
        order = lambda i: tuple(int(i == j) for j in range(4))
        curvature = mp.diff(slope, at, order(0))
        return [float(-mp.diff(slope, at, order(i)) / curvature) for i in (1, 2, 3)]


@pytest.mark.parametrize("z_t, y_g, rho, T", [
    (-8.0, 1, 0.5, 5.0), (3.0, 1, 0.05, 5.0), (2.0, 0, 0.9, 0.3), (-2.0, 0, 0.999999, 2.0),
    (0.0, 1, 1e-6, 20.0), (40.0, 0, 0.3, 4.0),
])
def test_derivatives_forward_and_reverse(z_t, y_g, rho, T):
    f = lambda *args: effective_logit(args[0], y_g, rho=args[1], T=args[2])
    exact = derivatives_by_mpmath(z_t, y_g, rho, T)
    for derivative in (jax.grad, jax.jacfwd):
        assert np.allclose(derivative(f, (0, 1, 2))(z_t, rho, T), exact, rtol=DERIVATIVE, atol=DERIVATIVE)


def test_derivatives_at_the_ends_of_rho():
    f = lambda z, rho, T: effective_logit(z, 1, rho=rho, T=T)
    at_one = jax.grad(f, (0, 1, 2))(-3.0, 1.0, 5.0)
    assert np.allclose(at_one, [1, -correction_logit(-3.0, 1, T=5.0), 0], rtol=ROUNDING, atol=0)
    by_z_t, by_rho, by_T = jax.grad(f, (0, 1, 2))(-3.0, 0.0, 5.0)
    nearly = jax.grad(f, (0, 1, 2))(-3.0, 1e-250, 5.0)
    assert by_rho == -np.inf and np.allclose([by_z_t, by_T], [nearly[0], nearly[2]], rtol=1e-9)


@pytest.mark.parametrize("rho, T", [(1.0, 0.05), (0.5, 1.0), (1e-300, 1e3)])
@pytest.mark.parametrize("z_t", [-1e3, 900.0])
def test_gradient_in_z_t_is_finite_where_eq_3_underflows(z_t, rho, T):
    assert np.isfinite(jax.grad(lambda z: effective_logit(z, 1, rho=rho, T=T))(z_t))


def test_second_derivative():
    f = lambda z: effective_logit(z, 1, rho=0.5, T=5.0)
    h = 1e-4
    difference = (jax.grad(f)(-8.0 + h) - jax.grad(f)(-8.0 - h)) / (2 * h)
    assert float(jax.hessian(f)(-8.0)) == pytest.approx(float(difference), rel=1e-6)


def test_jit_vmap_and_broadcasting_agree():
    z_t, rho = np.linspace(-9, 9, 7), np.array([[0.2], [0.8]])
    whole = effective_logit(z_t, 1, rho=rho, T=2.0)
    f = lambda z, r: effective_logit(z, 1, rho=r, T=2.0)
    rows = jax.jit(jax.vmap(jax.vmap(f, (0, None)), (None, 0)))(z_t, rho[:, 0])
    assert whole.shape == (2, 7)
    assert np.allclose(whole, rows, rtol=ROUNDING, atol=ROUNDING)


@given(st.floats(-30, 30), st.floats(-30, 30), labels, ratios, st.floats(0.1, 30))
def test_loss_is_eq_2_with_no_temperature_squared(z_s, z_t, y_g, rho, T):
    def cross_entropy(p, q):
        return -p * mp.log(q) - (1 - p) * mp.log(1 - q)

    with mp.workdps(400):
        z_s_, z_t_, T_ = mp.mpf(z_s), mp.mpf(z_t), mp.mpf(T)
        exact = rho * cross_entropy(sigma(z_t_ / T_), sigma(z_s_ / T_))
        exact += (1 - mp.mpf(rho)) * cross_entropy(mp.mpf(y_g), sigma(z_s_))
    assert float(distillation_loss(z_s, z_t, y_g, rho=rho, T=T)) == pytest.approx(float(exact), rel=1e-12, abs=1e-14)


def test_loss_per_sample_and_mean():
    z_s, z_t, y_g = np.array([0.0, 1.0, -2.0]), np.array([1.0, -1.0, 3.0]), np.array([1, 0, 1])
    each = distillation_loss(z_s, z_t, y_g, rho=0.3, T=2.0, mean=False)
    assert each.shape == (3,)
    assert float(distillation_loss(z_s, z_t, y_g, rho=0.3, T=2.0)) == pytest.approx(float(each.mean()))
    assert np.isfinite(distillation_loss(1e4, -1e4, 0, rho=0.5, T=0.05))


@given(z_t_s.filter(lambda z: abs(z) < 50), labels, st.floats(0.5, 20))
def test_correction_logit_is_the_formula_of_section_5(z_t, y_g, T):
    with mp.workdps(80):
        s = sigma(mp.mpf(z_t) / T)
        exact = float(mp.mpf(T) ** 2 * (y_g - sigma(mp.mpf(z_t))) / (s * (1 - s)))
    assert float(correction_logit(z_t, y_g, T=T)) == pytest.approx(exact, rel=1e-12)


@given(labels, st.floats(1e-3, 1))
def test_label_smoothing_logit_fits_the_smoothed_label(y_g, epsilon):
    smoothed = (1 - epsilon) * y_g + epsilon / 2
    assert float(label_smoothing_logit(y_g, epsilon=epsilon)) == pytest.approx(logit(smoothed), rel=1e-10, abs=1e-12)


@given(labels, st.floats(1e-300, 1))
def test_label_smoothing_is_an_undecided_teacher_at_temperature_one(y_g, epsilon):
    distilled = effective_logit(0.0, y_g, rho=epsilon, T=1.0)
    assert float(label_smoothing_logit(y_g, epsilon=epsilon)) == pytest.approx(float(distilled), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("call, message", [
    (lambda: effective_logit(1.0, 1, rho=1.5, T=1.0), r"rho must lie in \[0, 1\], got 1.5: give a fraction"),
    (lambda: effective_logit(1.0, 1, rho=np.nan, T=1.0), r"rho must lie in \[0, 1\], got nan"),
    (lambda: effective_logit(1.0, 1, rho=0.5, T=0.0), "T must be positive and finite, got 0: T = 1 leaves"),
    (lambda: effective_logit(1.0, 1, rho=0.5, T=-2), "T must be positive and finite, got -2"),
    (lambda: effective_logit(1.0, 1, rho=0.5, T=1e-310), "T must lie between 1e-100 and 1e100, got 1e-310"),
    (lambda: effective_logit(1.0, 1, rho=1e-310, T=1), "rho must be 0 or at least 1e-300, got 1e-310: .* write 0"),
    (lambda: distillation_loss([], [], [], rho=0.5, T=1), r"must hold at least one sample, got shapes \(0,\), "),
    (lambda: effective_logit([1.0, np.nan, np.inf], 1, rho=0.5, T=1), r"z_t must be finite, got nan \(and 1 more\)"),
    (lambda: effective_logit("one", 1, rho=0.5, T=1), "z_t must be numeric, got 'one': give a number"),
    (lambda: effective_logit(1.0, -1, rho=0.5, T=1), "y_g must be 0 or 1, got -1: encode"),
    (lambda: effective_logit(np.ones(3), np.ones(2), rho=0.5, T=1),
     r"shapes must broadcast, got z_t \(3,\), y_g \(2,\)"),
    (lambda: distillation_loss(np.nan, 1.0, 1, rho=0.5, T=1), "z_s must be finite, got nan"),
    (lambda: correction_logit(1.0, 1, T=0), "T must be positive"),
    (lambda: label_smoothing_logit(1, epsilon=2), r"epsilon must lie in \[0, 1\], got 2"),
    (lambda: split_threshold(rho=-0.1, T=1), r"rho must lie in \[0, 1\], got -0.1"),
    (lambda: jax.jit(lambda z: effective_logit(z, 1, rho=1.5, T=1.0))(1.0), "rho must lie"),
])
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()


COLUMN, ROW = np.array([[1.0], [-2.0], [3.0]]), np.array([1.0, -2.0, 3.0])


@pytest.mark.parametrize("call", [
    lambda z, y: distillation_loss(z, ROW, y, rho=0.5, T=1), lambda z, y: distillation_loss(ROW, z, y, rho=0.5, T=1),
    lambda z, y: distillation_loss(z, z, y, rho=0.5, T=1, mean=False),
    lambda z, y: effective_logit(z, y, rho=0.5, T=1), lambda z, y: correction_logit(z, y, T=1),
    lambda z, y: targets(ROW, y, rho=0.5, T=1, z_0=z),
    lambda z, y: jax.jit(lambda z: effective_logit(z, y, rho=0.5, T=1))(z),
])
def test_a_column_beside_a_row_of_the_same_samples_is_refused(call):
    """It would become all pairs, and a wrong mean."""
    with pytest.raises(ValueError, match=r"must have one shape for the same samples, got .*, which would pair all"):
        call(COLUMN, [1, 0, 1])


def test_samples_may_share_what_others_repeat():
    several = np.stack([ROW, ROW + 1])
    loss = distillation_loss(several, ROW, [1, 0, 1], rho=0.5, T=1.0, mean=False)
    assert loss.shape == (2, 3)
    assert np.array_equal(loss[1], distillation_loss(ROW + 1, ROW, [1, 0, 1], rho=0.5, T=1.0, mean=False))
    columns = effective_logit(COLUMN, [[1], [0], [1]], rho=[0.2, 0.9], T=1.0)
    assert np.array_equal(columns[:, 1], effective_logit(ROW, [1, 0, 1], rho=0.9, T=1.0))


def test_a_mean_over_several_rho_is_refused():
    samples = COLUMN, COLUMN, [[1], [0], [1]]
    with pytest.raises(ValueError, match=r"rho, T must be numbers, or one for each sample, got rho \(2,\), T \(\) bes"):
        distillation_loss(*samples, rho=[0.2, 0.9], T=1.0)
    assert distillation_loss(*samples, rho=[0.2, 0.9], T=1.0, mean=False).shape == (3, 2)
    assert distillation_loss(ROW, ROW, [1, 0, 1], rho=[0.2, 0.9, 1.0], T=1.0).shape == ()


@pytest.mark.parametrize("z_s, rho, expected", [(1e308, 0.5, 0), (-1e308, 0, 1e308), (-1e308, 0.5, np.inf)])
def test_logits_that_overflow_at_a_low_temperature_do_not_give_nan(z_s, rho, expected):
    assert float(distillation_loss(z_s, 1e308, 1, rho=rho, T=1e-3)) == expected


def test_the_loss_has_a_slope_in_rho_at_both_ends():
    loss = lambda rho: distillation_loss(1.0, -2.0, 1, rho=rho, T=2.0)
    for rho in (0.0, 1.0):
        assert float(jax.grad(loss)(rho)) == pytest.approx(float(loss(1.0) - loss(0.0)), rel=1e-12)


def test_results_are_float64():
    assert effective_logit(np.float32(1), 1, rho=0.5, T=1).dtype == jnp.float64


def test_targets_are_effective_logits_less_the_start_and_signs_where_those_are_infinite():
    z_t, y_g, rho = np.array([[-2.0], [0.5], [3.0]]), np.array([[1], [0], [1]]), np.array([1.0, 0.9, 0.0])
    found = targets(z_t, y_g, rho=rho, T=5.0, z_0=np.full((3, 1), 0.25))
    assert np.allclose(found[:, :2], effective_logit(z_t, y_g, rho=rho[:2], T=5.0) - 0.25, rtol=0, atol=LOGIT)
    assert found[:, 2].tolist() == [1, -1, 1]
    nearly = effective_logit(z_t, y_g, rho=np.full((3, 1), 1e-300), T=5.0)[:, 0]
    assert np.allclose(nearly / abs(nearly).max(), found[:, 2], atol=0.01)
