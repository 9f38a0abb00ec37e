r"""Data inefficiency: how fast the converged student's weight change still grows (Section 4, Definition 1).

A run draws samples, a student at initialisation and, where the task is random, its targets; it
leaves the norms :math:`\|\Delta\hat w_n\|_2` of its nested students, from
:meth:`~kdlib.students.NestedStudents.weight_norms`. From the norms of many runs come Eq. 10 of the
paper, a version of it whose noise is small enough to read, and standard errors by the jackknife.

Source: Definition 1 and Eq. 10 of the paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dpotrf

from kdlib._checks import choice, numeric, precision, real, require, require_increasing, require_size, require_whole
from kdlib.statistics import standard_error, with_replicates
from kdlib.students import NestedStudents


@dataclass(frozen=True)
class Inefficiency:
    """Data inefficiency at several sample sizes, with what its errors are made of; see :func:`data_inefficiency`."""

    sizes: np.ndarray  #: n
    values: Float[np.ndarray, "sizes ..."]  #: I(n)
    replicates: Float[np.ndarray, "runs sizes ..."]  #: the values without run 1, without run 2, ...

    @property
    def errors(self) -> Float[np.ndarray, "sizes ..."]:
        """Standard errors of the values, from the spread of the runs."""
        return self.of(lambda values: values)[1]

    def of(self, statistic: Callable) -> tuple:
        r"""A function of the values, and its standard error by the jackknife.

        Tasks that share their runs' samples vary together: the error of a difference between two of them, asked for
        in this way, takes that into account. :func:`~kdlib.statistics.jackknife` does the same for any function
        of the norms' means.

        >>> norms = np.array([[1.0, 2.0, 4.0], [1.0, 2.2, 4.4]])
        >>> low_to_high = data_inefficiency(norms, [1, 2], window=None)
        >>> value, error = low_to_high.of(lambda values: values[1] - values[0])
        >>> print(f"{value:.3f} ± {error:.3f}")
        0.644 ± 0.048
        """
        replicates = np.stack([statistic(values) for values in self.replicates])
        return statistic(self.values), standard_error(replicates)


def data_inefficiency(
    norms: Float[ArrayLike, "runs N ..."],
    sizes: Sequence[int] | None = None,
    *,
    at: Sequence[int] | None = None,
    window: float | None = 1.35,
    expectation: str = "inside",
) -> Inefficiency:
    r"""Data inefficiency I(n), the log-log slope of the weight norm against the sample size (Eq. 10).

    .. math:: \mathcal I(n) = n\, \bigl[\ln E \|\Delta\hat w_{n+1}\|_2 - \ln E \|\Delta\hat w_n\|_2\bigr]

    is what ``window=None`` computes. A single step of n carries little signal and much noise. With a
    window v, its values from a = floor(n / v) to b - 1, b = ceil(n v), are added up with weights 1/m and divided by
    ln(b/a), a little less than the sum of the weights,

    .. math:: \mathcal I_v(n) = \sum_{m=a}^{b-1} \frac{\mathcal I(m)}{m} \Bigm/ \ln\frac ba
              = \frac{\ln E \|\Delta\hat w_b\|_2 - \ln E \|\Delta\hat w_a\|_2}{\ln b - \ln a}.

    That divisor makes it the slope of the chord: a power law :math:`E \|\Delta\hat w_n\|_2 = c\, n^\beta` gives
    exactly :math:`\beta`, whatever the scale c. Being free of scale, it also has a meaning in the limit rho = 0, where
    targets are infinite: use their direction, ``2 * y_g - 1``.

    Args:
        norms: weight norms, positive, one row for each run; further axes are further tasks on the same samples.
        sizes: at which n; by default all for which there are norms at both ends of the window.
        at: the numbers of samples that the norms belong to; by default 1, 2, ..., N. Only the ends of the windows
            matter, and :func:`window_ends` lists them: that is all one has to keep of a run.
        window: how far to reach on both sides, as a factor above 1; None for Eq. 10 itself.
        expectation: ``"inside"`` the logarithm, as in Eq. 10, or ``"outside"``, :math:`E \ln \|\Delta\hat w_n\|_2`,
            the growth of a typical run. They differ where few runs dominate the mean.

    Raises:
        ValueError: fewer than two runs, a norm that is not positive at a size that counts, a size without
            norms at both ends of its window, or no size at all.

    >>> n = np.arange(1, 101)
    >>> norms = np.array([2.0, 3.0])[:, None] * n**0.75
    >>> inefficiency = data_inefficiency(norms, [10, 50])
    >>> print(inefficiency.values.round(6), inefficiency.errors.round(6))
    [0.75 0.75] [0. 0.]
    >>> ends = window_ends([10, 50])
    >>> data_inefficiency(norms[:, ends - 1], [10, 50], at=ends).values.round(6)
    array([0.75, 0.75])
    """
    norms = numeric("norms", norms)
    if norms.ndim < 2 or len(norms) < 2 or not norms.shape[1]:
        raise ValueError(f"norms must have shape (runs, N, ...) with two runs or more, got {norms.shape}: "
                         "one run alone has no standard error")
    choice("expectation", expectation, ("inside", "outside"), "Eq. 10 has it inside")
    window = _checked_window(window)
    at = _places(at, norms.shape[1])
    sizes = _all_sizes(window, at) if sizes is None else _sizes(sizes)
    low, high = _ends(sizes, window)
    _require_ends(sizes, low, high, at)
    ends = norms[:, np.searchsorted(at, [low, high])]
    require("norms", ends, "be positive and finite", lambda v: (v > 0) & (v < np.inf),
            "where a task's targets are zero it has no inefficiency")
    length = (np.log(high / low) if window is not None else 1 / sizes).reshape(-1, *[1] * (norms.ndim - 2))
    slope = lambda low, high: (high - low) / length
    if expectation == "inside":
        return Inefficiency(sizes, *with_replicates(lambda means: slope(*np.log(means)), ends))
    return Inefficiency(sizes, *with_replicates(lambda means: slope(*means), np.log(ends)))


def window_ends(sizes: Sequence[int], *, window: float | None = 1.35) -> np.ndarray:
    r"""The numbers of samples at which :func:`data_inefficiency` needs norms, for I(n) at these sizes.

    They are a = floor(n / v) and b = ceil(n v) for each n and the window v, or n and n + 1 without one; sorted, each
    of them once.

    Raises:
        ValueError: sizes that are no whole numbers from 1 up, or whose window begins below 1.

    >>> window_ends([10, 100])
    array([  7,  14,  74, 135])
    """
    window = _checked_window(window)
    sizes = _sizes(sizes)
    low, high = _ends(sizes, window)
    if (low < 1).any():
        n = sizes[(low < 1).argmax()]
        raise ValueError(f"sizes must leave room for their window from 1 up, but that of {n} begins at 0: leave it "
                         "out, or narrow the window")
    return np.unique([low, high])


def _checked_window(window):
    remedy = "or give None for Eq. 10 itself; call once for each of several"
    if window is None:
        return None
    # Beyond 1e9 no window fits anywhere, and floats as large are no integers.
    return min(real("window", window, "lie in (1, inf)", lambda v: 1 < v < np.inf, remedy), 1e9)


def _places(at, N):
    """The numbers of samples that N norms belong to."""
    if at is None:
        return np.arange(1, N + 1)
    at = require_increasing("at", at, "give the numbers of samples that the norms belong to")
    if len(at) != N:
        raise ValueError(f"at must have one number of samples for each of {N} norms, got {len(at)}: "
                         "take the norms at these numbers")
    return at


def _sizes(sizes):
    sizes = np.atleast_1d(require_whole("sizes", sizes, "give numbers of samples"))
    if sizes.ndim != 1 or not sizes.size:
        raise ValueError(f"sizes must be a number or a list of some, got shape {sizes.shape}: flatten it, or leave "
                         "it out for all")
    return sizes


def _all_sizes(window, at):
    """All sizes with norms at both ends of their window."""
    sizes = np.arange(1, at[-1] + 1)
    low, high = _ends(sizes, window)
    sizes = sizes[np.isin(low, at) & np.isin(high, at)]
    if not sizes.size:
        raise ValueError(f"norms must be of students enough for one window, got N = {at[-1]}: draw more samples, or "
                         "narrow the window")
    return sizes


def _ends(n, window):
    """The lowest and the highest number of samples that a window looks at."""
    if window is None:
        return n, n + 1
    return np.floor(n / window).astype(int), np.ceil(np.minimum(n * window, 1e18)).astype(int)


def _require_ends(sizes, low, high, at):
    outside = (low < 1) | (high > at[-1])
    if outside.any():
        i = outside.argmax()
        raise ValueError(f"sizes must leave room for their window in 1..{at[-1]}, but {sizes[i]} reaches from {low[i]} "
                         f"to {high[i]}: draw more samples, or narrow the window")
    missing = ~(np.isin(low, at) & np.isin(high, at))
    if missing.any():
        i = missing.argmax()
        raise ValueError(f"sizes must have norms at both ends of their window, but {sizes[i]} reaches from {low[i]} to "
                         f"{high[i]}, and at lacks one of these: keep norms at window_ends(sizes)")


def class_weight_norms(students: NestedStudents, delta_z: Float[ArrayLike, "N K ..."]) -> Float[np.ndarray, "N ..."]:
    r"""Norms of the weight change of all students of K outputs, whose growth is their data inefficiency.

    .. math:: \|\Delta\hat w_n\|_2^2 = \sum_k \Delta z_{n,k}^\top \Theta_n^{-1} \Delta z_{n,k}

    Outputs of a wide network share the kernel and have their own last weights, so that their weight changes are at
    right angles. For K = 2 and centred targets it is that of the one logit :math:`z_1 - z_0`, divided by the root of 2,
    and its data inefficiency the same.

    Args:
        students: the students.
        delta_z: targets at the samples, from :func:`~kdlib.classes.class_targets` for example; further axes are
            further tasks.

    Raises:
        ValueError: targets that are not finite, or of another shape.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> z = np.array([1.0, 2.0, 2.0])
    >>> print(class_weight_norms(students, np.stack([z, -z], axis=1) / 2) * np.sqrt(2), students.weight_norms(z))
    [1.         1.41421356 1.41421356] [1.         1.41421356 1.41421356]
    """
    delta_z = numeric("delta_z", delta_z)
    if delta_z.ndim < 2 or len(delta_z) != len(students):
        raise ValueError(f"delta_z must have shape ({len(students)}, K, ...), got {delta_z.shape}: one row of K "
                         "targets for each sample")
    norms = students.weight_norms(delta_z.reshape(len(delta_z), -1)).reshape(delta_z.shape)
    return np.sqrt(np.sum(norms**2, axis=1))


def expected_norms(
    students: NestedStudents,
    mean: Float[ArrayLike, " N"] | None = None,
    covariance: Float[ArrayLike, "N N"] | Float[ArrayLike, " N"] | None = None,
) -> Float[np.ndarray, " N"]:
    r"""Root mean square of the weight norms for random targets on given samples, exactly.

    For targets of mean :math:`\mu` and covariance C,

    .. math:: E \|\Delta\hat w_n\|_2^2 = \mu_n^\top \Theta_n^{-1} \mu_n + \operatorname{tr}(\Theta_n^{-1} C_n), \qquad
              \operatorname{tr}(\Theta_n^{-1} C_n) = \sum_{i \le n} [L^{-1} C\, L^{-\top}]_{ii},

    a running sum, as all norms here: with C = 1 the squared lengths of the rows of :math:`L^{-1}`.

    Three cases of interest. Random labels of the paper's Fig. 3, :math:`\Delta z \sim \mathcal N(0, 1)`: leave both
    arguments out. The zero function, :math:`\Delta z = -z_0`: ``covariance=network.nngp(x)``. A logit z whose sign
    flips with probability p: ``mean=(1 - 2 * p) * z`` and ``covariance=4 * p * (1 - p) * z**2``.

    Args:
        students: on the samples.
        mean: zero by default.
        covariance: a matrix, symmetric and positive semi-definite, to 1e-10 of its largest entry, or to the rounding
            of single precision if it comes in that; or a vector of variances for targets that are uncorrelated; all 1
            by default.

    Raises:
        ValueError: arguments of the wrong shape or not finite, or a covariance that is none.

    Cost: a triangular inverse and, for a covariance matrix, a Cholesky and a product of two N x N matrices.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> print((expected_norms(students) ** 2).round(6))  # 1, then 1/gap for each of two neighbours
    [1. 3. 4.]
    """
    N = len(students)
    given = np.ones(N) if covariance is None else covariance
    covariance = numeric("covariance", given)
    if covariance.shape not in ((N,), (N, N)):
        raise ValueError(f"covariance must have shape ({N},) or ({N}, {N}), got {covariance.shape}: "
                         "one row for each sample")
    require("covariance", covariance, "be finite", np.isfinite, "remove or repair those samples first")
    variances = covariance if covariance.ndim == 1 else covariance.diagonal()
    require("covariance", variances, "have variances of at least 0", lambda v: v >= 0,
            "give covariances, not deviations")
    require_size("covariance", covariance)
    inverse = students.inverse_factor()
    if covariance.ndim == 1:
        squares = np.einsum("ij,ij,j->i", inverse, inverse, covariance)
    else:
        _require_covariance(covariance, precision(given))
        # SciPy would gather an array that is in blocks.
        product = dtrmm(1.0, inverse, covariance, lower=1) if isinstance(inverse, np.ndarray) else inverse @ covariance
        squares = np.maximum(np.einsum("ij,ij->i", product, inverse), 0)  # below zero only by rounding
    squares = np.asarray(squares)
    if mean is not None:
        mean = numeric("mean", mean)
        if mean.shape != (N,):
            raise ValueError(f"mean must have shape ({N},), got {mean.shape}: one value for each sample")
        squares = squares + students._coordinates(mean, "mean") ** 2
    return np.sqrt(np.cumsum(squares))


def _require_covariance(matrix, eps):
    """A symmetric, positive semi-definite matrix, up to rounding: the limit's own is singular to it."""
    largest = np.abs(matrix).max()
    slack = max(1e-10, len(matrix) * eps)
    asymmetry = np.abs(matrix - matrix.T).max()
    require("covariance", asymmetry, "be symmetric", lambda a: a <= slack * largest,
            "that is its largest difference from its transpose; average the two")
    shifted = matrix.copy()
    shifted[np.diag_indices(len(matrix))] += slack * largest
    if largest > 0 and dpotrf(shifted.T, lower=1, clean=0, overwrite_a=1)[1]:
        raise ValueError(f"covariance must be positive semi-definite, got an eigenvalue below {-slack * largest:.2g}: "
                         "no targets have these variances and correlations")
