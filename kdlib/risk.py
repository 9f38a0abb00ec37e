r"""Transfer risk and its bounds: how often a student answers otherwise than its teacher (Section 3).

A linearised student is a vector, and so is the *oracle* that meets the targets everywhere. Seen from the oracle,
a student of n samples is its projection onto the features of those samples. All bounds come from that triangle: the
angle at the origin, or the *gap*, the part of the oracle that no sample has shown.

Throughout, ``z`` are the oracle's logits at test points, :math:`z_*(x) = f(x; w_0) + \Delta w_*^\top \phi(x)`, and a
probability is the share of test points. Functions of all students at once have a first axis over them.

Source: Eq. 6 to 9 and Theorem 1 of the paper; M. Phuong and C. H. Lampert, *Towards understanding knowledge
distillation*, ICML 2019. The power function is that of kernel interpolation: H. Wendland, *Scattered Data
Approximation*, 2004, Section 11.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.sparse.linalg import eigsh

from kdlib._checks import (
    LARGE,
    numeric,
    precision,
    require,
    require_rows,
    require_size,
    require_vectors,
    require_whole,
)
from kdlib.statistics import standard_error, with_replicates
from kdlib.students import NestedStudents


def transfer_risk(z_t: Float[ArrayLike, "*#n m"], z_s: Float[ArrayLike, "*#n m"]) -> Float[np.ndarray, "*n"]:
    r"""Share of test points at which student and teacher choose different classes.

    .. math:: \mathcal R = \mathbb P_x [z_t \cdot z_s < 0]

    Points run along the last axis; the others broadcast. A logit of exactly zero chooses no class and agrees with both.

    Raises:
        ValueError: NaN, or shapes that do not belong together.

    >>> print(transfer_risk([1.0, 2.0, -1.0, -3.0], [[0.5, -1.0, -2.0, -1.0], [1.0, 1.0, 1.0, 1.0]]))
    [0.25 0.5 ]
    """
    z_t, z_s = numeric("z_t", z_t), numeric("z_s", z_s)
    for name, z in (("z_t", z_t), ("z_s", z_s)):
        require(name, z, "be numbers", lambda z: ~np.isnan(z), "repair those logits first")
    if not z_t.ndim or not z_s.ndim or z_t.shape[-1] != z_s.shape[-1] or not z_t.shape[-1]:
        raise ValueError(f"z_t and z_s must have test points along their last axis, got shapes {z_t.shape} and "
                         f"{z_s.shape}: give a logit of each for every point")
    if not _one_fits(z_t.shape, z_s.shape):
        raise ValueError(f"z_t and z_s must broadcast, got shapes {z_t.shape} and {z_s.shape}: give one of them for "
                         "each case, or a single one for all")
    return np.mean(np.sign(z_t) * np.sign(z_s) < 0, axis=-1)


def class_transfer_risk(
    z_t: Float[ArrayLike, "*#n m K"], z_s: Float[ArrayLike, "*#n m K"]
) -> Float[np.ndarray, "*n"]:
    r"""Share of test points at which student and teacher choose different ones of K classes.

    .. math:: \mathcal R = \mathbb P_x [\arg\max_k z_{t,k} \cap \arg\max_k z_{s,k} = \varnothing]

    Classes run along the last axis, points along the one before; the others broadcast. Where several classes share the
    largest logit all of them are chosen, and to have one in common is to agree, as in :func:`transfer_risk`.

    Raises:
        ValueError: NaN, or shapes that do not belong together.

    >>> print(class_transfer_risk([[1.0, 0.0, 2.0], [3.0, 3.0, 0.0]], [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]))
    0.5
    """
    z_t, z_s = numeric("z_t", z_t), numeric("z_s", z_s)
    for name, z in (("z_t", z_t), ("z_s", z_s)):
        require(name, z, "be numbers", lambda z: ~np.isnan(z), "repair those logits first")
    if min(z_t.ndim, z_s.ndim) < 2 or z_t.shape[-2:] != z_s.shape[-2:] or not z_t.shape[-2] or z_t.shape[-1] < 2:
        raise ValueError(f"z_t and z_s must have test points and K >= 2 classes along their last axes, got shapes "
                         f"{z_t.shape} and {z_s.shape}: give K logits of each for every point")
    if not _one_fits(z_t.shape, z_s.shape):
        raise ValueError(f"z_t and z_s must broadcast, got shapes {z_t.shape} and {z_s.shape}: give one of them for "
                         "each case, or a single one for all")
    chosen_t, chosen_s = (z == z.max(axis=-1, keepdims=True) for z in (z_t, z_s))
    return np.mean(~(chosen_t & chosen_s).any(axis=-1), axis=-1)


def weight_gaps(
    students: NestedStudents, delta_z: Float[ArrayLike, "N ..."], *, norm: Float[ArrayLike, "..."] | None = None
) -> Float[np.ndarray, "N ..."]:
    r"""What is missing from each student's weights, for all students.

    .. math:: \text{gap}_n = \|\Delta w_* - \Delta\hat w_n\|_2
              = \sqrt{\|\Delta w_*\|_2^2 - \|\Delta\hat w_n\|_2^2}, \qquad n = 1, \dots, N

    Args:
        students: the students.
        delta_z: their targets at the samples, minus :math:`z_0` there.
        norm: the oracle's :math:`\|\Delta w_*\|_2`, such as a kernel teacher's; one for each column of
            targets, or one for all. By default the oracle is the student of all N samples. For a target
            that the kernel cannot represent, or not yet, that one is too short: its gaps are too small, and
            exactly zero at n = N.

    Raises:
        ValueError: a norm below that of a student, which no projection can exceed.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> print(weight_gaps(students, [1.0, 2.0, 2.0], norm=2.0).round(4))
    [1.7321 1.4142 1.4142]
    """
    missing, _ = _missing(students.coordinates(delta_z), norm)
    return np.sqrt(missing)


def class_weight_gaps(
    students: NestedStudents, delta_z: Float[ArrayLike, "N K"], *, norm: Float[ArrayLike, "K K"] | None = None
) -> Float[np.ndarray, "N K K"]:
    r"""What is missing between each two classes' weights, for all students of K outputs.

    .. math:: \text{gap}_{n,ij} = \|(\Delta w_{*,i} - \Delta w_{*,j}) - (\Delta\hat w_{n,i} - \Delta\hat w_{n,j})\|_2

    The outputs share the kernel and no weights; output i's targets are column i, and the difference of two outputs is
    the student of the difference of their targets. So this is :func:`weight_gaps` of all differences.

    Args:
        students: the students.
        delta_z: their targets at the samples, from :func:`~kdlib.classes.class_targets` for example.
        norm: the oracle's :math:`\|\Delta w_{*,i} - \Delta w_{*,j}\|_2`; by default the oracle is the student of all N
            samples, see :func:`weight_gaps`.

    Raises:
        ValueError: targets or a norm of another shape, or a norm below that of a student.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> z = np.array([1.0, 2.0, 2.0])
    >>> print(class_weight_gaps(students, np.stack([z, -z], axis=1) / 2)[:, 0, 1])  # two classes: those of z
    [1. 0. 0.]
    """
    c = students.coordinates(delta_z)
    if c.ndim != 2 or c.shape[1] < 2:
        raise ValueError(f"delta_z must have shape ({len(students)}, K), got {np.shape(delta_z)}: give K >= 2 columns")
    K = c.shape[1]
    i, j = np.triu_indices(K, 1)
    if norm is not None:
        norm = numeric("norm", norm)
        if norm.shape != (K, K):
            raise ValueError(f"norm must have shape ({K}, {K}), got {norm.shape}: one for each two classes")
        norm = norm[i, j]
    missing, _ = _missing(c[:, i] - c[:, j], norm)
    gaps = np.zeros((len(students), K, K))
    gaps[:, i, j] = gaps[:, j, i] = np.sqrt(missing)
    return gaps


def weight_angles(
    students: NestedStudents,
    delta_z: Float[ArrayLike, "N ..."],
    *,
    norm: Float[ArrayLike, "..."] | None = None,
    delta_zero: Float[ArrayLike, "N ..."] | None = None,
) -> Float[np.ndarray, "N ..."]:
    r"""Angle between oracle and student, in [0, pi] and unfolded, for all students.

    .. math:: \alpha_n = \angle(\Delta w_* - \Delta w_z,\; \Delta\hat w_n - \Delta w_z)

    Args:
        students, delta_z, norm: as for :func:`weight_gaps`.
        delta_zero: targets of the zero function, :math:`-z_0` at the samples; its weight change
            :math:`\Delta w_z` is that of all N samples. By default :math:`\Delta w_z = 0`, as for a student that
            starts from the zero function. Then :math:`\cos\alpha_n = \|\Delta\hat w_n\|_2 / \|\Delta w_*\|_2`,
            Eq. 9, is exact, and the angles never increase. A student without direction, of length zero, counts
            as perpendicular.

    Raises:
        ValueError: as for :func:`weight_gaps`; both ``norm`` and ``delta_zero``.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> print(np.degrees(weight_angles(students, [1.0, 2.0, 2.0], norm=2.0)).round(1))
    [60. 45. 45.]
    """
    c = students.coordinates(delta_z)
    missing, square = _missing(c, norm)
    overlap = missing
    if delta_zero is not None:
        if norm is not None:
            raise ValueError("norm and delta_zero must not both be given: the zero function's weights are known at "
                             "the samples only, so leave out norm")
        zero = students._coordinates(delta_zero, "delta_zero")
        if zero.shape != c.shape:
            raise ValueError(f"delta_zero must have the shape of delta_z, {c.shape}, got {zero.shape}: give one for "
                             "each column of targets")
        a = c - zero
        square, overlap = np.sum(a**2, axis=0), _after(a * c)
    # With a = w_* - w_z, and r the missing part w_* - w_n: the student is a - r. Then a.(a - r) = |a|^2 - a.r, and
    # |a|^2 |a - r|^2 - (a.(a - r))^2 = |a|^2 |r|^2 - (a.r)^2, which keeps its digits when r is short.
    angles = np.arctan2(np.sqrt(np.maximum(square * missing - overlap**2, 0)), square - overlap)
    return np.where(square - 2 * overlap + missing > 1e-15 * square, angles, np.pi / 2)


def feature_cosines(
    z: Float[ArrayLike, "*n m"], norm: Float[ArrayLike, "*#n"], lengths: Float[ArrayLike, " m"]
) -> Float[np.ndarray, "*n m"]:
    r"""Cosine between each test point's features and the oracle, Eq. 8.

    .. math:: \cos\alpha(\phi(x), \Delta w_* - \Delta w_z)
              = \frac{z_*(x)}{\|\Delta w_* - \Delta w_z\|_2 \sqrt{\Theta(x, x)}}

    Args:
        z: the oracle's logits.
        norm: :math:`\|\Delta w_* - \Delta w_z\|_2`.
        lengths: :math:`\sqrt{\Theta(x, x)}`.

    Raises:
        ValueError: a cosine beyond 1: no weights of that norm give these logits.

    >>> print(feature_cosines([1.0, -2.0], 2.0, [1.0, 2.0]))
    [ 0.5 -0.5]
    """
    positive = lambda v: (v > 0) & (v < np.inf)
    slack = 1 + max(1e-9, 4 * precision(z), 4 * precision(norm))
    require("z", z, "be finite", np.isfinite, "at rho = 0 use the signs of the labels")
    require("norm", norm, "be positive and finite", positive, "an oracle of length zero has no direction")
    require("lengths", lengths, "be positive and finite", positive, "a feature of length zero has no direction")
    require_size("z", z)
    require_size("norm", norm, smallest=1 / LARGE)
    require_size("lengths", lengths, smallest=1 / LARGE)
    z, norm, lengths = numeric("z", z), numeric("norm", norm), numeric("lengths", lengths)
    if not z.ndim or lengths.shape != z.shape[-1:] or not _one_fits(z.shape[:-1], norm.shape):
        raise ValueError("z must have test points along its last axis, lengths shape (points,), and norm one number "
                         f"for each row of z, got {z.shape}, {lengths.shape} and {norm.shape}: take all at the same "
                         "points")
    cosines = z / (norm[..., None] * lengths)
    require("cosines", cosines, "lie in [-1, 1]", lambda c: np.abs(c) <= slack,
            "the norm is too small for these logits z and lengths; estimate it from more samples")
    return np.clip(cosines, -1, 1)


def angle_distribution(beta: Float[ArrayLike, "*b"], cosines: Float[ArrayLike, " m"]) -> Float[np.ndarray, "*b"]:
    r"""Accumulative angle distribution, Eq. 6.

    .. math:: p(\beta) = \mathbb P_x \bigl[\bar\alpha(\phi(x), \Delta w_* - \Delta w_z) \ge \beta\bigr],
              \qquad \bar\alpha \in [0, \pi/2]

    The paper has >; with >= it also bounds the share of points at which the student cannot decide. It is 1 for
    :math:`\beta \le 0`.

    Args:
        beta: angles in radians.
        cosines: from :func:`feature_cosines`.

    Raises:
        ValueError: NaN, or cosines outside [-1, 1].

    >>> print(angle_distribution([-0.1, 0.5, np.pi / 2], [0.9, -0.5, 0.0]))
    [1.         0.66666667 0.33333333]
    """
    angles = _folded(cosines)
    require("beta", beta, "be a number", lambda b: ~np.isnan(b), "give angles in radians")
    return 1 - np.searchsorted(angles, numeric("beta", beta)) / len(angles)


def risk_bound(
    angles: Float[ArrayLike, "*n"], cosines: Float[ArrayLike, " m"], *, acute: bool = False
) -> Float[np.ndarray, "*n"]:
    r"""Theorem 1: the transfer risk of students at these angles to their oracle.

    .. math:: \mathcal R_n \le p\bigl(\tfrac\pi2 - \alpha_n\bigr)

    Args:
        angles: :math:`\alpha_n`, from :func:`weight_angles`.
        cosines: from :func:`feature_cosines`.
        acute: whether to fold the angle into [0, pi/2], as the paper does. It makes no difference if
            :math:`\Delta w_z = 0`; otherwise the folded bound can be wrong: a student opposite to its oracle
            has a folded angle of zero and errs everywhere.

    Raises:
        ValueError: angles outside [0, pi], or cosines outside [-1, 1].

    >>> print(risk_bound([0.1, np.pi], [0.9, -0.5, 0.05]))
    [0.33333333 1.        ]
    """
    largest = np.pi * (1 + precision(angles))  # pi in single precision is more than pi
    require("angles", angles, "lie in [0, pi]", lambda a: (a >= 0) & (a <= largest), "give them in radians")
    angles = np.minimum(numeric("angles", angles), np.pi)
    if acute:
        angles = np.minimum(angles, np.pi - angles)
    return angle_distribution(np.pi / 2 - angles, cosines)


def phuong_lampert_bound(n: Float[ArrayLike, "*n"], cosines: Float[ArrayLike, " m"]) -> Float[np.ndarray, "*n"]:
    r"""The bound of Phuong and Lampert for linear distillation, as the paper's Section 3.2 states it.

    .. math:: \mathcal R_n \le \inf_{\beta \in [0, \pi/2]} p(\beta) + p\bigl(\tfrac\pi2 - \beta\bigr)^n

    It uses of n samples the one whose features are nearest to the oracle, and holds in expectation over them. It is
    1 if no feature comes within 45 degrees of it.

    Raises:
        ValueError: n that are not whole numbers from 1 up, or cosines outside [-1, 1].

    >>> print(phuong_lampert_bound([1, 3], [0.99, 0.95, 0.9, 0.1]))
    [0.5      0.265625]
    """
    n = require_whole("n", n, "give numbers of samples")
    angles = _folded(cosines)
    # The first term steps down just beyond an angle, the second steps up: only those places can be lowest.
    beyond = 1 - np.searchsorted(angles, angles, side="right") / len(angles)
    within = 1 - np.searchsorted(angles, np.pi / 2 - angles) / len(angles)
    return np.minimum(np.min(beyond + within ** n[..., None], axis=-1), 1)


def power_function_bound(
    z: Float[ArrayLike, "*#n m"], distances: Float[ArrayLike, "*n m"], gaps: Float[ArrayLike, "*n"]
) -> Float[np.ndarray, "*n"]:
    r"""Our bound: a student errs only where a logit is smaller than what it may be wrong by.

    .. math:: |z_*(x) - z_n(x)| \le \text{gap}_n\, P_n(x), \qquad
              \mathcal R_n \le \mathbb P_x \bigl[|z(x)| < \text{gap}_n\, P_n(x)\bigr]

    with either the oracle's logits for z, or the student's own, and whatever :math:`z_0` is.

    Args:
        z: the oracle's logits; or the student's, one row for each size: then no test point needs
            a teacher.
        distances: :math:`P_n(x)`, from :meth:`~kdlib.students.NestedStudents.distance`.
        gaps: from :func:`weight_gaps`, at the same sizes.

    Raises:
        ValueError: NaN, negative distances or gaps, or shapes that do not belong together.

    >>> print(power_function_bound([0.1, -0.3, 2.0], [[1.0, 1.0, 0.5], [0.3, 0.5, 0.2]], [2.0, 0.5]))
    [0.66666667 0.33333333]
    """
    z, distances, gaps = numeric("z", z), numeric("distances", distances), numeric("gaps", gaps)
    _require_lengths(z=z, distances=distances, gaps=gaps)
    points = distances.shape[-1:]
    if not distances.size or distances.shape[:-1] != gaps.shape or z.shape not in (points, distances.shape):
        raise ValueError("distances must have shape (sizes, points), gaps (sizes,) and z (points,) or (sizes, points), "
                         f"got {distances.shape}, {gaps.shape} and {z.shape}: take all at the same ones")
    with np.errstate(over="ignore"):
        return np.mean(np.abs(z) < gaps[..., None] * distances, axis=-1)


def class_power_function_bound(
    z: Float[ArrayLike, "*#n m K"], distances: Float[ArrayLike, "*n m"], gaps: Float[ArrayLike, "*n K K"]
) -> Float[np.ndarray, "*n"]:
    r"""The power-function bound for K classes: a student errs only where a margin is smaller than it may be wrong by.

    .. math:: \bigl|(z_{*,i} - z_{*,j})(x) - (z_{n,i} - z_{n,j})(x)\bigr| &\le \text{gap}_{n,ij}\, P_n(x), \\
              \mathcal R_n &\le \mathbb P_x \bigl[\exists j:\; z_c(x) - z_j(x) < \text{gap}_{n,cj}\, P_n(x)\bigr],
              \qquad c = \arg\max_k z_k(x)

    with either the oracle's logits for z, or the student's own, if both have the same :math:`z_0`. Proof: a margin of
    the student is that of the student of the difference of the targets, so it obeys the bound for two classes,
    :func:`power_function_bound`. If every margin of c is at least what it may be wrong by, then the other's margins of
    c are not negative, and the other chooses c, too, or cannot decide.

    Args:
        z: the oracle's logits at test points; or the student's, for each size.
        distances: :math:`P_n(x)`, from :meth:`~kdlib.students.NestedStudents.distance`.
        gaps: from :func:`class_weight_gaps`, at the same sizes.

    Raises:
        ValueError: NaN, negative distances or gaps, or shapes that do not belong together.

    >>> gaps = np.ones((3, 3)) - np.eye(3)
    >>> z = [[1.0, 0.0, 0.2], [0.0, 0.6, 0.5]]
    >>> print(class_power_function_bound(z, [[0.3, 0.3], [0.05, 0.05]], [gaps, gaps]))
    [0.5 0. ]
    """
    z, distances, gaps = numeric("z", z), numeric("distances", distances), numeric("gaps", gaps)
    _require_lengths(z=z, distances=distances, gaps=gaps)
    K, points = z.shape[-1] if z.ndim else 0, distances.shape[-1:]
    if (K < 2 or not distances.size or gaps.shape != (*distances.shape[:-1], K, K)
            or z.shape not in ((*points, K), (*distances.shape, K))):
        raise ValueError("distances must have shape (sizes, points), gaps (sizes, K, K) and z (points, K) or (sizes, "
                         f"points, K), got {distances.shape}, {gaps.shape} and {z.shape}: take all at the same ones")
    chosen = np.broadcast_to(z.argmax(axis=-1), distances.shape)[..., None]
    with np.errstate(over="ignore", invalid="ignore"):
        margins = z.max(axis=-1, keepdims=True) - z
        wrong_by = np.take_along_axis(gaps, chosen, axis=-2) * distances[..., None]
        decided = (margins >= wrong_by) | (np.arange(K) == chosen)
    return np.mean(~decided.all(axis=-1), axis=-1)


def spectral_bound(
    students: NestedStudents,
    x_test: Float[ArrayLike, "m d"],
    z: Float[ArrayLike, " m"],
    gaps: Float[ArrayLike, " n"],
    sizes: Sequence[int],
) -> Float[np.ndarray, " n"]:
    r"""The power-function bound, refined: no student is wrong by as much as it may be at every point at once.

    Errors :math:`r = z_* - z_n` are a function of the residual kernel
    :math:`K_n(x, x') = \Theta(x, x') - \Theta(x, X_n)\,\Theta_n^{-1}\Theta(X_n, x')` with a norm of
    :math:`\text{gap}_n`. On any set S of test points, then,

    .. math:: \sum_{x \in S} r(x)^2 \le \text{gap}_n^2\, \lambda_{\max}\bigl(K_n(S, S)\bigr),

    and a change of sign costs :math:`z_*(x)^2` of that. With S the points that :func:`power_function_bound` counts,
    the bound is the largest number of them that can be paid for, as a share of all.

    Args:
        students: the students.
        x_test: test points; the bound is one on these. Memory is of order m (N + m).
        z: the oracle's logits there.
        gaps: from :func:`weight_gaps`, at the sizes.
        sizes: numbers of samples.

    >>> students = NestedStudents(np.array([[0.0], [1.0], [3.0]]), lambda a, b: np.minimum(a, b.T) + 1)
    >>> x, z = np.array([[0.5], [1.5], [2.0], [2.5]]), np.array([0.4, -0.3, -0.49, -0.6])
    >>> print(power_function_bound(z, students.distance(x, [2]), [0.5]), spectral_bound(students, x, z, [0.5], [2]))
    [0.75] [0.5]
    """
    z, gaps, x_test = numeric("z", z), numeric("gaps", gaps), numeric("x_test", x_test)
    sizes = require_whole("sizes", sizes, "give numbers of samples", len(students))
    require_vectors(z=z, gaps=gaps, sizes=sizes)
    require_rows(x_test=x_test, z=z)
    require_rows(sizes=sizes, gaps=gaps)
    unseen = students.distance(x_test, sizes)
    _require_lengths(z=z, distances=unseen, gaps=gaps)
    require_size("z", z)
    require_size("gaps", gaps)
    seen = students.coordinates(students.kernel(students.x, x_test))
    shares = []
    for n, gap, distances in zip(sizes, gaps, unseen, strict=True):
        S = np.abs(z) < gap * distances
        if not S.any():
            shares.append(0.0)
            continue
        residual = np.asarray(students.kernel(x_test[S], x_test[S])) - seen[:n, S].T @ seen[:n, S]
        largest = np.trace(residual)
        if len(residual) > 1:
            start = np.random.default_rng(0).standard_normal(len(residual))  # else it would be drawn anew
            largest = eigsh(residual, 1, v0=start, return_eigenvectors=False)[0]
        costs = np.cumsum(np.sort(z[S] ** 2))
        shares.append(np.searchsorted(costs, gap**2 * largest, side="right") / len(z))
    return np.array(shares)


class PowerLaw(NamedTuple):
    """What :func:`fit_power_law` returns."""

    exponent: float  #: of n
    error: float  #: standard error
    replicates: np.ndarray  #: exponents without run 1, without run 2, ...

    def minus(self, other: "PowerLaw") -> tuple[float, float]:
        """Difference of two exponents, and its standard error if their runs are the same repetitions."""
        return self.exponent - other.exponent, standard_error(self.replicates - other.replicates)


def fit_power_law(n: Float[ArrayLike, " n"], values: Float[ArrayLike, "runs n"]) -> PowerLaw:
    r"""Exponent of :math:`\mathbb E\,[\text{value}] \propto n^b`, by least squares through the logarithms of the means.

    Runs are independent repetitions; the standard error is the jackknife's over them, and so covers noise that the
    sizes of one run share.

    Raises:
        ValueError: fewer than two runs or sizes; a mean that is not positive.

    >>> n = np.array([10, 100, 1000])
    >>> fit = fit_power_law(n, np.outer([1.0, 1.1, 0.9], 2 * n**-0.5))
    >>> print(f"{fit.exponent:.3f}, error below 1e-9: {fit.error < 1e-9}")
    -0.500, error below 1e-9: True
    """
    n, values = numeric("n", n), numeric("values", values)
    require("values", values, "be finite", np.isfinite, "leave out runs that failed")
    require("n", n, "be positive and finite", lambda v: (v > 0) & (v < np.inf), "a power law has no value there")
    if values.ndim != 2 or values.shape[1:] != n.shape or len(values) < 2 or len(np.unique(n)) < 2:
        raise ValueError("values must have a row for each of two or more runs and a column for each of two or more n, "
                         f"got shape {values.shape} for {n.size} n: repeat the experiment with other seeds")
    x = np.log(n) - np.log(n).mean()

    def exponent(means):
        require("values", means, "have positive means, also without any one run", lambda v: v > 0,
                "leave out sizes at which nothing was seen, or look harder")
        return np.log(means) @ x / (x @ x)

    value, replicates = with_replicates(exponent, values)
    return PowerLaw(value, standard_error(replicates), replicates)


def _one_fits(a, b):
    """Whether one of two shapes broadcasts to the other: else both would, to all pairs."""
    try:
        return np.broadcast_shapes(a, b) in (a, b)
    except ValueError:
        return False


def _folded(cosines):
    """Angles in [0, pi/2], in increasing order."""
    largest = 1 + precision(cosines)
    cosines = numeric("cosines", cosines)
    require_vectors(cosines=cosines)
    require("cosines", cosines, "lie in [-1, 1]", lambda c: np.abs(c) <= largest, "see feature_cosines")
    if not cosines.size:
        raise ValueError("cosines must be of at least one test point, got none: draw some")
    return np.sort(np.arccos(np.minimum(np.abs(cosines), 1)))


def _require_lengths(*, z, distances, gaps):
    require("z", z, "be numbers", lambda z: ~np.isnan(z), "repair those logits first")
    for name, lengths in (("distances", distances), ("gaps", gaps)):
        require(name, lengths, "be finite and at least 0", lambda v: (v >= 0) & (v < np.inf),
                "take them from NestedStudents.distance and weight_gaps")


def _after(terms):
    """For every n, the sum of the terms after the first n: a tail, which keeps its digits when small."""
    tail = np.zeros_like(terms)
    tail[:-1] = np.cumsum(terms[:0:-1], axis=0)[::-1]
    return tail


def _missing(c, norm):
    """Squared gaps of all students, and the oracle's squared norm."""
    if norm is None:
        return _after(c**2), np.sum(c**2, axis=0)
    require("norm", norm, "be positive and finite", lambda v: (v > 0) & (v < np.inf), "give the oracle's own")
    slack, norm = max(1e-9, 4 * precision(norm)), numeric("norm", norm)
    if norm.shape not in ((), c.shape[1:]):
        raise ValueError(f"norm must have shape () or {c.shape[1:]}, got {norm.shape}: one for each column of targets")
    squares = np.cumsum(c**2, axis=0)
    longest = np.sqrt(squares[-1])
    require("norm", np.where(norm < longest * (1 - slack), norm, np.inf),
            f"be at least a student's, at most {np.max(longest):.6g}", lambda v: v == np.inf,
            "it is not an oracle of these targets, delta_z; if it was estimated, take more samples")
    require_size("norm", norm)
    return np.maximum(norm**2 - squares, 0), norm**2
