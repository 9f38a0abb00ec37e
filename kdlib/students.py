r"""Converged students on nested samples, for every sample size at once (Eq. 4 and Eq. 5).

The first n of N ordered samples train the n-th student. One Cholesky factorisation,
:math:`\Theta = L L^\top`, serves them all: the first n rows of L factorise :math:`\Theta_n`. Its rows
are Gram-Schmidt at work on the features :math:`\phi(x_1), \phi(x_2), \dots`: sample i adds one new
direction, and a student's weight change has there the coordinate :math:`c_i = (L^{-1} \Delta z)_i`,
whatever samples come later. Norms, predictions and inner products are running sums over i.

Source: Eq. 4, 5, 9 and 12 of the paper. The recursion is that of Gaussian-process regression:
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, Algorithm 2.1
and Eq. 5.12 (leave-one-out).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dtrtri

from kdlib._checks import require, require_whole

_TEST_BLOCK = 1024  # test points handled at a time: bounds the memory beyond the result


class NestedStudents:
    r"""The converged linearised students of the first 1, 2, ..., N samples.

    Student n has the weight change (Eq. 4)

    .. math:: \Delta\hat w_n = \phi(X_n)\, \Theta_n^{-1} \Delta z_n, \qquad
              \Delta z = z - z_0, \qquad \Theta_n = \Theta(X_n, X_n),

    where z are the target logits, mostly effective logits, and :math:`z_0 = f(x; w_0)` the student's
    own logits at initialisation. Every method takes :math:`\Delta z`, so the choice of
    :math:`z_0` is the caller's: zero, :meth:`~kdlib.networks.Network.initial_logits` for an infinitely
    wide network, or a given network's ``apply(params, x)``.

    Targets have shape ``(N,)``, or ``(N, k)`` for k targets at once: other rho, T, teachers or
    labels cost no second factorisation.

    Args:
        x: inputs, in the order in which students receive them.
        kernel: any symmetric positive definite ``k(x1, x2)``, such as ``network.ntk``.
        jitter: added to the kernel's diagonal, 0 by default. A positive one makes every student miss
            its targets a little and its norm come out too small, the more so the rougher the target. (It is
            the norm for features to which sample i has added a coordinate of its own, sqrt(jitter).)

    Attributes:
        factor: L, of shape (N, N); only its lower triangle counts.

    Raises:
        ValueError: inputs or kernel values that are not finite, a kernel that is not square or, in a
            sample of its rows, not symmetric, or samples so nearly dependent that the factorisation
            would return rounding errors.

    Cost: the kernel, one Cholesky, one triangular solve for each set of targets; two Gram matrices
    of memory at the peak.

    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> students = NestedStudents(x, lambda a, b: np.minimum(a, b.T) + 1)  # Brownian motion from -1
    >>> z = np.array([1.0, 2.0, 2.0])
    >>> print(students.weight_norms(z).round(4))
    [1.     1.4142 1.4142]
    >>> print(students.predict([[0.5], [2.0]], z, sizes=[1, 3]))
    [[1.  1. ]
     [1.5 2. ]]
    """

    def __init__(self, x: Float[ArrayLike, "N d"], kernel: Callable, *, jitter: float = 0.0):
        self.x = np.asarray(x, float)
        if not callable(kernel):
            raise ValueError(f"kernel must be a function k(x1, x2), got {kernel!r}: write network.ntk, for example")
        self.kernel = kernel
        self.jitter = float(jitter)
        require("jitter", jitter, "lie in [0, inf)", lambda j: (j >= 0) & (j < np.inf), "leave it out for none")
        gram = np.asarray(kernel(self.x, self.x))
        eps = np.finfo(gram.dtype if gram.dtype.kind == "f" else float).eps
        # A copy: the factorisation overwrites it, and the kernel may keep its own.
        gram = np.array(gram, float, order="C")
        N = len(self.x)
        if not N:
            raise ValueError("x must hold at least one sample, got none: check how it was selected")
        if gram.shape != (N, N):
            raise ValueError(f"kernel(x, x) must have shape {(N, N)}, got {gram.shape}: "
                             "one row and one column for each of the samples")
        require("kernel(x, x)", gram, "be finite", np.isfinite, "repair the inputs or the kernel")
        some = np.linspace(0, N - 1, min(N, 8)).astype(int)
        asymmetry = np.abs(gram[some] - gram[:, some].T).max() / max(np.abs(gram.diagonal()).max(), 1e-300)
        require("kernel(x, x)", asymmetry, "be symmetric", lambda a: a < 1e-8,
                "that is its relative asymmetry; use another kernel")
        gram[np.diag_indices(N)] += self.jitter
        self.factor = _cholesky(gram, eps)

    def __len__(self):
        return len(self.x)

    def coordinates(self, delta_z: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""Coordinates :math:`c = L^{-1} \Delta z` of the weight change; student n has the first n.

        They are the student's: two students' distance or angle in weight space is that of their
        coordinates.

        Raises:
            ValueError: targets that are not finite, or not one for each sample. All methods that take targets raise it.
        """
        delta_z = self._targets(delta_z)
        return solve_triangular(self.factor, delta_z, lower=True, check_finite=False)

    def weight_norms(self, delta_z: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""Norms of the weight change of all students.

        .. math:: \|\Delta\hat w_n\|_2 = \sqrt{\Delta z_n^\top \Theta_n^{-1} \Delta z_n}, \qquad n = 1, \dots, N.

        They never decrease: student n's weights are a projection of student N's (Eq. 5).
        """
        return np.sqrt(np.cumsum(self.coordinates(delta_z) ** 2, axis=0))

    def inner(self, a: Float[ArrayLike, "N ..."], b: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""Inner products :math:`\langle a, b \rangle_{\Theta_n} = a_n^\top \Theta_n^{-1} b_n` for all n (Eq. 11, 12).

        ``(N,)`` beside ``(N, k)`` is paired with each of its columns.

        Raises:
            ValueError: different numbers of columns; errors as in :meth:`coordinates`.
        """
        c_a, c_b = self.coordinates(a), self.coordinates(b)
        if c_a.ndim == c_b.ndim == 2 and c_a.shape != c_b.shape and 1 not in (c_a.shape[1], c_b.shape[1]):
            raise ValueError(f"a and b must have as many columns, got {c_a.shape[1]} and {c_b.shape[1]}: "
                             "pair them yourself, or give one of them as a vector")
        if c_a.ndim < c_b.ndim:
            c_a = c_a[:, None]
        elif c_b.ndim < c_a.ndim:
            c_b = c_b[:, None]
        return np.cumsum(c_a * c_b, axis=0)

    def predict(
        self, x_test: Float[ArrayLike, "M d"], delta_z: Float[ArrayLike, "N ..."], sizes: Sequence[int] | None = None
    ) -> Float[np.ndarray, "sizes M ..."]:
        r"""What students have learnt, :math:`f(x) - f(x; w_0) = \Theta(x, X_n)\, \Theta_n^{-1} \Delta z_n`.

        Args:
            x_test: where to predict. Add :math:`z_0(x)` there if it is not zero.
            delta_z: targets at the samples, minus :math:`z_0` there.
            sizes: which students; all N by default.

        Raises:
            ValueError: a size outside 1 ... N, or arguments of the wrong shape.
        """
        c = self.coordinates(delta_z)
        sizes = self._sizes(sizes)
        x_test = self._points(x_test)
        predictions = np.empty((len(sizes), len(x_test), *c.shape[1:]))
        for some in _blocks(len(x_test)):
            learnt = self._features(x_test[some]).T
            running, reached = np.zeros((len(learnt), *c.shape[1:])), 0
            for i in np.argsort(sizes, kind="stable"):
                running = running + learnt[:, reached : sizes[i]] @ c[reached : sizes[i]]
                predictions[i, some], reached = running, sizes[i]
        return predictions

    def distance(
        self, x_test: Float[ArrayLike, "M d"], sizes: Sequence[int] | None = None
    ) -> Float[np.ndarray, "sizes M"]:
        r"""Length of the part of :math:`\phi(x)` that no sample has shown: the power function.

        .. math:: P_n(x)^2 = \Theta(x, x) - \Theta(x, X_n)\, \Theta_n^{-1} \Theta(X_n, x)

        It does not depend on any target, never increases in n, and vanishes at the samples (to about
        1e-8 of its size: half the digits of a difference). Errors as in :meth:`predict`.
        """
        sizes = self._sizes(sizes)
        x_test = self._points(x_test)
        squares = np.empty((len(sizes), len(x_test)))
        for some in _blocks(len(x_test)):
            seen = np.cumsum(self._features(x_test[some]) ** 2, axis=0)
            squares[:, some] = self._diagonal(x_test[some]) - seen[sizes - 1]
        return np.sqrt(np.maximum(squares, 0))

    def feature_lengths(self, x_test: Float[ArrayLike, "M d"]) -> Float[np.ndarray, " M"]:
        r"""Length of :math:`\phi(x)`, :math:`\sqrt{\Theta(x, x)}`: the distance before any sample was seen.

        >>> students = NestedStudents([[1.0, 0.0]], lambda a, b: a @ b.T)
        >>> print(students.feature_lengths([[3.0, 4.0]]), students.distance([[3.0, 4.0]], [1]))
        [5.] [[4.]]
        """
        return np.sqrt(self._diagonal(self._points(x_test)))

    def leave_one_out(self, delta_z: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""For each sample, what the student of the N-1 others predicts there.

        .. math:: f_{-i}(x_i) = \Delta z_i - \alpha_i / [\Theta^{-1}]_{ii}, \qquad
                  \alpha = \Theta^{-1} \Delta z

        >>> students = NestedStudents([[0.0], [1.0], [3.0]], lambda a, b: np.minimum(a, b.T) + 1)
        >>> print(students.leave_one_out([1.0, 2.0, 2.0]).round(4))
        [1.     1.3333 2.    ]
        """
        delta_z = self._targets(delta_z)
        inverse = np.tril(dtrtri(self.factor, lower=1)[0])
        precision = np.einsum("ji,ji->i", inverse, inverse)  # diagonal of Theta^-1 = L^-T L^-1
        alpha = inverse.T @ (inverse @ delta_z)
        return delta_z - alpha / precision.reshape(-1, *[1] * (delta_z.ndim - 1))

    def _features(self, x_test):
        """L^-1 Theta(X, x): coordinates of phi(x) in the directions that the samples added."""
        cross = np.array(self.kernel(self.x, x_test), float, order="F")
        require("kernel(x, x_test)", cross, "be finite", np.isfinite, "repair the inputs or the kernel")
        return solve_triangular(self.factor, cross, lower=True, overwrite_b=True, check_finite=False)

    def _diagonal(self, x_test):
        few = 64
        parts = (x_test[i : i + few] for i in range(0, len(x_test), few))
        return np.concatenate([np.diagonal(np.asarray(self.kernel(part, part))) for part in parts])

    def _points(self, x_test):
        x_test = np.asarray(x_test, float)
        if x_test.ndim != self.x.ndim or x_test.shape[1:] != self.x.shape[1:]:
            shape = ", ".join(["m", *map(str, self.x.shape[1:])])
            raise ValueError(f"x_test must have shape ({shape}), got {x_test.shape}: one row for each point, with the "
                             "features of x")
        return x_test

    def _targets(self, delta_z):
        delta_z = np.asarray(delta_z, float)
        if delta_z.ndim not in (1, 2) or len(delta_z) != len(self):
            raise ValueError(f"delta_z must have shape ({len(self)},) or ({len(self)}, k), got {delta_z.shape}: "
                             "one target for each sample")
        require("delta_z", delta_z, "be finite", np.isfinite,
                "at rho = 0 no finite target exists; its direction is that of the labels' signs, 2 y_g - 1")
        return delta_z

    def _sizes(self, sizes):
        if sizes is None:
            return np.arange(1, len(self) + 1)
        sizes = np.atleast_1d(require_whole("sizes", sizes, "give numbers of samples", len(self)))
        if sizes.ndim != 1:
            raise ValueError(f"sizes must be a list of numbers, got shape {sizes.shape}: flatten it")
        return sizes


def _blocks(count):
    return [slice(i, min(i + _TEST_BLOCK, count)) for i in range(0, count, _TEST_BLOCK)]


def _cholesky(gram, eps):
    """Lower factor of the Gram matrix, in its own memory, once its pivots have been found sound.

    A pivot, L_ii^2, is what is left of Theta_ii once earlier samples are projected out. Rounding
    makes an error of about N eps Theta_ii in it, so a smaller pivot is noise, even where it comes out positive.
    `eps` is that of the kernel's own precision.
    """
    N = len(gram)
    diagonal = gram.diagonal().copy()
    # A symmetric C-ordered array is its own transpose in Fortran's order, which LAPACK takes in place.
    factor, failed = dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    pivots = factor.diagonal()[: failed - 1 if failed else N] ** 2
    sound = pivots > 10 * N * eps * diagonal[: len(pivots)]
    if failed or not sound.all():
        i = len(pivots) if sound.all() else int(sound.argmin())
        if not diagonal[i] > 0:
            raise ValueError(f"kernel(x, x) must be positive on the diagonal, got {diagonal[i]:g} at sample {i}: "
                             "use a positive definite kernel")
        # The upper triangle still holds the kernel.
        likeness = factor[:i, i] / np.sqrt(diagonal[:i] * diagonal[i])
        j = int(likeness.argmax()) if i else 0
        nearest = f"; nearest is sample {j}, with a correlation of {likeness[j]:.12g}" if i else ""
        raise ValueError(
            f"samples must be independent, but to this kernel sample {i} (counted from 0) is a combination of "
            f"earlier ones, up to rounding{nearest}: drop it, or pass jitter= and accept its bias"
        )
    return factor
