"""Transfer risk and its bounds: closed forms, separate solves, and theorems on random cases."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from tolerances import NESTED

from kdlib.networks import fully_connected
from kdlib.risk import (
    angle_distribution,
    feature_cosines,
    fit_power_law,
    phuong_lampert_bound,
    power_function_bound,
    risk_bound,
    spectral_bound,
    transfer_risk,
    weight_angles,
    weight_gaps,
)
from kdlib.students import NestedStudents
from kdlib.tasks import sample_inputs

NETWORK = fully_connected(2)


def linear(a, b):
    return a @ b.T


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


# --- Geometry, against explicit vectors -----------------------------------------------------------


@pytest.fixture(params=[0, 1, 2])
def explicit(request):
    """Students in a feature space of 30 dimensions, and their weights found one by one."""
    phi, w_star, w_zero = (normal(request.param * 10 + i, *shape) for i, shape in enumerate(((12, 30), (30,), (30,))))

    def weights(target, n):
        return np.linalg.lstsq(phi[:n], phi[:n] @ target)[0]

    return NestedStudents(phi, linear), phi, w_star, w_zero, weights


def angle(a, b):
    return np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_gaps_and_angles_are_those_of_the_weight_vectors(explicit):
    students, phi, w_star, _, weights = explicit
    norm = np.linalg.norm(w_star)
    learnt = [weights(w_star, n) for n in range(1, 13)]
    gaps = [np.linalg.norm(w_star - w) for w in learnt]
    np.testing.assert_allclose(weight_gaps(students, phi @ w_star, norm=norm), gaps, rtol=NESTED)
    angles = [angle(w_star, w) for w in learnt]
    np.testing.assert_allclose(weight_angles(students, phi @ w_star, norm=norm), angles, rtol=NESTED)


def test_angles_with_a_zero_function_are_those_of_the_weight_vectors(explicit):
    students, phi, w_star, w_zero, weights = explicit
    oracle, zero = weights(w_star, 12), weights(w_zero, 12)
    angles = [angle(oracle - zero, weights(w_star, n) - zero) for n in range(1, 12)]
    found = weight_angles(students, phi @ w_star, delta_zero=phi @ w_zero)
    np.testing.assert_allclose(found[:-1], angles, rtol=1e-8)
    assert found[-1] == 0


def test_a_student_opposite_to_its_oracle_has_an_angle_of_pi():
    students = NestedStudents(np.array([[0.0, 1.0], [1.0, 0.0]]), linear)
    angles = weight_angles(students, [0.0, 2.0], delta_zero=[0.0, 1.0])
    np.testing.assert_allclose(angles, [np.pi, 0], atol=1e-15)


def test_a_student_without_direction_is_perpendicular():
    angles = weight_angles(NestedStudents(np.eye(3), linear), [0.0, 1.0, 1.0])
    np.testing.assert_allclose(angles, [np.pi / 2, np.pi / 4, 0])


def test_a_small_gap_keeps_its_digits():
    """As a difference of squared norms it would be lost in rounding."""
    students = NestedStudents(np.eye(3), linear)
    delta_z = [1.0, 1e-9, 1e-10]
    np.testing.assert_allclose(weight_gaps(students, delta_z)[:2], [np.hypot(1e-9, 1e-10), 1e-10])
    np.testing.assert_allclose(weight_angles(students, delta_z)[0], np.hypot(1e-9, 1e-10))


# --- The angle distribution ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 10, 100])
def test_isotropic_features_have_the_known_distribution(k):
    points = 200_000
    phi = normal(k, points, k)
    cosines = feature_cosines(phi @ np.ones(k), np.sqrt(k), np.linalg.norm(phi, axis=1))
    beta = np.linspace(0.05, np.pi / 2 - 0.01, 20)
    exact = betainc(0.5, (k - 1) / 2, np.cos(beta) ** 2)
    assert np.abs(angle_distribution(beta, cosines) - exact).max() < 4 * 0.5 / np.sqrt(points)


def test_distribution_counts_ties():
    np.testing.assert_array_equal(angle_distribution([-1, 0, np.arccos(0.5), np.pi / 2], [0.5, 0.0]), [1, 1, 1, 0.5])


# --- The bounds hold ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), features=st.integers(2, 8), shown=st.integers(1, 6), start=st.floats(0, 3))
def test_no_random_student_exceeds_its_bounds(seed, features, shown, start):
    """Any oracle and any initial network that the features can express; theorems hold on any sample of points."""
    rng = np.random.default_rng(seed)
    phi, points = rng.standard_normal((features, features)), rng.standard_normal((50, features))
    w_star, w_zero = rng.standard_normal(features), start * rng.standard_normal(features)
    shown = min(shown, features - 1)
    students = NestedStudents(phi, linear)  # as many samples as features: the last student is the oracle
    z_0 = -points @ w_zero
    z_n = students.predict(points, phi @ w_star, [shown])[0] + z_0
    z = points @ w_star + z_0
    cosines = feature_cosines(z, np.linalg.norm(w_star - w_zero), np.linalg.norm(points, axis=1))
    alpha = weight_angles(students, phi @ w_star, delta_zero=phi @ w_zero)[shown - 1]
    gap = weight_gaps(students, phi @ w_star, norm=np.linalg.norm(w_star) * (1 + 1e-12))[shown - 1]
    risk, distances = transfer_risk(z, z_n), students.distance(points, [shown])
    assert risk <= risk_bound(alpha, cosines)
    assert risk <= power_function_bound(z, distances, [gap])
    assert risk <= power_function_bound(z_n[None], distances, [gap])
    assert risk <= spectral_bound(students, points, z, [gap * (1 + 1e-9)], [shown])


def test_targets_in_columns_have_norms_of_their_own():
    phi, w = normal(0, 5, 8), normal(1, 8, 2)
    students, norms = NestedStudents(phi, linear), np.linalg.norm(w, axis=0)
    for function in (weight_gaps, weight_angles):
        together = function(students, phi @ w, norm=norms)
        alone = [function(students, phi @ w[:, j], norm=norms[j]) for j in (0, 1)]
        np.testing.assert_allclose(together, np.stack(alone, axis=1), rtol=NESTED)


def test_theorem_1_is_the_power_function_bound_of_unseen_features():
    x, points = (np.asarray(sample_inputs(jax.random.key(i), n, 2)) for i, n in ((0, 40), (1, 300)))
    students = NestedStudents(x, NETWORK.ntk)
    delta_z, sizes = np.sin(2 * x[:, 0]), np.arange(1, 40)
    z = students.predict(points, delta_z, [40])[0]
    lengths = students.feature_lengths(points)
    cosines = feature_cosines(z, students.weight_norms(delta_z)[-1], lengths)
    theorem = risk_bound(weight_angles(students, delta_z)[:-1], cosines)
    gaps = weight_gaps(students, delta_z)[:-1]
    np.testing.assert_array_equal(theorem, power_function_bound(z, np.tile(lengths, (39, 1)), gaps))
    assert (power_function_bound(z, students.distance(points, sizes), gaps) <= theorem).all()


def test_spectral_bound_is_met_by_the_worst_oracle():
    """An oracle whose unseen part is the residual's first eigenvector spends the whole budget."""
    points = np.array([[1.0, 0.0, 2.0], [1.0, 2.0, 0.0], [1.0, 0.0, -2.0]])
    students = NestedStudents(np.array([[1.0, 0.0, 0.0]]), linear)
    w_star = np.array([1.0, 0.0, 1.0])  # seen part 1, unseen part along the third axis
    z = points @ w_star  # 3, 1, -1; the student says 1 everywhere
    z_n = students.predict(points, [1.0], [1])[0]
    gap = weight_gaps(students, [1.0], norm=np.sqrt(2))
    assert transfer_risk(z, z_n) == 1 / 3
    assert power_function_bound(z, students.distance(points, [1]), gap) == 2 / 3
    assert spectral_bound(students, points, z, gap, [1]) == 2 / 3


@pytest.mark.parametrize("n", [1, 7, 200])
def test_phuong_lampert_is_the_infimum(n):
    cosines = np.cos(np.linspace(0.05, 1.5, 40) ** 2 / 1.5)
    beta = np.linspace(0, np.pi / 2, 20_001)
    tried = angle_distribution(beta, cosines) + angle_distribution(np.pi / 2 - beta, cosines) ** n
    assert phuong_lampert_bound(n, cosines) == pytest.approx(min(tried.min(), 1))


# --- Power laws ---------------------------------------------------------------------------------------


def test_power_law_error_is_the_scatter_of_repeated_experiments():
    n = np.array([10, 30, 100, 300])
    fits = []
    for seed in range(300):
        noise = np.exp(0.2 * normal(seed, 10, 4) + 0.3 * normal(seed + 10**6, 10, 1) * np.log(n))
        fits.append(fit_power_law(n, n**-0.7 * noise))
    exponents, errors = np.array([fit[:2] for fit in fits]).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(exponents.std(ddof=1), rel=0.15)


# --- Bad input ----------------------------------------------------------------------------------------


STUDENTS = NestedStudents(np.eye(2), linear)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: transfer_risk([1.0, 2.0], [1.0]), "z_t and z_s must have test points along their last axis"),
        (lambda: transfer_risk([np.nan], [1.0]), "z_t must be numbers, got nan"),
        (lambda: weight_gaps(STUDENTS, [1.0, 1.0], norm=1.2), "norm must be at least a student's, at most 1.41"),
        (lambda: weight_angles(STUDENTS, [1.0, 1.0], norm=2.0, delta_zero=[0.0, 1.0]), "must not both be given"),
        (lambda: feature_cosines([2.0], 1.0, [1.0]), r"cosines must lie in \[-1, 1\], got 2: the norm is too small"),
        (lambda: feature_cosines([2.0], 0.0, [1.0]), "norm must be positive and finite, got 0"),
        (lambda: angle_distribution(0.1, []), "cosines must be of at least one test point, got none"),
        (lambda: phuong_lampert_bound(0, [0.5]), "n must be a whole number from 1 up, got 0"),
        (lambda: power_function_bound([1.0], [[1.0]], [np.inf]), "gaps must be finite and at least 0, got inf"),
        (lambda: power_function_bound([1.0, 2.0], [[1.0]], [1.0]), "distances must have shape"),
        (lambda: power_function_bound([np.nan], [[1.0]], [1.0]), "z must be numbers, got nan"),
        (lambda: power_function_bound([1.0], [[-1.0]], [1.0]), "distances must be finite and at least 0, got -1"),
        (lambda: power_function_bound([], np.zeros((1, 0)), [1.0]), "distances must have shape"),
        (lambda: spectral_bound(STUDENTS, np.eye(2), [1.0, 1.0], [np.nan], [1]), "gaps must be finite"),
        (lambda: risk_bound([60.0], [0.5]), r"angles must lie in \[0, pi\], got 60: give them in radians"),
        (lambda: risk_bound([np.nan], [0.5]), r"angles must lie in \[0, pi\], got nan"),
        (lambda: angle_distribution(np.nan, [0.5]), "beta must be a number, got nan"),
        (lambda: feature_cosines([np.nan], 1.0, [1.0]), "z must be finite, got nan"),
        (lambda: weight_gaps(STUDENTS, np.eye(2), norm=[1.0, 2.0, 3.0]), r"norm must have shape \(\) or \(2,\)"),
        (lambda: weight_angles(STUDENTS, np.eye(2), delta_zero=[0.0, 1.0]), "must have the shape of delta_z"),
        (lambda: fit_power_law([2, 2], [[1.0, 2.0], [1.0, 2.0]]), "two or more n"),
        (lambda: spectral_bound(STUDENTS, np.eye(2), [1.0], [1.0], [1]), "x_test, z must have one row"),
        (lambda: spectral_bound(STUDENTS, np.eye(2), [1.0, 1.0], [1.0], [1, 2]), "sizes, gaps must have one row"),
        (lambda: fit_power_law([1, 2], [[1.0, 2.0]]), "two or more runs"),
        (lambda: fit_power_law([1, 2], [[1.0, 0.0], [1.0, 2.0]]), "values must have positive means"),
        (lambda: fit_power_law([1, 2], [[1.0, np.nan], [1.0, 2.0]]), "values must"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
