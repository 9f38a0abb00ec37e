"""Standard errors over independent runs: of a mean, of functions of means, and of a choice that runs took part in."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from math import isfinite

import numpy as np
from jaxtyping import ArrayLike, Float

from kdlib._checks import numeric, require


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error over independent runs; printed as far as the error goes.

    Two estimates from the same runs that keep their replicates can be subtracted: what the runs share cancels.

    >>> a, b = [0.21, 0.43, 0.32], [0.1, 0.3, 0.2]
    >>> print(Estimate.mean(a), Estimate.mean(a) - Estimate.mean(b))
    0.32 ± 0.06 0.120 ± 0.006
    >>> (Estimate.mean(a) - Estimate.mean(b)).surely_above(0)
    True
    """

    value: float
    error: float = 0.0  #: standard error
    replicates: np.ndarray | None = None  #: its values without run 1, without run 2, ...

    @classmethod
    def mean(cls, values: Float[ArrayLike, " runs"]) -> "Estimate":
        """Of a mean over runs."""
        return cls.of(lambda mean: mean, values)

    @classmethod
    def of(cls, statistic: Callable, *runs: Float[ArrayLike, "runs ..."]) -> "Estimate":
        """Of a function, with one number for its value, of means over runs, by the :func:`jackknife`.

        An error of no more than rounding is none.
        """
        value, replicates = with_replicates(statistic, *_runs_of_one_number(runs))
        if np.ndim(value):
            raise ValueError(f"statistic must give one number from the means of runs, got shape {np.shape(value)}: "
                             "take an estimate for each of several")
        error = float(standard_error(replicates))
        return cls(float(value), error if error > 1e-12 * abs(value) else 0.0, replicates)

    @property
    def low(self):
        """Two standard errors below."""
        return self.value - 2 * self.error

    @property
    def high(self):
        """Two standard errors above."""
        return self.value + 2 * self.error

    def surely_below(self, limit):
        """Whether even two standard errors above it are below the limit."""
        return self.high < limit

    def surely_above(self, limit):
        """Whether even two standard errors below it are above the limit."""
        return self.low > limit

    def __sub__(self, other):
        """The difference of two estimates from the same runs, or of an estimate and a number.

        Raises:
            ValueError: estimates without replicates of the same runs.
        """
        if not isinstance(other, Estimate):
            other = Estimate(other, 0.0, None if self.replicates is None else np.full(len(self.replicates), other))
        if self.replicates is None or other.replicates is None or len(self.replicates) != len(other.replicates):
            if 0 in (self.error, other.error):  # a number that is known
                return Estimate(self.value - other.value, max(self.error, other.error))
            raise ValueError("estimates must come from the same runs, got two that do not: take Estimate.of of both")
        replicates = self.replicates - other.replicates
        return Estimate(self.value - other.value, float(standard_error(replicates)), replicates)

    def __iter__(self):
        return iter((self.value, self.error))

    def __str__(self):
        return as_far_as(self.value, self.error)


def as_far_as(value: float, error: float) -> str:
    """The error to one digit and the value as far as that; without an error, three digits.

    >>> as_far_as(-0.879, 0.27), as_far_as(123.4, 30), as_far_as(0.87654, 0)
    ('-0.9 ± 0.3', '120 ± 30', '0.877')
    """
    if not error:
        return f"{value:.3g}"
    if not isfinite(value) or not isfinite(error):
        return f"{value:.3g} ± {error:.1g}"
    error = Decimal(f"{error:.1g}")
    value = Decimal(value).quantize(error, context=Context(prec=1000))
    notation = "zf" if abs(error.adjusted()) <= 5 else "zg"
    return f"{value:{notation}} ± {error:{notation}}"


def mean_error(values: Float[ArrayLike, "runs ..."], axis: int = 0) -> tuple:
    """The mean over runs, and its standard error: their standard deviation / sqrt(runs).

    Of paired results take the differences first, since what both share cancels.

    Raises:
        ValueError: fewer than two runs.

    >>> a, b = np.array([0.2, 0.4, 0.3]), np.array([0.1, 0.3, 0.1])
    >>> difference, error = mean_error(a - b)
    >>> print(f"{difference:.2f} ± {error:.2f}")
    0.13 ± 0.03
    """
    values = numeric("values", values)
    runs = values.shape[axis] if values.ndim else 0
    if runs < 2:
        raise ValueError(f"values must be of two or more runs, got {runs}: one run alone has no standard error")
    return values.mean(axis), values.std(axis, ddof=1) / runs**0.5


def jackknife(statistic: Callable, *runs: Float[ArrayLike, "runs ..."]) -> tuple:
    r"""A function of means over runs, and its standard error by the jackknife.

    .. math:: \text{error}^2 = \frac{R-1}{R} \sum_{r=1}^R (s_{-r} - \bar s)^2,

    where :math:`s_{-r} = s(\text{mean of the other runs})` and :math:`\bar s` is the mean of these.

    Source: B. Efron and C. Stein, *The Jackknife Estimate of Variance*, The Annals of Statistics 9, 1981.

    Args:
        statistic: takes the mean over the runs of each of the arrays that follow.
        runs: one row for each run; a row of one array belongs to the same run as that row of another.

    Raises:
        ValueError: fewer than two runs, or arrays with different numbers of them.

    >>> value, error = jackknife(lambda a, b: a / b, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    >>> print(f"{value:.3f} ± {error:.3f}")  # of a mean: its spread / sqrt(runs)
    1.000 ± 0.289
    """
    value, replicates = with_replicates(statistic, *_runs_of_one_number(runs))
    return value, standard_error(replicates)


def held_out(errors: Float[ArrayLike, "choices runs"], choose_by: Float[ArrayLike, "choices runs"] | None = None):
    """For each run, the error at the choice that is best on average over all *other* runs, at the first of equal ones.

    The smallest mean of a table flatters: noise takes part in the choice. Here no run is scored on a choice in which
    it took part.

    Args:
        errors: what is scored.
        choose_by: what the choice is made by; by default the errors themselves.

    Raises:
        ValueError: fewer than two runs, arrays of different shapes, or NaN or -inf in what the choice is made by.

    >>> print(held_out([[0.1, 0.2, 0.9], [0.3, 0.3, 0.3]]))
    [0.3 0.3 0.9]
    """
    errors = numeric("errors", errors)
    by = errors if choose_by is None else numeric("choose_by", choose_by)
    if errors.shape != by.shape or errors.ndim != 2 or errors.shape[1] < 2 or not len(errors):
        raise ValueError("errors and choose_by must have shape (choices, runs), with two runs or more, got "
                         f"{errors.shape} and {by.shape}: a run's choice is made by the others")
    require("errors" if choose_by is None else "choose_by", by, "be numbers, or inf", lambda v: v > -np.inf,
            "take inf for what failed, and it is never chosen over what did not")
    means = _means_without_each(by.T)
    best = np.isclose(means, means.min(1, keepdims=True), rtol=1e-12, atol=0).argmax(1)
    return errors[best, np.arange(errors.shape[1])]


def _runs_of_one_number(runs):
    """The arrays, which have one row for each run."""
    runs = [numeric("runs", values) for values in runs]
    counts = sorted({len(values) if values.ndim else 0 for values in runs})
    if len(counts) != 1 or counts[0] < 2:
        raise ValueError(f"runs must have one row for each of two or more runs, got {counts}: "
                         "one run alone has no standard error")
    return runs


def with_replicates(statistic, *runs):
    """A function of means over runs, and the same without run 1, without run 2, ..."""
    value = statistic(*(np.sum(values / len(values), axis=0) for values in runs))
    return value, np.stack([statistic(*means) for means in zip(*map(_means_without_each, runs), strict=True)])


def standard_error(replicates):
    """Of a function whose values without each of the runs are these."""
    return np.sqrt((len(replicates) - 1) * np.var(replicates, axis=0))


def _means_without_each(values):
    """For every run, the mean of the others, added up from both ends.

    Subtracting a run from the sum of all would leave nothing of the others where it dwarfs them.
    """
    shares = values / (len(values) - 1)
    means = np.zeros_like(shares)
    means[1:] += np.cumsum(shares[:-1], axis=0)
    means[:-1] += np.cumsum(shares[:0:-1], axis=0)[::-1]
    return means
