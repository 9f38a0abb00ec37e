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

from kdlib._checks import choice, numeric, real, require, require_size, require_whole, shown
from kdlib._gram import (
    kernel_diagonal,
    kernel_values,
    require_independent,
    require_symmetric,
    rounding_unit,
    sample_rows,
)

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
        engine: ``"memory"``, or ``"dask"`` for a Gram matrix that is computed and factorised in blocks, by whatever
            runs Dask's tasks: threads of this process, or a cluster once a ``distributed.Client`` is connected to it.
            The factor stays there, on disk if need be; every call is one computation, and returns the same
            arrays. See :doc:`/book/running_at_scale`.
        chunks: edge of Dask's blocks, 1000 by default.

    Raises:
        ValueError: inputs or kernel values that are not finite, a kernel that is not square, in a sample of its rows
            not symmetric, or not positive definite, or samples so nearly dependent that the factorisation
            would return rounding errors; the last two say how large a jitter must be. With Dask an error that
            counts bad values counts those of one block.
        ModuleNotFoundError: Dask is not installed.

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

    def __init__(
        self,
        x: Float[ArrayLike, "N d"],
        kernel: Callable,
        *,
        jitter: float = 0.0,
        engine: str = "memory",
        chunks: int | None = None,
    ):
        self.x = numeric("x", x)
        self.kernel = kernel
        self.jitter = real("jitter", jitter, "lie in [0, inf)", lambda j: 0 <= j < np.inf, "leave it out for none")
        if not self.x.ndim or not len(self.x):
            raise ValueError(f"x must hold at least one sample, got shape {self.x.shape}: check how it was selected")
        require("x", self.x, "be finite", np.isfinite, "remove or repair those samples first")
        if choice("engine", engine, ("memory", "dask"), "leave it out to compute in memory") == "dask":
            from kdlib._dask import Tiled

            self._engine = Tiled(self.x, kernel, self.jitter, chunks)
        elif chunks is not None:
            raise ValueError(f"chunks must go with engine='dask', got {shown(chunks)}: in memory, leave it out")
        else:
            self._engine = _InMemory(self.x, kernel, self.jitter)

    def __len__(self):
        return len(self.x)

    @property
    def factor(self) -> Float[np.ndarray, "N N"]:
        """The factor L; only its lower triangle counts. With ``engine="dask"`` it is a Dask array."""
        return self._engine.factor

    def coordinates(self, delta_z: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""Coordinates :math:`c = L^{-1} \Delta z` of the weight change; student n has the first n.

        They are the student's: two students' distance or angle in weight space is that of their
        coordinates.

        Raises:
            ValueError: targets that are not finite, or not one for each sample. All methods that take targets raise it.
        """
        return self._coordinates(delta_z, "delta_z")

    def _coordinates(self, delta_z, name):
        [c] = self._engine.solve(self._targets(delta_z, name))
        return c

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
        c_a, c_b = self._engine.solve(self._targets(a, "a"), self._targets(b, "b"))
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
        delta_z = self._targets(delta_z)
        sizes = self._sizes(sizes)

        def learnt(features, c, first):
            features, ends = features.T, _ends(sizes, first, len(c))
            predictions = np.empty((len(sizes), len(features), *c.shape[1:]))
            running, reached = np.zeros(predictions.shape[1:]), 0
            for i in np.argsort(ends, kind="stable"):
                running = running + features[:, reached : ends[i]] @ c[reached : ends[i]]
                predictions[i], reached = running, ends[i]
            return predictions

        return self._engine.add_up(learnt, len(sizes), self._points(x_test), delta_z)

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

        def seen(features, c, first):
            ends = _ends(sizes, first, len(features))[:, None]
            return np.where(ends > 0, np.cumsum(features**2, axis=0)[ends[:, 0] - 1], 0)

        squares = kernel_diagonal(self.kernel, x_test, "x_test") - self._engine.add_up(seen, len(sizes), x_test)
        return np.sqrt(np.maximum(squares, 0))

    def feature_lengths(self, x_test: Float[ArrayLike, "M d"]) -> Float[np.ndarray, " M"]:
        r"""Length of :math:`\phi(x)`, :math:`\sqrt{\Theta(x, x)}`: the distance before any sample was seen.

        >>> students = NestedStudents([[1.0, 0.0]], lambda a, b: a @ b.T)
        >>> print(students.feature_lengths([[3.0, 4.0]]), students.distance([[3.0, 4.0]], [1]))
        [5.] [[4.]]
        """
        return np.sqrt(kernel_diagonal(self.kernel, self._points(x_test), "x_test"))

    def leave_one_out(self, delta_z: Float[ArrayLike, "N ..."]) -> Float[np.ndarray, "N ..."]:
        r"""For each sample, what the student of the N-1 others predicts there.

        .. math:: f_{-i}(x_i) = \Delta z_i - \alpha_i / [\Theta^{-1}]_{ii}, \qquad
                  \alpha = \Theta^{-1} \Delta z

        >>> students = NestedStudents([[0.0], [1.0], [3.0]], lambda a, b: np.minimum(a, b.T) + 1)
        >>> print(students.leave_one_out([1.0, 2.0, 2.0]).round(4))
        [1.     1.3333 2.    ]
        """
        delta_z = self._targets(delta_z)
        inverse = self.inverse_factor()
        precision = np.einsum("ji,ji->i", inverse, inverse)  # diagonal of Theta^-1 = L^-T L^-1
        alpha = inverse.T @ (inverse @ delta_z)
        return np.asarray(delta_z - alpha / precision.reshape(-1, *[1] * (delta_z.ndim - 1)))

    def inverse_factor(self) -> Float[np.ndarray, "N N"]:
        r"""The inverse :math:`L^{-1}`, lower triangular: row i holds what sample i's direction is made of.

        With ``engine="dask"`` it is a Dask array, not computed yet; NumPy's functions take it as it is.

        >>> students = NestedStudents([[1.0, 0.0], [1.0, 1.0]], lambda a, b: a @ b.T)
        >>> print(students.inverse_factor())
        [[ 1.  0.]
         [-1.  1.]]
        """
        return self._engine.inverse()

    def _points(self, x_test):
        x_test = numeric("x_test", x_test)
        require("x_test", x_test, "be finite", np.isfinite, "remove or repair those points first")
        if x_test.ndim != self.x.ndim or x_test.shape[1:] != self.x.shape[1:]:
            shape = ", ".join(["m", *map(str, self.x.shape[1:])])
            raise ValueError(f"x_test must have shape ({shape}), got {x_test.shape}: one row for each point, with the "
                             "features of x")
        return x_test

    def _targets(self, delta_z, name="delta_z"):
        delta_z = numeric(name, delta_z)
        if delta_z.ndim not in (1, 2) or len(delta_z) != len(self):
            raise ValueError(f"{name} must have shape ({len(self)},) or ({len(self)}, k), got {delta_z.shape}: "
                             "one target for each sample")
        require(name, delta_z, "be finite", np.isfinite,
                "at rho = 0 no finite target exists; its direction is that of the labels' signs, 2 y_g - 1")
        require_size(name, delta_z)
        return delta_z

    def _sizes(self, sizes):
        if sizes is None:
            return np.arange(1, len(self) + 1)
        sizes = np.atleast_1d(require_whole("sizes", sizes, "give numbers of samples", len(self)))
        if sizes.ndim != 1:
            raise ValueError(f"sizes must be a list of numbers, got shape {sizes.shape}: flatten it")
        return sizes


class _InMemory:
    """What is done with the factor L, held as one array."""

    def __init__(self, x, kernel, jitter):
        self.x, self.kernel, N = x, kernel, len(x)
        gram = kernel_values(kernel, x, x, "x")
        eps = rounding_unit(gram)
        # A copy: the factorisation overwrites it, and the kernel may keep its own.
        gram = np.array(gram, float, order="C")
        some = sample_rows(N)
        require_symmetric(gram[some], gram[:, some], gram.diagonal(), eps)
        gram[np.diag_indices(N)] += jitter
        diagonal = gram.diagonal().copy()
        # A symmetric C-ordered array is its own transpose in Fortran's order, which LAPACK takes in place.
        self.factor, failed = dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
        pivots = self.factor.diagonal()[: failed - 1 if failed else N] ** 2

        def values(some, others):  # the upper triangle still holds the kernel
            i, j = np.meshgrid(some, others, indexing="ij")
            return np.where(i == j, diagonal[i] - jitter, self.factor[np.minimum(i, j), np.maximum(i, j)])

        require_independent(pivots, diagonal, jitter, eps, values)

    def solve(self, *targets):
        """Coordinates L^-1 z of each of the targets."""
        return [solve_triangular(self.factor, z, lower=True, check_finite=False) for z in targets]

    def inverse(self):
        return np.tril(dtrtri(self.factor, lower=1)[0])

    def add_up(self, terms, count, x_test, target=None):
        """Sums over samples, for each of `count` students and each test point.

        `terms(features, c, first)` adds up those of samples first, first + 1, ...: here, of all. Features are
        L^-1 Theta(X, x), the coordinates of phi(x) in the directions that the samples added, and c those of the
        target, or None.
        """
        c = None if target is None else self.solve(target)[0]
        sums = np.empty((count, len(x_test), *np.shape(target)[1:]))
        for start in range(0, len(x_test), _TEST_BLOCK):
            part = slice(start, start + _TEST_BLOCK)
            cross = np.array(kernel_values(self.kernel, self.x, x_test[part], "x_test"), float, order="F")
            features = solve_triangular(self.factor, cross, lower=True, overwrite_b=True, check_finite=False)
            sums[:, part] = terms(features, c, 0)
        return sums


def _ends(sizes, first, count):
    """How many of `count` samples from the first on each student has."""
    return np.clip(sizes - first, 0, count)
