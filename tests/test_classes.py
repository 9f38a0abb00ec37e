"""K classes against independent oracles: mpmath at 120 digits, scipy, the two-class functions, closed forms."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from strategies import ratios
from tolerances import DERIVATIVE, LOGIT, ROUNDING

from kdlib.classes import (
    beats,
    class_correction_logit,
    class_distillation_loss,
    class_effective_logit,
    class_targets,
)
from kdlib.distillation import correction_logit, distillation_loss, effective_logit, targets
from kdlib.hard_labels import correction_floor, largest_soft_ratio
from kdlib.inefficiency import class_weight_norms, data_inefficiency
from kdlib.networks import fully_connected
from kdlib.risk import (
    class_power_function_bound,
    class_transfer_risk,
    class_weight_gaps,
    power_function_bound,
    transfer_risk,
    weight_gaps,
)
from kdlib.students import NestedStudents

logits = st.floats(-1e3, 1e3)
labels = st.sampled_from([0, 1])
temperatures = st.floats(np.log(0.05), np.log(1e3)).map(lambda u: float(np.exp(u)))
soft_ratios = st.one_of(
    st.floats(1e-3, 1 - 1e-3),
    st.floats(-300, -3).map(lambda u: 10.0**u),
    st.floats(-15, -3).map(lambda u: 1 - 10.0**u),
)


def teacher(seed, K, kind, size):
    """A teacher's logits of some kind, and a label."""
    rng = np.random.default_rng(seed)
    y_g, z = int(rng.integers(K)), rng.standard_normal(K)
    z_t = {
        "random": z,
        "sure": np.where(np.arange(K) == rng.integers(K), 3.0, 0.0),
        "evenly wrong": np.where(np.arange(K) == y_g, -3.0, 0.0),
        "in two minds": np.where(z > 1, 1.0, -1.0),
        "undecided": np.zeros(K),
        "tied": np.round(z),
    }[kind]
    return np.clip(size * z_t, -900, 900), y_g


KINDS = ["random", "sure", "evenly wrong", "in two minds", "undecided", "tied"]
cases = st.builds(teacher, st.integers(0, 10**6), st.sampled_from([2, 3, 10, 100]), st.sampled_from(KINDS),
                  st.sampled_from([0.1, 1.0, 5.0, 40.0, 300.0]))


# --- The minimiser ----------------------------------------------------------------------------------


def mp_softmax(z):
    largest = max(z)
    powers = [mp.exp(value - largest) for value in z]
    total = mp.fsum(powers)
    return [power / total for power in powers]


def minimiser(z_t, y_g, rho, T, start):
    """Where the loss's gradient is zero to 45 digits and more: there is one such place. Newton's method at 120 digits.

    Of the Hessian, diag(s/T + kappa pi) - s s'/T - kappa pi pi', the second term drops out of steps with s'dz = 0.
    """
    with mp.workdps(120):
        z, z_t = [mp.mpf(float(value)) for value in start], [mp.mpf(value) for value in z_t]
        rho, T = mp.mpf(rho), mp.mpf(T)
        K, kappa, q = len(z), T * (1 - rho) / rho, mp_softmax([value / T for value in z_t])
        for _ in range(12):
            s, pi = mp_softmax([value / T for value in z]), mp_softmax(z)
            wrong = mp.fsum(pi[:y_g] + pi[y_g + 1 :])
            slope = [s[k] - q[k] + kappa * (-wrong if k == y_g else pi[k]) for k in range(K)]
            bend = [s[k] / T + kappa * pi[k] for k in range(K)]
            mean = -mp.fsum(pi[k] * slope[k] / bend[k] for k in range(K))
            mean /= mp.fsum(pi[k] * s[k] / T / bend[k] for k in range(K))
            step = [(kappa * pi[k] * mean - slope[k]) / bend[k] for k in range(K)]
            step = [value - mp.fsum(step) / K for value in step]
            z = [value + change for value, change in zip(z, step, strict=True)]
            if max(map(abs, step)) < mp.mpf(10) ** -45:
                return [value - mp.fsum(z) / K for value in z]
    raise AssertionError("Newton's method did not converge: the start is no minimiser")


def check_against_mpmath(z_t, y_g, rho, T):
    found = np.asarray(class_effective_logit(z_t, y_g, rho=rho, T=T))
    exact = minimiser(z_t, y_g, rho, T, found)
    error = max(abs(mp.mpf(float(a)) - b) for a, b in zip(found, exact, strict=True))
    assert error <= LOGIT * max(1, *map(abs, exact))


@settings(max_examples=150)
@given(cases, soft_ratios, temperatures)
def test_effective_logits_are_the_minimiser_anywhere(case, rho, T):
    check_against_mpmath(*case, rho, T)


@settings(max_examples=30)
@given(cases, st.floats(-1e-9, 1e-9), temperatures)
def test_effective_logits_where_the_label_just_wins(case, shift, T):
    check_against_mpmath(*case, (1 + shift) * T / (1 + T), T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rho", [1e-300, 0.5, 1 - 1e-15])
@pytest.mark.parametrize("T", [0.05, 1.0, 5.0, 1e3])
def test_effective_logits_are_the_minimiser_at_the_corners(kind, rho, T):
    check_against_mpmath(*teacher(0, 10, kind, 300.0), rho, T)


@pytest.mark.parametrize("kind, size, rho, T", [
    ("random", 5.0, 0.9, 5.0), ("evenly wrong", 300.0, 0.1, 0.1), ("sure", 40.0, 1e-100, 2.0),
    ("random", 0.1, 0.5, 1e3),
])
def test_effective_logits_of_a_thousand_classes(kind, size, rho, T):
    check_against_mpmath(*teacher(1, 1000, kind, size), rho, T)


@pytest.mark.parametrize("rho, T", [(0.05, 5.0), (0.5, 1.0), (0.9, 0.3), (0.99, 20.0)])
@pytest.mark.parametrize("K", [3, 10])
def test_effective_logits_minimise_the_loss(K, rho, T):
    """By scipy, which stops where the loss is flat to half the digits."""
    z_t, y_g = teacher(2, K, "random", 1.0)
    loss = lambda z: class_distillation_loss(z, z_t, y_g, rho=rho, T=T)
    best = class_effective_logit(z_t, y_g, rho=rho, T=T)
    found = minimize(jax.jit(jax.value_and_grad(loss)), np.zeros(K), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert np.allclose(found.x - found.x.mean(), best, atol=1e-5)
    assert loss(best) <= loss(found.x) + 1e-14
    assert np.abs(jax.grad(loss)(best)).max() < 1e-14


@settings(max_examples=100)
@given(logits, logits, labels, st.one_of(st.just(0.0), soft_ratios, st.just(1.0)), temperatures)
def test_two_classes_are_the_effective_logit(t_0, t_1, y_g, rho, T):
    z = class_effective_logit([t_0, t_1], y_g, rho=rho, T=T)
    one = effective_logit(t_1 - t_0, y_g, rho=rho, T=T)
    assert float(z[1] - z[0]) == pytest.approx(float(one), rel=2 * LOGIT, abs=2 * LOGIT)


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_closed_form_at_temperature_one(seed, rho):
    z_t, y_g = teacher(seed, 10, "random", 5.0)
    mixture = np.log(rho) + log_softmax(z_t)
    mixture[y_g] = np.logaddexp(mixture[y_g], np.log1p(-rho))
    z = class_effective_logit(z_t, y_g, rho=rho, T=1.0)
    assert np.allclose(z, mixture - mixture.mean(), rtol=0, atol=1000 * ROUNDING)


def test_limits_in_rho():
    z_t = np.array([[-900.0, 2.0, 901.0], [0.0, 1e-9, 5.0]])
    soft, hard = (class_effective_logit(z_t, [0, 2], rho=rho, T=3.0) for rho in (1.0, 0.0))
    np.testing.assert_allclose(soft, z_t - z_t.mean(axis=1, keepdims=True), rtol=ROUNDING)
    np.testing.assert_array_equal(hard, [[np.inf, -np.inf, -np.inf], [-np.inf, -np.inf, np.inf]])


@pytest.mark.parametrize("T", [0.5, 1.0, 5.0])
def test_the_logits_of_small_soft_ratios_point_to_the_label(T):
    z_t, y_g = teacher(0, 5, "random", 3.0)
    direction = class_targets(z_t, y_g, rho=0.0, T=T)
    assert np.allclose(direction, np.eye(5)[y_g] - 0.2)
    away = lambda rho: np.abs((z := class_effective_logit(z_t, y_g, rho=rho, T=T)) / np.ptp(z) - direction).max()
    # The others' distances stay while the label's grows like log(1/rho).
    assert away(1e-300) == pytest.approx(away(1e-30) / 10, rel=0.2)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.floats(-3, 8), st.one_of(ratios, st.sampled_from([0.0, 1e-300, 1.0])),
       st.floats(-3, 6))
def test_no_valid_input_gives_nan(seed, size, rho, T):
    z_t, y_g = teacher(seed, 5, "random", 1.0)
    z_t, T = np.clip(10.0**size * z_t, -1e8, 1e8), 10.0**T
    assert not np.isnan(class_effective_logit(z_t, y_g, rho=rho, T=T)).any()
    assert not np.isnan(class_correction_logit(z_t, y_g, T=T)).any()


# --- Derivatives ------------------------------------------------------------------------------------


def derivative_by_mpmath(z_t, y_g, rho, T, direction):
    """Of the minimiser, along a direction in (z_t, rho, T): a central difference with a step of 1e-30."""
    start = class_effective_logit(z_t, y_g, rho=rho, T=T)
    with mp.workdps(120):
        h = mp.mpf(10) ** -30
        at = lambda sign: minimiser([mp.mpf(z) + sign * h * d for z, d in zip(z_t, direction[0], strict=True)], y_g,
                                    mp.mpf(rho) + sign * h * direction[1], mp.mpf(T) + sign * h * direction[2], start)
        return np.array([float((a - b) / (2 * h)) for a, b in zip(at(1), at(-1), strict=True)])


of_all = lambda z_t, rho, T, y_g: class_effective_logit(z_t, y_g, rho=rho, T=T)
reverse, forward = (jax.jit(derivative(of_all, (0, 1, 2))) for derivative in (jax.jacrev, jax.jacfwd))


@pytest.mark.parametrize("kind, size, rho, T", [
    ("random", 3.0, 0.5, 5.0), ("random", 40.0, 0.05, 2.0), ("sure", 5.0, 0.9, 0.3), ("tied", 3.0, 0.999999, 2.0),
    ("random", 1.0, 1e-6, 20.0), ("evenly wrong", 5.0, 0.3, 0.5), ("random", 300.0, 0.97, 20.0),
    ("sure", 5.0, 0.8, 1.0),
])
def test_derivatives_forward_and_reverse(kind, size, rho, T):
    z_t, y_g = teacher(3, 5, kind, size)
    exact = [np.stack([derivative_by_mpmath(z_t, y_g, rho, T, (row, 0, 0)) for row in np.eye(5)], axis=1),
             derivative_by_mpmath(z_t, y_g, rho, T, (np.zeros(5), 1, 0)),
             derivative_by_mpmath(z_t, y_g, rho, T, (np.zeros(5), 0, 1))]
    for derivative in (reverse, forward):
        for found, right in zip(derivative(z_t, rho, T, y_g), exact, strict=True):
            assert np.allclose(found, right, rtol=DERIVATIVE, atol=DERIVATIVE * max(1, np.abs(right).max()))


@pytest.mark.parametrize("derivative", [reverse, forward])
def test_derivatives_at_the_ends_of_rho(derivative):
    z_t, y_g = teacher(4, 5, "random", 3.0)
    by_z, by_rho, by_T = derivative(z_t, 1.0, 5.0, y_g)
    assert np.allclose(by_z, np.eye(5) - 0.2, atol=ROUNDING) and np.allclose(by_T, 0, atol=ROUNDING)
    assert np.allclose(by_rho, -class_correction_logit(z_t, y_g, T=5.0), rtol=ROUNDING, atol=0)
    by_z, by_rho, by_T = derivative(z_t, 0.0, 5.0, y_g)
    nearly = derivative(z_t, 1e-200, 5.0, y_g)
    assert np.allclose(by_z, nearly[0], rtol=1e-9) and np.allclose(by_T, nearly[2], rtol=1e-9)
    assert (np.abs(by_rho) > 1e306).all() and ((by_rho < 0) == (np.arange(5) == y_g)).all()


def test_two_classes_have_the_derivatives_of_the_effective_logit():
    both = lambda z, rho, T: jnp.diff(class_effective_logit(jnp.array([0.0, z]), 0, rho=rho, T=T))[0]
    one = lambda z, rho, T: effective_logit(z, 0, rho=rho, T=T)
    both, one = (jax.jit(jax.grad(f, (0, 1, 2))) for f in (both, one))
    for at in ((-8.0, 0.5, 5.0), (3.0, 0.9, 0.3), (40.0, 0.3, 4.0)):
        assert np.allclose(both(*at), one(*at), rtol=DERIVATIVE, atol=1e-12)


def test_second_derivative():
    z_t, y_g = teacher(5, 4, "random", 3.0)
    f = lambda z: class_effective_logit(z, y_g, rho=0.9, T=5.0)[1]
    gradient, h = jax.jit(jax.grad(f)), 1e-4
    differences = [(gradient(z_t + h * row) - gradient(z_t - h * row)) / (2 * h) for row in np.eye(4)]
    assert np.allclose(jax.jit(jax.hessian(f))(z_t), differences, rtol=1e-5, atol=1e-8)


def test_jit_vmap_and_broadcasting_agree():
    z_t = 3 * np.random.default_rng(0).standard_normal((7, 4))
    y_g, rho = np.arange(7) % 4, np.array([[0.2], [0.8]])
    whole = class_effective_logit(z_t, y_g, rho=rho, T=2.0)
    f = lambda z, y, r: class_effective_logit(z, y, rho=r, T=2.0)
    rows = jax.jit(jax.vmap(jax.vmap(f, (0, 0, None)), (None, None, 0)))(z_t, y_g, rho[:, 0])
    assert whole.shape == (2, 7, 4)
    assert np.allclose(whole, rows, rtol=ROUNDING, atol=ROUNDING)
    assert class_effective_logit(np.float32(z_t), y_g, rho=0.5, T=1).dtype == jnp.float64


# --- Properties -------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(cases, soft_ratios, temperatures)
def test_logits_are_centred_and_other_classes_keep_the_teachers_order(case, rho, T):
    z_t, y_g = case
    z = np.asarray(class_effective_logit(z_t, y_g, rho=rho, T=T))
    size = max(1, np.abs(z).max())
    assert abs(z.mean()) <= LOGIT * size
    others = np.delete(np.arange(len(z)), y_g)
    order = others[np.argsort(z_t[others])]
    assert (np.diff(z[order]) >= -2 * LOGIT * size).all()


@settings(max_examples=150)
@given(cases, soft_ratios, temperatures)
def test_the_label_beats_whom_the_pairwise_rule_says(case, rho, T):
    z_t, y_g = case
    z = np.asarray(class_effective_logit(z_t, y_g, rho=rho, T=T))
    lead, clear = z[y_g] - z, 2 * LOGIT * max(1, np.abs(z).max())
    rule = np.asarray(beats(z_t, y_g, rho=rho, T=T))
    assert rule[y_g]
    assert (rule[lead > clear]).all() and not rule[lead < -clear].any()


@settings(max_examples=50)
@given(cases, temperatures)
def test_no_teacher_wins_up_to_the_limit_and_a_sure_one_does_beyond(case, T):
    z_t, y_g = case
    assert beats(z_t, y_g, rho=T / (1 + T) * (1 - 1e-12), T=T).all()
    wrong = (y_g + 1) % len(z_t)
    assert not beats(1e6 * np.eye(len(z_t))[wrong], y_g, rho=T / (1 + T) * (1 + 1e-9), T=T)[wrong]


def test_the_rule_at_the_ends_of_rho_at_ties_and_for_masked_classes():
    z_t = [0.0, 1.0, 0.0, -1.0]
    np.testing.assert_array_equal(beats(z_t, 0, rho=1.0, T=2.0), [True, False, False, True])
    assert beats(z_t, 1, rho=1.0, T=2.0).all() and beats(z_t, 3, rho=0.0, T=2.0).all()
    assert beats([0.0, 1.0, -1.7e308, np.finfo(float).min], 0, rho=0.9, T=0.5)[2:].all()
    # Two classes that differ by less than their probabilities' rounding.
    assert not beats([0.0, 1e-12], 0, rho=1 - 1e-14, T=1.0)[1] and beats([0.0, 1e-14], 0, rho=1 - 1e-12, T=1.0)[1]


@settings(max_examples=50)
@given(cases, soft_ratios, temperatures, st.integers(0, 100))
def test_classes_have_no_order_and_logits_no_zero(case, rho, T, seed):
    z_t, y_g = case
    z = np.asarray(class_effective_logit(z_t, y_g, rho=rho, T=T))
    permuted = np.random.default_rng(seed).permutation(len(z))
    again = class_effective_logit(z_t[permuted] + 7.0, int(np.flatnonzero(permuted == y_g)[0]), rho=rho, T=T)
    assert np.allclose(again, z[permuted], rtol=0, atol=2 * LOGIT * max(1, np.abs(z).max()))


# --- Corrections and targets ------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.5, 20))
def test_correction_logit_is_its_formula(seed, T):
    z_t, y_g = teacher(seed, 6, "random", 5.0)
    with mp.workdps(60):
        pi, q = mp_softmax([mp.mpf(z) for z in z_t]), mp_softmax([mp.mpf(z) / mp.mpf(T) for z in z_t])
        pull = [mp.mpf(T) ** 2 * ((k == y_g) - pi[k]) / q[k] for k in range(6)]
        exact = np.array([float(value - mp.fsum(pull) / 6) for value in pull])
    found = class_correction_logit(z_t, y_g, T=T)
    assert np.allclose(found, exact, rtol=0, atol=1e-12 * np.abs(exact).max())


@given(logits, logits, labels, st.floats(0.5, 20))
def test_two_classes_have_the_correction_logit(t_0, t_1, y_g, T):
    both = class_correction_logit([t_0, t_1], y_g, T=T)
    one = correction_logit(t_1 - t_0, y_g, T=T)
    assert float(both[1] - both[0]) == pytest.approx(float(one), rel=1e-11)


def test_corrections_beyond_float64_are_infinite_towards_the_label():
    np.testing.assert_array_equal(class_correction_logit([-900.0, 0.0, 1.0], 0, T=1.0), [np.inf, -np.inf, -np.inf])
    # A right and sure teacher at T < 1: of the classes that it takes for impossible, the likeliest falls most.
    np.testing.assert_array_equal(class_correction_logit([900.0, 0.0, -900.0], 0, T=0.5), [np.inf, np.inf, -np.inf])


def test_targets_of_two_classes_are_those_of_one_logit():
    rng = np.random.default_rng(0)
    z_t, z_0, y_g = rng.standard_normal((6, 2)), rng.standard_normal((6, 2)), np.arange(6) % 2
    one = targets(np.diff(z_t)[:, 0], y_g, rho=0.9, T=5.0, z_0=np.diff(z_0)[:, 0])
    assert np.allclose(np.diff(class_targets(z_t, y_g, rho=0.9, T=5.0, z_0=z_0))[:, 0], one)
    both = class_targets(z_t, y_g, rho=np.array([[1.0], [0.0]]), T=5.0, z_0=z_0)
    assert both.shape == (2, 6, 2) and np.allclose(both.mean(axis=-1), 0)
    assert np.allclose(both[1], np.eye(2)[y_g] - 0.5)


# --- The floor --------------------------------------------------------------------------------------


def kept(q, rho, T):
    """The right class's probability, class 0 being right, with a teacher that has these probabilities at T."""
    return float(jax.nn.softmax(class_effective_logit(T * np.log(q), 0, rho=rho, T=T))[0])


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([3, 10]), st.floats(0.01, 0.99), st.floats(np.log(0.1), np.log(20)),
       st.floats(0.05, 5))
def test_no_teacher_takes_the_right_of_k_classes_below_the_floor(seed, K, rho, log_T, spread):
    T = float(np.exp(log_T))
    q = np.random.default_rng(seed).dirichlet(np.full(K, spread)) + 1e-30
    assert kept(q / q.sum(), rho, T) >= correction_floor(rho=rho, T=T, classes=K) * (1 - 1e-9)


@pytest.mark.parametrize("K", [3, 10, 1000])
@pytest.mark.parametrize("rho", [0.05, 0.3, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("T", [0.1, 0.5, 0.9, 1.0, 5.0])
def test_the_worst_teacher_is_sure_from_temperature_one_up_and_even_below(K, rho, T):
    sure, even = np.full(K, 1e-200), np.full(K, 1 / (K - 1))
    sure[1], even[0] = 1, 1e-200
    by_sure, by_even = kept(sure, rho, T), kept(even, rho, T)
    floor = float(correction_floor(rho=rho, T=T, classes=K))
    assert floor == pytest.approx(by_sure if T >= 1 else by_even, rel=1e-9)
    assert floor <= min(by_sure, by_even) * (1 + 1e-9)
    if T >= 1:
        assert floor == pytest.approx(float(correction_floor(rho=rho, T=T)), rel=1e-12)
    else:
        assert floor < by_sure


@pytest.mark.parametrize("T", [0.2, 0.7, 1.0, 3.0])
def test_the_floor_where_no_teacher_wins_has_a_closed_form(T):
    for K in (2, 3, 50):
        expected = 1 / (1 + (K - 1) ** max((1 - T) / (1 + T), 0))
        assert float(correction_floor(rho=T / (1 + T), T=T, classes=K)) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=50)
@given(st.floats(0.001, 0.999), st.floats(0.2, 20), st.integers(2, 1000))
def test_largest_soft_ratio_of_classes_is_the_inverse(p, T, K):
    rho = float(largest_soft_ratio(p, T=T, classes=K))
    assert float(correction_floor(rho=rho, T=T, classes=K)) == pytest.approx(p, rel=1e-7 + 1e-14 * (1 + T) / (1 - rho))


# --- Students of K outputs --------------------------------------------------------------------------

NETWORK = fully_connected(2)


def task(seed, N=60, K=4):
    """Students on N samples of a kernel teacher with K outputs, that teacher, and test points."""
    rng = np.random.default_rng(seed)
    x, centres = rng.standard_normal((N + 300, 2)), rng.standard_normal((25, 2))
    alpha = rng.standard_normal((25, K))
    alpha -= alpha.mean(axis=0)  # or one class would be far ahead everywhere
    z = np.asarray(NETWORK.ntk(x, centres)) @ alpha
    gram = alpha.T @ np.asarray(NETWORK.ntk(centres)) @ alpha
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    return NestedStudents(x[:N], NETWORK.ntk), z[:N], x[N:], z[N:], np.sqrt(np.maximum(squares, 0))


@pytest.mark.parametrize("seed", range(4))
def test_margins_obey_the_power_function_and_the_bound_holds(seed):
    students, z, x, z_x, norm = task(seed)
    sizes = [2, 10, 30, 60]
    learnt, distances = students.predict(x, z, sizes), students.distance(x, sizes)
    gaps = class_weight_gaps(students, z, norm=norm + np.eye(4))[np.array(sizes) - 1]
    margins = lambda z: z[..., :, None] - z[..., None, :]
    wrong = np.abs(margins(learnt) - margins(z_x))
    assert (wrong <= gaps[:, None] * distances[..., None, None] * (1 + 1e-6) + 1e-9).all()
    risk = class_transfer_risk(z_x, learnt)
    for known in (z_x, learnt):
        bound = class_power_function_bound(known, distances, gaps)
        assert (risk <= bound).all()
    assert risk[0] > 0.05 and bound[-1] < bound[0]


def test_two_classes_have_the_bound_and_the_gaps_of_one_logit():
    students, z, x, z_x, norm = task(5, K=2)
    one, sizes = lambda z: z[..., 1] - z[..., 0], [1, 5, 20]
    gaps, single = class_weight_gaps(students, z), weight_gaps(students, one(z))
    np.testing.assert_allclose(gaps[:, 0, 1], single, rtol=1e-9)
    np.testing.assert_array_equal(gaps, gaps.transpose(0, 2, 1))
    at, distances = np.array(sizes) - 1, students.distance(x, sizes)
    np.testing.assert_array_equal(class_power_function_bound(z_x, distances, gaps[at]),
                                  power_function_bound(one(z_x), distances, gaps[at, 0, 1]))
    learnt = students.predict(x, z, sizes)
    np.testing.assert_array_equal(class_transfer_risk(z_x, learnt), transfer_risk(one(z_x), one(learnt)))
    with_norm = class_weight_gaps(students, z, norm=norm + np.eye(2))[:, 0, 1]
    np.testing.assert_allclose(with_norm, weight_gaps(students, one(z), norm=norm[0, 1]), rtol=1e-12)


def test_ties_agree_with_all_that_share_the_largest_logit():
    z_t = [[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]]
    assert class_transfer_risk(z_t, [[0.0, 3.0, 1.0], [5.0, 4.0, 4.0]]) == 0.5
    assert class_transfer_risk(z_t, np.zeros((2, 3))) == 0
    assert class_transfer_risk(z_t, np.stack([z_t, z_t])).shape == (2,)


def test_weight_norms_of_classes_are_those_of_all_outputs_together():
    students, z, *_ = task(6)
    norms = class_weight_norms(students, z)
    np.testing.assert_allclose(norms**2, sum(students.weight_norms(column) ** 2 for column in z.T), rtol=1e-12)
    several = class_weight_norms(students, np.stack([z, 2 * z], axis=2))
    np.testing.assert_allclose(several, np.stack([norms, 2 * norms], axis=1), rtol=1e-12)


def test_two_classes_have_the_data_inefficiency_of_one_logit():
    runs = [task(seed, K=2)[:2] for seed in range(3)]
    y_g = [z.argmax(axis=1) for _, z in runs]
    for rho in (1.0, 0.9, 0.0):
        both = [class_weight_norms(students, class_targets(z, y, rho=rho, T=5.0))
                for (students, z), y in zip(runs, y_g, strict=True)]
        one = [students.weight_norms(np.asarray(targets(z[:, 1] - z[:, 0], y, rho=rho, T=5.0)))
               for (students, z), y in zip(runs, y_g, strict=True)]
        np.testing.assert_allclose(data_inefficiency(both).values, data_inefficiency(one).values, rtol=1e-8, atol=1e-10)


# --- The loss ---------------------------------------------------------------------------------------


@given(logits, logits, logits, logits, labels, ratios, temperatures)
def test_two_logits_and_their_difference_have_one_loss(s_0, s_1, t_0, t_1, y_g, rho, T):
    both = class_distillation_loss([s_0, s_1], [t_0, t_1], y_g, rho=rho, T=T)
    one = distillation_loss(s_1 - s_0, t_1 - t_0, y_g, rho=rho, T=T)
    assert float(both) == pytest.approx(float(one), rel=1e-9, abs=1e-11)


def test_loss_of_classes_against_its_formula():
    (z_s, z_t), y = 3 * np.random.default_rng(0).normal(size=(2, 6, 4)), np.array([0, 1, 2, 3, 1, 1])
    p, q, r = softmax(z_t / 3, axis=1), softmax(z_s / 3, axis=1), softmax(z_s, axis=1)
    expected = -0.7 * (p * np.log(q)).sum(1) - 0.3 * np.log(r[np.arange(6), y])
    each = class_distillation_loss(z_s, z_t, y, rho=0.7, T=3.0, mean=False)
    assert np.allclose(each, expected, rtol=1e-13)
    assert float(class_distillation_loss(z_s, z_t, y, rho=0.7, T=3.0)) == pytest.approx(expected.mean())
    assert np.allclose(class_distillation_loss(z_s + 7, z_t - 9, y, rho=0.7, T=3.0, mean=False), expected, rtol=1e-12)
    assert class_distillation_loss(np.float32(z_s), z_t, y, rho=0.7, T=3.0).dtype == jnp.float32
    extreme = class_distillation_loss([[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]], [1], rho=0.5, T=0.05)
    assert np.isfinite(extreme)


@pytest.mark.parametrize("precision", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("T", [0.1, 0.5, 1.0, 5.0])
def test_a_masked_class_adds_nothing_to_the_loss_or_its_gradient(precision, T):
    z_s, z_t = jnp.array([1.0, -0.5, 0.25], precision), jnp.array([0.5, 2.0, -1.0], precision)
    masked = lambda z: jnp.append(z, jnp.finfo(precision).min)
    loss = lambda z_s, z_t: class_distillation_loss(z_s, z_t, 1, rho=0.5, T=T)
    value, slopes = jax.value_and_grad(loss)(masked(z_s), masked(z_t))
    expected, expected_slopes = jax.value_and_grad(loss)(z_s, z_t)
    assert value == expected and value.dtype == precision
    np.testing.assert_array_equal(slopes, jnp.append(expected_slopes, 0))


def test_a_class_that_only_the_student_masks_costs_a_finite_loss():
    low = float(jnp.finfo(jnp.float32).min)
    loss = class_distillation_loss(jnp.array([0.0, low], jnp.float32), [0.0, 1.0], 0, rho=0.5, T=0.5)
    assert loss > 1e37 and np.isfinite(loss)


def test_half_precision_only_rounds_the_result():
    z_s, z_t = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float16)
    half, full = (class_distillation_loss(z.astype(kind), z_t, np.arange(5) % 4, rho=0.7, T=3.0, mean=False)
                  for z, kind in ((z_s, np.float16), (z_s, np.float32)))
    np.testing.assert_array_equal(half, np.asarray(full).astype(np.float16))


# --- Bad input --------------------------------------------------------------------------------------

ONE = [[1.0, 2.0]]
SINGLE = np.array(ONE, np.float32)
STUDENTS = NestedStudents(np.eye(2), lambda a, b: a @ b.T)


@pytest.mark.parametrize("call, message", [
    (lambda: class_distillation_loss(ONE, ONE, [2], rho=0.5, T=1),
     "y_g must be classes from 0 to 1, got 2: number the classes from 0, .* subtract 1 from labels that begin with 1"),
    (lambda: class_distillation_loss(ONE, ONE, [0.5], rho=0.5, T=1), "y_g must be classes from 0 to 1, got 0.5"),
    (lambda: class_distillation_loss(ONE, ONE, 1, rho=0.5, T=1), r"must have shape \(n, K\) and y_g"),
    (lambda: class_distillation_loss([[1.0]], [[1.0]], [0], rho=0.5, T=1), "give K >= 2 logits"),
    (lambda: class_distillation_loss(ONE, ONE, [0], rho=0.5, T=[1, 2]), "rho and T must be numbers"),
    (lambda: class_distillation_loss([[1.0, np.inf]], ONE, [0], rho=0.5, T=1), "z_s must be finite, got inf"),
    (lambda: class_distillation_loss(SINGLE, ONE, [0], rho=0.5, T=1e-50),
     r"T must lie between 1e-38 and 3e\+38 in float32, the precision of z_s, got 1e-50: give z_s in double"),
    (lambda: class_distillation_loss(SINGLE, ONE, [0], rho=0.5, T=1e50), r"T must lie between .*, got 1e\+50"),
    (lambda: class_distillation_loss(SINGLE, [[1e39, 0.0]], [0], rho=0.5, T=1),
     r"z_t must lie between -3e\+38 and 3e\+38, so that float32 holds them divided by T, got 1e\+39: subtract"),
    (lambda: class_distillation_loss(SINGLE, [[3e38, 0.0]], [0], rho=0.5, T=0.5), r"z_t must lie .* got 3e\+38"),
    (lambda: class_distillation_loss([[-1e300, 1e308]], ONE, [0], rho=0.5, T=0.5), r"z_s must lie .* got 1e\+308"),
    (lambda: class_effective_logit([1.0, 2.0, 3.0], 3, rho=0.5, T=1),
     "y_g must be classes from 0 to 2, got 3: number the classes from 0, .* subtract 1 from labels that begin with 1"),
    (lambda: class_effective_logit(ONE, -1, rho=0.5, T=1), "y_g must be classes from 0 to 1, got -1"),
    (lambda: class_effective_logit([1.0], 0, rho=0.5, T=1), r"z_t must have shape \(n, K\), got \(1,\): give K >= 2"),
    (lambda: class_effective_logit(1.0, 0, rho=0.5, T=1), r"z_t must have shape \(n, K\), got \(\)"),
    (lambda: class_effective_logit([1.0, np.nan], 0, rho=0.5, T=1), "z_t must be finite, got nan"),
    (lambda: class_effective_logit([1.0, -3.4e38], 0, rho=0.5, T=1),
     r"z_t must lie between -1e8 and 1e8, got -3.4e\+38: leave masked classes out"),
    (lambda: class_effective_logit(ONE, 0, rho=1.5, T=1), r"rho must lie in \[0, 1\], got 1.5: give a fraction"),
    (lambda: class_effective_logit(ONE, 0, rho=0.5, T=0), "T must be positive and finite, got 0"),
    (lambda: class_effective_logit(np.ones((3, 2)), [0, 1], rho=0.5, T=1),
     r"shapes must broadcast, got z_t\[..., 0\] \(3,\), y_g \(2,\)"),
    (lambda: class_effective_logit(np.ones((3, 2)), [[0], [1], [0]], rho=0.5, T=1), "must have one shape for the same"),
    (lambda: class_correction_logit(ONE, [2], T=1), "y_g must be classes from 0 to 1, got 2"),
    (lambda: class_correction_logit(ONE, 0, T=-1), "T must be positive and finite, got -1"),
    (lambda: beats(ONE, [2], rho=0.5, T=1), "y_g must be classes from 0 to 1, got 2"),
    (lambda: beats(ONE, 0, rho=-1, T=1), r"rho must lie in \[0, 1\], got -1"),
    (lambda: class_targets(ONE, [0], rho=0.5, T=1, z_0=np.inf), "z_0 must be finite, got inf"),
    (lambda: class_targets(ONE, [0], rho=0.5, T=1, z_0=[1.0, 2.0, 3.0]), r"shapes must broadcast, got z_t \(1, 2\)"),
    (lambda: correction_floor(rho=0.5, T=1.0, classes=1), "classes must be a whole number from 2 up, got 1"),
    (lambda: largest_soft_ratio(0.5, T=1.0, classes=2.5), "classes must be a whole number from 2 up, got 2.5"),
    (lambda: class_transfer_risk([1.0, 2.0], [1.0, 2.0]), "must have test points and K >= 2 classes along their last"),
    (lambda: class_transfer_risk([[1.0, np.nan]], ONE), "z_t must be numbers, got nan"),
    (lambda: class_transfer_risk(np.ones((2, 1, 1, 3)), np.ones((4, 1, 3))), "z_t and z_s must broadcast"),
    (lambda: class_weight_gaps(STUDENTS, [1.0, 2.0]), r"delta_z must have shape \(2, K\), got \(2,\)"),
    (lambda: class_weight_gaps(STUDENTS, np.eye(2), norm=3.0), r"norm must have shape \(2, 2\), got \(\)"),
    (lambda: class_weight_gaps(STUDENTS, np.eye(2), norm=np.ones((2, 2))), "norm must be at least a student's"),
    (lambda: class_power_function_bound(ONE, [[1.0]], [[1.0]]), r"gaps \(sizes, K, K\) and z \(points, K\)"),
    (lambda: class_weight_norms(STUDENTS, [1.0, 2.0]), r"delta_z must have shape \(2, K, ...\), got \(2,\)"),
])
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()
