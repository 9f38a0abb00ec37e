"""What students and teachers ask of a kernel: values of the right shape, symmetric, of independent samples."""

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigvalsh

from kdlib._checks import precision, require


def kernel_values(kernel, x, others, name):
    """The kernel between samples and the others so named."""
    if not callable(kernel):
        remedy = "pass its method ntk" if hasattr(kernel, "ntk") else "pass one, such as network.ntk"
        raise ValueError(f"kernel must be a function k(x1, x2), got a {type(kernel).__name__}: {remedy}")
    values = kernel(x, others)
    require(f"kernel(x, {name})", values, "be finite", np.isfinite, "repair the inputs or the kernel")
    values = np.asarray(values)
    if values.shape != (len(x), len(others)):
        raise ValueError(f"kernel(x, {name}) must have shape {(len(x), len(others))}, got {values.shape}: "
                         "one row and one column for each of the samples")
    return values


def rounding_unit(values):
    """2^-52, or that of single precision if the kernel computes in it."""
    return precision(values)


def sample_rows(N):
    """A few rows from first to last, in which symmetry is checked."""
    return np.linspace(0, N - 1, min(N, 8)).astype(int)


def require_symmetric(rows, columns, diagonal, eps):
    """To 1e-8 of the largest entry, or what a kernel of lower precision can keep."""
    asymmetry = np.abs(rows - columns.T).max() / max(np.abs(diagonal).max(), 1e-300)
    require("kernel(x, x)", asymmetry, "be symmetric", lambda a: a < _slack(eps),
            "that is its relative asymmetry; average it with its transpose if it is rounding, or use another kernel")


def _slack(eps):
    """The error that an entry may have, relative to the largest: kernels by other ways are that far from exact."""
    return max(1e-8, 100 * eps)


def semidefinite(values):
    """A kernel's matrix in float64 and symmetric to the last bit, if it is positive semidefinite up to rounding."""
    eps = rounding_unit(values)
    gram = np.asarray(values, float)
    diagonal = gram.diagonal()
    if not (diagonal >= 0).all() or not diagonal.any():
        i = int(diagonal.argmin())
        raise ValueError(f"kernel(x, x) must be positive on the diagonal, got {diagonal[i]:g} at sample {i}: "
                         "use a positive definite kernel")
    require_symmetric(gram, gram, diagonal, eps)
    gram = (gram + gram.T) / 2
    shifted = gram.copy()
    shifted[np.diag_indices(len(gram))] += _slack(eps) * len(gram) * diagonal.max()  # eigenvalues err by no more
    try:
        cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        least = eigvalsh(gram, subset_by_index=[0, 0], check_finite=False)[0]
        raise ValueError(f"kernel(x, x) must be positive semidefinite, got an eigenvalue of {least:.3g}: "
                         "this kernel is not positive definite, use another") from None
    return gram


def require_independent(pivots, diagonal, jitter, eps, values):
    """Raise if a pivot is not sound, or if there are fewer than samples: then the factorisation stopped.

    A pivot, L_ii^2, is what is left of Theta_ii once earlier samples are projected out. Rounding
    makes an error of about N eps Theta_ii in it, so a smaller pivot is noise, even where it comes out positive.
    `eps` is that of the kernel's own precision; `values(S, others)` gives the kernel among samples, without the jitter
    that `diagonal` includes.
    """
    N = len(diagonal)
    noise = 10 * N * eps * diagonal
    sound = pivots > noise[: len(pivots)]
    if len(pivots) == N and sound.all():
        return
    i = len(pivots) if sound.all() else int(sound.argmin())
    if not diagonal[i] > 0:
        raise ValueError(f"kernel(x, x) must be positive on the diagonal, got {diagonal[i]:g} at sample {i}: "
                         "use a positive definite kernel")
    likeness = values(np.arange(i), [i])[:, 0] / np.sqrt(diagonal[:i] * diagonal[i])
    # The samples that tell most: those before it that are most like it, and some of the rest.
    some = np.sort(np.r_[i, np.argsort(-np.abs(likeness)), i + 1 : N][:_DIAGNOSED])
    least = eigvalsh(values(some, some), subset_by_index=[0, 0])[0]
    if least + jitter < -noise.max():
        raise ValueError(f"kernel(x, x) must be positive definite, got the eigenvalue {least:.3g} among {len(some)} "
                         f"samples: use another kernel, or a jitter from {_above(2 * noise.max() - least)} up and "
                         "accept its bias")
    j = int(likeness.argmax()) if i else 0
    nearest = f"; nearest is sample {j}, with a correlation of {likeness[j]:.12g}" if i else ""
    exact = ", compute the kernel in double precision" if eps > np.finfo(float).eps else ""
    raise ValueError(
        f"samples must be independent, but to this kernel sample {i} (counted from 0) is a combination of "
        f"earlier ones, up to rounding{nearest}: drop it{exact}, or pass a jitter from "
        f"{_above(jitter + 3 * noise.max())} up and accept its bias"
    )


_DIAGNOSED = 1000  # samples whose eigenvalues are looked at: a second


def _above(value):
    """A number of two digits that is not below."""
    return f"{float(f'{1.06 * value:.2g}'):g}"


def kernel_diagonal(kernel, x, name):
    few = 64
    parts = (x[i : i + few] for i in range(0, len(x), few))
    return np.concatenate([np.empty(0), *(np.diagonal(kernel_values(kernel, part, part, name)) for part in parts)])
