"""The Gram matrix in blocks, for Dask: an engine of `NestedStudents`.

Blocks have one size, as Dask's Cholesky asks for, so the last samples are made up to a full block by padding: samples
of unit length, orthogonal to all others. They come last, so they change no student, and are cut off.

Only blocks on one side of the diagonal are ever asked for, and the kernel is evaluated where they are
needed; the factor's are kept by the cluster. What gets here has one row for each sample at most.
"""

import numpy as np
from scipy.linalg.lapack import dpotrf

from kdlib._checks import whole
from kdlib._gram import (
    kernel_diagonal,
    kernel_values,
    require_independent,
    require_symmetric,
    rounding_unit,
    sample_rows,
)

try:
    import dask
    import dask.array as da
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f"engine='dask' needs Dask, but there is no module {missing.name}: "
                              "pip install '.[cluster]' in a copy of the repository") from None

_EMPTY = np.empty((0, 0))  # tells Dask the type, which it would otherwise find out by a call with no samples


class Tiled:
    """What is done with the factor L, held as a Dask array."""

    def __init__(self, x, kernel, jitter, chunks):
        self.x, self.kernel, N = x, kernel, len(x)
        self.edge = min(N, whole("chunks", 1000 if chunks is None else chunks, remedy="1000 is a good start"))
        some = sample_rows(N)
        rows, columns = kernel_values(kernel, x[some], x, "x"), kernel_values(kernel, x, x[some], "x")
        diagonal = kernel_diagonal(kernel, x, "x")
        require_symmetric(rows, columns, diagonal, rounding_unit(rows))
        gram = self._gram(jitter)
        try:
            self._factor, pivots = _factorise(gram)
        except np.linalg.LinAlgError:
            pivots = _pivots_until_failure(gram)
        values = lambda some, others: kernel_values(kernel, x[some], x[others], "x")
        require_independent(pivots[:N], diagonal + jitter, jitter, rounding_unit(rows), values)

    @property
    def factor(self):
        return self._factor[: len(self.x), : len(self.x)]

    def solve(self, *targets):
        return [c[: len(self.x)] for c in dask.compute(*map(self._solve, targets))]

    def inverse(self):
        N = len(self.x)
        unit = da.eye(self._factor.shape[0], chunks=self.edge)
        return da.linalg.solve_triangular(self._factor, unit, lower=True)[:N, :N]

    def add_up(self, terms, count, x_test, target=None):
        columns = np.shape(target)[1:]
        if not count or not len(x_test):
            return np.empty((count, len(x_test), *columns))
        cross = da.blockwise(
            _cross_block, "ij", *_rows(self.x, "i", self.edge), *_rows(x_test, "j", self.edge),
            kernel=self.kernel, edge=self.edge, adjust_chunks={"i": self.edge},
            concatenate=True, align_arrays=False, meta=_EMPTY,
        )
        features = da.linalg.solve_triangular(self._factor, cross, lower=True)
        firsts = da.arange(0, len(features), self.edge, chunks=1)
        coordinates = (None, None) if target is None else (self._solve(target), "ik"[: target.ndim])
        parts = da.blockwise(
            lambda features, c, first: terms(features, c, first[0])[None],
            "isjk"[: 3 + len(columns)], features, "ij", *coordinates, firsts, "i",
            new_axes={"s": count}, adjust_chunks={"i": 1}, align_arrays=False, meta=np.empty([0] * (3 + len(columns))),
        )
        return parts.sum(axis=0).compute()

    def _solve(self, z):
        missing = self._factor.shape[0] - len(z)
        padded = np.pad(z, [(0, missing)] + [(0, 0)] * (z.ndim - 1))
        return da.linalg.solve_triangular(self._factor, da.from_array(padded, (self.edge, *z.shape[1:])), lower=True)

    def _gram(self, jitter):
        numbers = da.arange(len(self.x), chunks=self.edge)
        return da.blockwise(
            _gram_block, "ij", numbers, "i", *_rows(self.x, "i", self.edge), numbers, "j",
            *_rows(self.x, "j", self.edge), kernel=self.kernel, jitter=jitter, edge=self.edge,
            adjust_chunks={"i": self.edge, "j": self.edge},
            concatenate=True, align_arrays=False, meta=_EMPTY,
        )


def _rows(x, index, edge):
    """Inputs in blocks of rows, and their indices for blockwise: the features' are unique, and summed over."""
    return da.from_array(x, (edge, *x.shape[1:])), (index, *(f"{index}{axis}" for axis in range(1, x.ndim)))


def _gram_block(i, x_i, j, x_j, kernel, jitter, edge):
    block = np.zeros((edge, edge))
    block[: len(i), : len(j)] = kernel_values(kernel, x_i, x_j, "x")
    if i[0] == j[0]:
        block[np.diag_indices(edge)] += np.where(np.arange(edge) < len(i), jitter, 1.0)
    return block


def _cross_block(x, x_test, kernel, edge):
    return np.pad(kernel_values(kernel, x, x_test, "x_test"), ((0, edge - len(x)), (0, 0)))


def _factorise(gram):
    """The factor, held by the cluster, and its pivots."""
    factor = da.linalg.cholesky(gram, lower=True)
    K = factor.numblocks[0]
    lower = [(i, j) for i in range(K) for j in range(i + 1)]
    held = dict(zip(lower, dask.persist(*(factor.blocks[index] for index in lower)), strict=True))
    # The blocks above the diagonal are zero, and would take as much memory.
    nothing = da.zeros(gram.chunksize, chunks=gram.chunksize)
    factor = da.block([[held.get((i, j), nothing) for j in range(K)] for i in range(K)])
    return factor, _pivots(held[i, i] for i in range(K))


def _pivots(blocks):
    return np.concatenate(dask.compute(*map(da.diagonal, blocks))) ** 2


def _pivots_until_failure(gram):
    """Pivots of all samples before the one at which the factorisation stops.

    A failed task does not tell its place, so halving finds how many blocks still factorise. In the next one, what those
    leave of the kernel is small enough for LAPACK, which does tell.
    """
    good, bad, factor, pivots = 0, gram.numblocks[0], None, np.empty(0)
    while bad - good > 1:
        some = (good + bad) // 2
        try:
            factor, pivots = _factorise(gram.blocks[:some, :some])
            good = some
        except np.linalg.LinAlgError:
            bad = some
    rest = gram.blocks[good, good]
    if good:
        seen = da.linalg.solve_triangular(factor, gram.blocks[:good, good], lower=True)
        rest = rest - seen.T @ seen
    block, failed = dpotrf(rest.compute(), lower=1)
    return np.append(pivots, block.diagonal()[: failed - 1 if failed else None] ** 2)
