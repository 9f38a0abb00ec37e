"""Data inefficiency: analytic norms, exact expectations, errors that are the true ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import ROUNDING, SLOPE, TRACE

from kdlib import NestedStudents, data_inefficiency, effective_logit, fully_connected
from kdlib.inefficiency import expected_norms, window_ends
from kdlib.tasks import flip_signs, sample_inputs

network = fully_connected(3)
N = 200
n = np.arange(1, N + 1)
scales = np.array([0.5, 1.0, 7.0])[:, None]


# --- Norms that are known functions of n --------------------------------------------------------


@given(beta=st.floats(-2, 2), scale=st.floats(1e-6, 1e6), window=st.floats(1.01, 10),
       expectation=st.sampled_from(["inside", "outside"]))
@settings(max_examples=50)
def test_a_power_law_has_its_exponent_at_every_size(beta, scale, window, expectation):
    found = data_inefficiency(scale * scales * n**beta, window=window, expectation=expectation)
    assert len(found.sizes)
    assert found.values == pytest.approx(beta, abs=SLOPE)
    assert found.errors == pytest.approx(0, abs=SLOPE)


@pytest.mark.parametrize("window", [None, 1.35])
def test_a_constant_has_none(window):
    assert not data_inefficiency(np.repeat(scales, N, axis=1), window=window).values.any()


def test_without_a_window_it_is_equation_10():
    norms = np.random.default_rng(0).uniform(1, 2, (3, N))
    found = data_inefficiency(norms, window=None)
    logs = np.log(norms.mean(axis=0))
    assert np.array_equal(found.sizes, n[:-1])
    assert found.values == pytest.approx(n[:-1] * np.diff(logs), rel=1e-9)


def test_the_window_is_a_weighted_sum_of_equation_10():
    norms = np.random.default_rng(1).uniform(1, 2, (3, N))
    each = data_inefficiency(norms, window=None).values
    found = data_inefficiency(norms, [20], window=1.5).values
    m = np.arange(13, 30)
    assert found == pytest.approx(np.sum(each[m - 1] / m) / np.log(30 / 13), rel=1e-9)


def test_default_sizes_are_all_with_room():
    found = data_inefficiency(scales * n, window=1.35)
    assert found.sizes[0] == 2 and found.sizes[-1] == int(N / 1.35)


def test_expectation_inside_and_outside_the_logarithm():
    """Of two runs, n^0 and n^1, the mean is ruled by the larger and the mean of logarithms is n^(1/2)."""
    norms = np.stack([n**0.0, n**1.0])
    inside = data_inefficiency(norms, [100], expectation="inside").values
    outside = data_inefficiency(norms, [100], expectation="outside").values
    low, high = 74, 135
    assert inside == pytest.approx(np.log((1 + high) / (1 + low)) / np.log(high / low), rel=1e-12)
    assert outside == pytest.approx(0.5, rel=1e-12)


def test_tasks_on_further_axes_are_those_alone():
    norms = np.random.default_rng(2).uniform(1, 2, (4, N, 3))
    together = data_inefficiency(norms, [10, 50])
    for k in range(3):
        alone = data_inefficiency(norms[:, :, k], [10, 50])
        assert np.array_equal(together.values[:, k], alone.values)
        assert np.array_equal(together.errors[:, k], alone.errors)


@pytest.mark.parametrize("window", [None, 1.2, 1.35, 3.0])
@pytest.mark.parametrize("expectation", ["inside", "outside"])
def test_the_ends_of_the_windows_are_all_that_counts(window, expectation):
    norms = np.random.default_rng(6).uniform(1, 2, (4, N, 2))
    sizes, settings = [50, 5, 20], dict(window=window, expectation=expectation)
    ends = window_ends(sizes, window=window)
    of_all = data_inefficiency(norms, sizes, **settings)
    of_ends = data_inefficiency(norms[:, ends - 1], sizes, at=ends, **settings)
    assert np.array_equal(of_all.values, of_ends.values) and np.array_equal(of_all.replicates, of_ends.replicates)
    assert set(sizes) <= set(data_inefficiency(norms[:, ends - 1], at=ends, **settings).sizes)


def test_the_ends_of_some_windows():
    """Of 20 samples and 30: windows that overlap, and neighbours that share an end."""
    assert window_ends([30, 20], window=1.5).tolist() == [13, 20, 30, 45]
    assert window_ends(3, window=None).tolist() == [3, 4]


# --- Errors -------------------------------------------------------------------------------------


def test_outside_the_logarithm_the_jackknife_is_the_error_of_a_mean():
    norms = np.random.default_rng(3).uniform(1, 2, (7, N))
    found = data_inefficiency(norms, [20], expectation="outside")
    each = np.log(norms[:, 26] / norms[:, 13]) / np.log(27 / 14)
    assert found.values == pytest.approx(each.mean(), rel=1e-12)
    assert found.errors == pytest.approx(each.std(ddof=1) / np.sqrt(7), rel=1e-9)


def test_inside_the_logarithm_the_jackknife_is_the_true_spread():
    """Over many repetitions, the estimated error is the standard deviation of the estimate."""
    draws = np.random.default_rng(4).lognormal(sigma=0.3, size=(2000, 20, 2))
    found = [data_inefficiency(norms, [1], window=None) for norms in draws]
    spread = np.std([f.values[0] for f in found])
    assert np.mean([f.errors[0] for f in found]) == pytest.approx(spread, rel=0.05)


def test_what_tasks_share_cancels_in_their_difference():
    common = np.random.default_rng(5).lognormal(sigma=0.5, size=(10, N))
    found = data_inefficiency(np.stack([common, common * n**0.25], axis=2), [50])
    value, error = found.of(lambda values: values[0, 1] - values[0, 0])
    assert value == pytest.approx(0.25, abs=SLOPE) and error == pytest.approx(0, abs=SLOPE)
    assert found.errors.min() > 0.1


@pytest.mark.parametrize("large", [1e17, 1e300])
def test_one_run_may_dwarf_all_others(large):
    """Without it, the others count as if it had never been."""
    norms = np.concatenate([scales * n**0.5, [large * n**0.75]])
    found = data_inefficiency(norms, [50])
    assert found.values == pytest.approx(0.75, abs=SLOPE)
    assert found.replicates[:, 0] == pytest.approx([0.75, 0.75, 0.75, 0.5], abs=SLOPE)
    assert found.errors == pytest.approx(np.sqrt(3 / 4 * (3 / 16**2 + 9 / 16**2)), abs=SLOPE)


# --- Exact expectations -------------------------------------------------------------------------


def students_in(d, key=None, size=N):
    key = jax.random.key(0) if key is None else key
    return NestedStudents(sample_inputs(key, size, d), network.ntk)


@pytest.mark.parametrize("d", [1, 2, 10])
def test_expected_norms_are_traces(d):
    students = students_in(d, size=60)
    gram, covariance, mean = network.ntk(students.x), network.nngp(students.x), np.sin(students.x[:, 0])
    cases = {"random": (None, None), "vector": (mean, mean**2), "zero": (None, covariance), "both": (mean, covariance)}
    for mu, C in cases.values():
        found = expected_norms(students, mu, C)
        full = np.eye(60) if C is None else np.diag(C) if C.ndim == 1 else C
        for size in (1, 2, 17, 60):
            inverse = np.linalg.inv(gram[:size, :size])
            expected = np.trace(inverse @ full[:size, :size])
            if mu is not None:
                expected += mu[:size] @ inverse @ mu[:size]
            assert found[size - 1] ** 2 == pytest.approx(expected, rel=TRACE)


@pytest.mark.parametrize("d", [1, 2])
def test_a_singular_covariance_is_one(d):
    """A known target times a random factor; the limit's own covariance; none at all."""
    students = students_in(d)
    z = np.sin(students.x[:, 0])
    assert expected_norms(students, covariance=np.outer(z, z)) == pytest.approx(students.weight_norms(z), rel=TRACE)
    assert np.isfinite(expected_norms(students, covariance=network.nngp(students.x))).all()
    assert not expected_norms(students, covariance=np.zeros((N, N))).any()


def test_expected_norms_are_the_mean_over_draws():
    students = students_in(2)
    keys = jax.random.split(jax.random.key(1), 2)
    z = np.sin(3 * students.x[:, 0])
    random = np.asarray(jax.random.normal(keys[0], (N, 4000)))
    flipped = np.stack([flip_signs(key, z, p_flip=0.2) for key in jax.random.split(keys[1], 1000)], axis=1)
    for draws, exact in ((random, expected_norms(students)),
                         (flipped, expected_norms(students, 0.6 * z, 0.64 * z**2))):
        squares = students.weight_norms(draws) ** 2
        error = squares.std(axis=1) / np.sqrt(squares.shape[1])
        assert (np.abs(squares.mean(axis=1) - exact**2) < 5 * error + ROUNDING).all()


def test_random_labels_have_the_inefficiency_of_the_traces():
    """Estimator and trace, on the same samples; the mean of norms is a little below their root mean square."""
    exact, drawn = [], []
    for key in jax.random.split(jax.random.key(2), 10):
        students = students_in(2, key)
        exact.append(expected_norms(students))
        drawn.append(students.weight_norms(jax.random.normal(key, (N, 50))).mean(axis=1))
    exact, drawn = (data_inefficiency(np.array(norms), [30, 100]) for norms in (exact, drawn))
    assert np.abs(drawn.values - exact.values).max() < 0.05
    assert exact.values == pytest.approx(0.75, abs=0.12)


def test_the_sign_is_the_limit_of_hard_labels():
    """I(n) is free of scale, and z_eff / t tends to the label's sign: slowly, so rho = 1e-300."""
    x = sample_inputs(jax.random.key(3), 2 * N, 2).reshape(2, N, 2)
    norms = {"limit": [], "small": []}
    for inputs in x:
        students = NestedStudents(inputs, network.ntk)
        z_t = jnp.sin(3 * inputs[:, 0])
        y_g = (z_t > 0).astype(float)
        norms["limit"].append(students.weight_norms(2 * y_g - 1))
        norms["small"].append(students.weight_norms(effective_logit(z_t, y_g, rho=1e-300, T=5.0)))
    limit, small = (data_inefficiency(norms[name]).values for name in norms)
    assert np.abs(limit - small).max() < 1e-3


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("norms, settings, message", [
    (np.ones((1, N)), {}, r"norms must have shape \(runs, N, ...\) with two runs or more, got \(1, 200\): one run"),
    (np.ones(N), {}, r"norms must have shape \(runs, N, ...\)"),
    (np.zeros((2, N)), {}, "norms must be positive and finite, got 0 .*: where a task's targets are zero"),
    (np.full((2, N), np.nan), {}, "norms must be positive and finite, got nan"),
    (np.ones((2, N)), {"window": 1.0}, r"window must lie in \(1, inf\), got 1: or give None"),
    (np.ones((2, N)), {"expectation": "both"}, "expectation must be one of inside, outside, got 'both'"),
    (np.ones((2, N)), {"sizes": [10, 190]}, "sizes must leave room for their window in 1..200, but 190 reaches from "
                                            "140 to 257: draw more samples"),
    (np.ones((2, N)), {"sizes": [200], "window": None}, "but 200 reaches from 200 to 201"),
    (np.ones((2, N)), {"sizes": [1]}, "but 1 reaches from 0 to 2"),
    (np.ones((2, N)), {"sizes": [2.5]}, "sizes must be whole numbers from 1 up, got 2.5"),
    (np.ones((2, N)), {"sizes": [[10, 20]]}, r"sizes must be a number or a list of some, got shape \(1, 2\)"),
    (np.ones((2, N)), {"sizes": []}, r"sizes must be a number or a list of some, got shape \(0,\)"),
    (np.ones((2, N)), {"window": [1.2, 1.5]}, r"window must be a number, got \[1.2, 1.5\]: .*; call once for each"),
    (np.ones((2, 2)), {}, "norms must be of students enough for one window, got N = 2: draw more samples"),
    (np.ones((2, 2)), {"at": [7, 15]}, "norms must be of students enough for one window, got N = 15"),
    (np.ones((2, 3)), {"at": [7, 14]}, "at must have one number of samples for each of 3 norms, got 2"),
    (np.ones((2, 2)), {"at": [14, 7]}, r"at must increase, got \[14, 7\]"),
    (np.ones((2, 3)), {"at": [7, 13, 200], "sizes": 10}, "sizes must have norms at both ends of their window, but 10 "
                                                         "reaches from 7 to 14, and at lacks one of these: keep norms"),
])
def test_bad_norms_and_settings_are_refused(norms, settings, message):
    with pytest.raises(ValueError, match=message):
        data_inefficiency(norms, **settings)


@pytest.mark.parametrize("arguments, message", [
    ({"sizes": [10, 1]}, "sizes must leave room for their window from 1 up, but that of 1 begins at 0: leave it out"),
    ({"sizes": [0]}, "sizes must be whole numbers from 1 up, got 0"),
    ({"sizes": [10], "window": 0.5}, r"window must lie in \(1, inf\), got 0.5"),
])
def test_windows_without_room_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        window_ends(**arguments)


@pytest.mark.parametrize("arguments, message", [
    ({"covariance": np.eye(3)}, r"covariance must have shape \(5,\) or \(5, 5\), got \(3, 3\)"),
    ({"covariance": np.full(5, np.inf)}, "covariance must be finite, got inf"),
    ({"covariance": -np.ones(5)}, "covariance must have variances of at least 0, got -1"),
    ({"covariance": np.triu(np.ones((5, 5)))}, "covariance must be symmetric, got 1: that is its largest difference"),
    ({"covariance": 2 * np.ones((5, 5)) - np.eye(5)}, "covariance must be positive semi-definite, got an eigenvalue"),
    ({"mean": np.ones(4)}, r"mean must have shape \(5,\), got \(4,\)"),
    ({"mean": np.full(5, np.nan)}, "mean must be finite, got nan"),
])
def test_bad_moments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_norms(students_in(2, size=5), **arguments)
