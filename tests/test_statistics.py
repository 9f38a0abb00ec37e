"""Standard errors over runs, and the score of a choice that was made on them."""

import numpy as np
import pytest
from tolerances import ROUNDING

from kdlib.statistics import Estimate, held_out, jackknife, mean_error


def test_the_error_of_a_mean_covers_the_truth_as_often_as_it_should():
    """Student's t with 7 degrees of freedom lies within two errors in 91.4 % of the cases."""
    runs = np.random.default_rng(3).normal(size=(8, 20_000))
    mean, error = mean_error(runs)
    assert np.mean(abs(mean) < 2 * error) == pytest.approx(0.914, abs=0.01)
    assert np.array_equal(mean_error(runs.T, axis=-1), (mean, error))


@pytest.mark.parametrize("values", [1.0, [1.0], [[1.0, 2.0]]])
def test_one_run_has_no_error(values):
    with pytest.raises(ValueError, match="values must be of two or more runs, got"):
        mean_error(values)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    a, b = np.random.default_rng(6).uniform(1, 2, (2, 9, 5))
    value, error = jackknife(lambda mean: mean, a)
    assert value == pytest.approx(a.mean(axis=0), rel=ROUNDING)
    assert error == pytest.approx(a.std(axis=0, ddof=1) / 3, rel=1e-12)
    ratio, error = jackknife(lambda top, bottom: top / bottom, a, b)
    assert ratio == pytest.approx(a.mean(axis=0) / b.mean(axis=0), rel=1e-12)
    # To first order, a ratio of means errs like the mean of (a - ratio * b) / mean b.
    spread = ((a - ratio * b) / b.mean(axis=0)).std(axis=0, ddof=1) / 3
    assert error == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("runs", [([1.0],), ([1.0, 2.0], [1.0, 2.0, 3.0]), (2.0,)])
def test_the_jackknife_needs_two_runs_and_as_many_of_each(runs):
    with pytest.raises(ValueError, match="runs must have one row for each of two or more runs"):
        jackknife(lambda *means: sum(means), *runs)


def test_an_error_of_no_more_than_rounding_is_none():
    """Runs that are all the same differ, by rounding, from the means without one of them."""
    _, error = jackknife(lambda mean: mean, np.full(20, 0.7))
    assert 0 < error < 1e-14
    assert str(Estimate.mean(np.full(20, 0.7))) == "0.7"


def test_no_run_is_scored_on_a_choice_in_which_it_took_part():
    errors = np.random.default_rng(0).normal(size=(5, 8))
    scored = held_out(errors)
    for run in range(8):
        others = np.delete(errors, run, axis=1).mean(1)
        assert scored[run] == errors[others.argmin(), run]
    by = np.zeros((5, 8))
    by[3] = -1
    assert np.array_equal(held_out(errors, by), errors[3])


def test_a_choice_that_failed_in_a_run_is_chosen_by_no_other():
    inf = np.inf
    assert np.array_equal(held_out([[inf, inf, 1], [2, 2, 2]]), [2, 2, 2])
    assert np.array_equal(held_out([[1, 1, inf], [2, 2, 2]]), [2, 2, inf])
    assert np.array_equal(held_out([[5, 5, 5], [6, 7, inf]], [[1, 1, inf], [inf, 2, 2]]), [6, 5, 5])
    table = [[1, 2], [np.nan, 1]]
    with pytest.raises(ValueError, match="errors must be numbers, or inf, got nan: take inf"):
        held_out(table)
    with pytest.raises(ValueError, match="choose_by must be numbers, or inf, got nan: take inf"):
        held_out([[1, 2], [3, 4]], table)


def test_of_equal_choices_the_first_is_taken():
    """Means of 0.1, 0.2, 0.3 differ by rounding, as they are added in one order or another."""
    errors = np.array([[0.1, 0.2, 0.3, 0.7], [0.3, 0.2, 0.1, 0.6], [0.3, 0.1, 0.2, 0.5]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        assert held_out(errors[order])[-1] == errors[order[0], -1]


def test_choosing_on_pure_noise_gains_nothing():
    """The smallest mean of ten equal choices lies below theirs; the held-out score does not."""
    noise = np.random.default_rng(1).normal(size=(400, 10, 10))
    assert np.mean([table.mean(1).min() for table in noise]) < -0.4
    assert abs(np.mean([held_out(table) for table in noise])) < 0.1
