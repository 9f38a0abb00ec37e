"""The choice itself, without words and pictures: the steps of :mod:`kdlib.advise`, in numbers.

Experiments use this module, so that what they depend on ends here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from kdlib._checks import (
    numeric,
    ratio,
    real,
    require,
    require_classes,
    require_labels,
    require_logits,
    require_size,
    temperature,
)
from kdlib.advise import _noise
from kdlib.advise._head import predictions
from kdlib.classes import class_targets
from kdlib.distillation import targets
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents

TEMPERATURES = 1.0, 4.0, 10.0  #: of the cells
LAMBDAS = 0.1, 0.3, 1.0, 3.0, 10.0, 30.0  #: strengths of the labels, T^2 (1 - rho) / rho
FEWEST, FEW = 50, 300  #: labels below which there is no verdict, or a warning
_STEPS = 4  # sizes from one number of samples to its double
_PENALTY = 1e-3  # where a linear head cannot reach its targets
_WEIGHTS = 1000  # of such a head, at most: some minutes with 5,000 samples
_FITTED, _LEAST = 17, 5  # sizes that a forecast is made from, at most and at least


class Forecast(NamedTuple):
    """The share of mistakes to expect, with its band."""

    error: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Choice:
    """What :func:`choose` found."""

    rho: float  #: the chosen cell's soft ratio
    T: float  #: its temperature
    verdict: str  #: ``"move"`` there from the default, ``"keep"`` the default, or ``"undecided"``
    default: tuple[float, float]  #: the cell to beat
    cells: np.ndarray  #: one row each, ``rho``, ``T``, ``estimate`` (the mean loss), ``error`` (of that estimate minus
    #: the chosen cell's) and ``mistakes`` (their share)
    avoid: tuple[tuple[float, float], ...]  #: cells (rho, T) that seem worse than the chosen one
    perfect: float  #: share of mistakes if the teacher always put the given label first
    useless: float  #: share of mistakes if the teacher knew nothing, that of the labels alone
    coverage: dict[int, tuple[int, int]]  #: forecasts within their band, and all, for 2 and 4 times the samples
    sizes: np.ndarray  #: numbers of samples, increasing
    curves: dict[str, np.ndarray]  #: smoothed shares of mistakes there, ``chosen``, ``default``, ``soft``, ``hard``
    warnings: tuple[str, ...]  #: sentences
    judged: int  #: samples that the students were judged on
    _gain: tuple  # the best cell, how far its loss is below the default's, and the standard error of that

    @property
    def more(self) -> str:
        """What would help, more samples with ``"labels"``, ``"queries"`` to the teacher alone, or ``"neither"``."""
        for n in (2 * self.sizes[-1], 4 * self.sizes[-1]):
            error, width = self._expected(n)
            most = error * np.exp(width / 2)
            if most < self.curves["chosen"][-1]:
                return "queries" if self._expected(n, "soft")[0] <= most else "labels"
        return "neither"

    def forecast(self, n: int, curve: str = "chosen") -> Forecast:
        """The share of mistakes at n samples, with its band; up to N it is interpolated between what was measured.

        Raises:
            ValueError: fewer than the least of ``sizes``, or more than 4 N.
        """
        first, N = int(self.sizes[0]), int(self.sizes[-1])
        n = real("n", n, f"lie in [{first}, {4 * N}]", lambda n: first <= n <= 4 * N,
                 "forecasts reach to four times the samples")
        error, width = self._expected(n, curve)
        return Forecast(float(min(error, 1)), float(error * np.exp(-width)), float(min(error * np.exp(width), 1)))

    def _expected(self, n, curve="chosen"):
        """The share of mistakes at n samples, and half the width of its band in logarithms."""
        shares, N = self.curves[curve], self.sizes[-1]
        widths = [_width(self.sizes, shares, self.judged, steps) for steps in (0, _STEPS, 2 * _STEPS)]
        if n <= N:
            return np.exp(np.interp(np.log(n), np.log(self.sizes), np.log(shares))), widths[0]
        known = int(np.isfinite(widths).sum())
        width = np.interp(np.log2(n / N), range(known), widths[:known], right=np.inf if known < 3 else None)
        return _extrapolated(self.sizes, shares, n), width


def choose(
    x: Float[ArrayLike, "n d"],
    z_t: Float[ArrayLike, " n *classes"],
    y_g: Int[ArrayLike, " n"],
    *,
    cells: Sequence[tuple[float, float]] | None = None,
    default: tuple[float, float] = (0.9, 4.0),
    held_out: tuple | None = None,
    kernel: Callable | None = None,
    depth: int = 3,
    features: bool = False,
    reluctance: float = 1.0,
    jitter: float = 0.0,
    engine: str = "memory",
    noise: float = 0.0,
) -> Choice:
    """As :func:`kdlib.advise.advise`, which has the same arguments and raises the same errors."""
    x, z_t, y_g = _samples(x, z_t, y_g)
    default = _cell("default", default)
    cells = _grid() if cells is None else [_cell("cells", cell) for cell in cells]
    cells = list(dict.fromkeys([*cells, default]))
    jitter = real("jitter", jitter, "lie in [0, inf)", lambda j: 0 <= j < np.inf, "leave it out for none")
    reluctance = real("reluctance", reluctance, "lie in [0, inf)", lambda r: 0 <= r < np.inf, "1 to 2 serve well")
    others = None if held_out is None else _held_out(held_out, x, z_t)
    most = 0.5 if z_t.ndim == 1 else 1 - 1 / z_t.shape[1]
    noise = real("noise", noise, f"lie in [0, {most:.3g})", lambda p: p == 0 or 1e-12 <= p < most,
                 "it is a share, 0 for none; labels with more tell nothing")
    if features and kernel is not None:
        raise ValueError("kernel must be left out with features=True, whose kernel is x1 x2^T: choose one of the two")
    if features and x.ndim > 2:
        raise ValueError(f"x must have shape (n, d) with features=True, got {x.shape}: write x.reshape(len(x), -1)")

    first = np.sort(np.unique(x.reshape(len(x), -1), axis=0, return_index=True)[1])
    copies = len(x) - len(first)
    first = first[np.argsort(np.arange(len(first)) * ((5**0.5 - 1) / 2) % 1, kind="stable")]
    x, z_t, y_g = x[first], z_t[first], y_g[first]
    if len(x) < 8:
        raise ValueError(f"x must hold at least 8 different samples, got {len(x)}: curves begin there")

    K = 2 if z_t.ndim == 1 else z_t.shape[1]
    if features and len(x) > x.shape[1] and (K - 1) * x.shape[1] > _WEIGHTS:
        raise ValueError(f"x must have at most {_WEIGHTS // (K - 1)} features, got {x.shape[1]} of {len(x)} samples: a "
                         f"linear head for {K} classes takes too long to train with more; keep fewer, such as "
                         "principal components, or no more samples than features")
    x_test, labels = (None, y_g) if others is None else others[::2]
    if features and len(x) > x.shape[1]:
        answers = lambda z_t, cells, sizes: predictions(
            x, z_t, y_g, cells, sizes, jitter or _PENALTY, x_test, noise)
    else:
        kernel = (lambda a, b: a @ b.T) if features else kernel or fully_connected(depth).ntk
        try:
            students = NestedStudents(x, kernel, jitter=jitter, engine=engine)
        except ValueError as error:  # it counts samples in their new order
            as_given = lambda found: f"sample {first[int(found[1])]}"
            message = str(error).replace("samples must", "samples of x must", 1)
            raise ValueError(re.sub(r"\bsample (\d+)", as_given, message)) from None
        learnt = _unseen(students) if x_test is None else lambda z, sizes: students.predict(x_test, z, sizes)

        def answers(z_t, cells, sizes):
            z = cell_targets(z_t, y_g, cells, noise)
            f = learnt(z.reshape(len(z), -1), sizes)
            return f.reshape(*f.shape[:2], *z.shape[1:])

    margins = lambda *which: label_margins(answers(*which), labels)  # sizes, samples, cells

    at_all = margins(z_t, cells, [len(x)])[0]
    loss = smooth_loss(at_all)
    best = _best(loss)
    usual = cells.index(default)
    gain, error = _difference(loss[:, usual], loss[:, best])
    if_right = margins(_corrected(z_t, y_g), cells, [len(x)])[0]
    perfect = float((if_right[:, _best(smooth_loss(if_right))] <= 0).mean())
    useless = float((margins(np.zeros_like(z_t), [_HARD], [len(x)]) <= 0).mean())
    warnings, forbidden = _warnings(x, z_t, y_g, others, copies, cells[best], useless)
    verdict = "undecided" if forbidden else "move" if gain > max(reluctance * error, 0) else "keep"
    chosen = best if verdict == "move" else usual
    worse, errors = _difference(loss, loss[:, [chosen]])
    table = np.array([(*cell, mean, e, wrong) for cell, mean, e, wrong
                      in zip(cells, loss.mean(0), errors, (at_all <= 0).mean(0), strict=True)],
                     [(name, float) for name in ("rho", "T", "estimate", "error", "mistakes")])
    seem_worse = (worse > 2 * errors) & (verdict != "undecided")

    sizes = np.unique(np.floor(len(x) * 2 ** (-np.arange(_STEPS * 40) / _STEPS) + 0.5).astype(int))
    sizes = sizes[sizes >= min(8, len(x))]
    along = dict(chosen=cells[chosen], default=default, soft=_SOFT, hard=_HARD)
    shares = (margins(z_t, list(along.values()), sizes) <= 0).mean(1)
    smoothed = (shares * len(labels) + 0.5) / (len(labels) + 1)
    curves = dict(zip(along, smoothed.T, strict=True))
    coverage = {2**i: _coverage(sizes, curves["chosen"], len(labels), i * _STEPS) for i in (1, 2)}
    return Choice(*cells[chosen], verdict, default, table, tuple(cells[i] for i in np.flatnonzero(seem_worse)), perfect,
                  useless, coverage, sizes, curves, tuple(warnings), len(labels),
                  (cells[best], float(gain), float(error)))


_SOFT, _HARD = (1.0, 1.0), (0.0, 1.0)  # the ends, where T plays no part


def _grid():
    return [_SOFT, *((T**2 / (T**2 + strength), T) for T in TEMPERATURES for strength in LAMBDAS), _HARD]


# --- Students, judged on what they have not seen --------------------------------------------------------------------


def cell_targets(
    z_t: Float[np.ndarray, " n *K"],
    y_g: Int[np.ndarray, " n"],
    cells: Sequence[tuple[float, float]],
    noise: float = 0.0,
) -> Float[np.ndarray, "n cells K"]:
    """What students have to learn of each sample in each cell; of two classes one logit.

    >>> cell_targets(np.array([-1.0]), np.array([1]), [(1, 1), (0, 1)], noise=0.1).round(3).ravel().tolist()
    [-1.0, 1.197]
    """
    rho, T = np.array(cells).T
    if noise:
        z = _noise.targets(_noise.of_classes(z_t), y_g, rho, T, noise)
        return z if z_t.ndim > 1 else z[..., 1:] - z[..., :1]
    if z_t.ndim == 1:
        return np.array(targets(z_t[:, None], y_g[:, None], rho=rho, T=T))[..., None]
    return np.array(class_targets(z_t[:, None], y_g[:, None], rho=rho, T=T))


def _unseen(students):
    """A function of targets and sizes: at each sample, what the students answer that have not seen it."""
    inverse = students.inverse_factor()
    if hasattr(inverse, "persist"):
        inverse = inverse.persist()  # Dask's: it is read for every size

    def predict(z, sizes):
        c = students.coordinates(z)
        return np.stack([at(z, c, m) for m in sizes])

    def at(z, c, m):
        # The first m rows of L and of its inverse are those of student m.
        of_seen = inverse[:m, :m]
        precision = np.asarray(np.einsum("ji,ji->i", of_seen, of_seen))
        alpha = np.asarray(of_seen.T @ c[:m])
        return np.concatenate([z[:m] - alpha / precision[:, None], np.asarray(students.factor[m:, :m] @ c[:m])])

    return predict


def label_margins(
    f: Float[np.ndarray, "... n cells K"], y_g: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "... n cells"]:
    """Margins of the given label over the best other class; of two classes f holds one logit, K = 1."""
    if f.shape[-1] == 1:
        return (2 * y_g - 1)[:, None] * f[..., 0]
    given = np.arange(f.shape[-1]) == y_g[:, None, None]
    return np.where(given, f, -np.inf).max(-1) - np.where(given, -np.inf, f).max(-1)


def smooth_loss(margins: Float[np.ndarray, "n cells"]) -> Float[np.ndarray, "n cells"]:
    r"""A 0-1 loss with soft edges, :math:`\sigma(-8\, m_{ic} / \operatorname{median}_j |m_{jc}|)`."""
    scale = np.median(np.abs(margins), axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled = np.where(margins == 0, 0, margins / scale)
        return 1 / (1 + np.exp(8 * scaled))


def _best(loss):
    means = loss.mean(0)
    return int((means <= means.min() * (1 + 1e-9)).argmax())


def _difference(a, b):
    """The mean of paired differences, and its standard error; what rounding makes is no difference."""
    paired = np.where(np.abs(a - b) < 1e-9, 0, a - b)
    return paired.mean(0), paired.std(0, ddof=1) / len(a) ** 0.5


def _corrected(z_t, y_g):
    """The logits of a teacher that puts the label first: it changes places with the class that was."""
    if z_t.ndim == 1:
        return np.abs(z_t) * (2 * y_g - 1)
    rows, top, result = np.arange(len(z_t)), z_t.argmax(-1), z_t.copy()
    result[rows, top], result[rows, y_g] = z_t[rows, y_g], z_t[rows, top]
    return result


# --- Forecasts ------------------------------------------------------------------------------------------------------


def _extrapolated(sizes, shares, n):
    """By the line through the logarithms of the last sizes."""
    u, v = np.log(sizes[-_FITTED:]), np.log(shares[-_FITTED:])
    spread = ((u - u.mean()) ** 2).sum()
    slope = min(((u - u.mean()) * (v - v.mean())).sum() / spread, 0) if spread else 0
    return np.exp(v.mean() + slope * (np.log(n) - u.mean()))


def _misses(sizes, shares, steps):
    """Logarithmic errors of the forecasts that could be made so many sizes before each."""
    ends = range(_LEAST, len(sizes) - steps + 1) if steps else ()
    known = {i: (shares[i + steps - 1], _extrapolated(sizes[:i], shares[:i], sizes[i + steps - 1])) for i in ends}
    return {i: np.log(share / forecast) for i, (share, forecast) in known.items()}


def _width(sizes, shares, judged, steps):
    """Half the band's width so many sizes ahead, in logarithms."""
    misses = np.array(list(_misses(sizes, shares, steps).values()))
    if steps and not len(misses):
        return np.inf
    return 2 * np.sqrt((misses @ misses / len(misses) if steps else 0) + (1 - shares[-1]) / (shares[-1] * judged))


def _coverage(sizes, shares, judged, steps):
    """How many later shares were inside the bands made before them, and of how many."""
    widths = {i: _width(sizes[:i], shares[:i], judged, steps) for i in range(_LEAST + steps, len(sizes) + 1)}
    inside = [abs(miss) <= widths[i] for i, miss in _misses(sizes, shares, steps).items() if i in widths]
    return sum(inside), len(inside)


# --- What is given --------------------------------------------------------------------------------------------------


def _samples(x, z_t, y_g):
    """Arrays of the same samples, two columns of logits made one."""
    x, z_t, y_g = numeric("x", x), numeric("z_t", z_t), numeric("y_g", y_g)
    require("x", x, "be finite", np.isfinite, "remove or repair those samples first")
    require_logits(z_t=z_t)
    require_size("z_t", z_t)
    require_size("x", x)
    if z_t.ndim not in (1, 2) or z_t.shape[1:] == (1,) or y_g.ndim != 1 or x.ndim < 2 or not (
        len(x) == len(z_t) == len(y_g) > 1
    ):
        raise ValueError("x, z_t, y_g must have shapes (n, d), (n,) or (n, K), and (n,), with two samples or more, got "
                         f"{x.shape}, {z_t.shape}, {y_g.shape}: give one row of each for every sample")
    if z_t.ndim == 1:
        require_labels(y_g)
    else:
        require_classes(y_g, z_t.shape[1])
    if z_t.shape[1:] == (2,):
        z_t = z_t[:, 1] - z_t[:, 0]
    return x, z_t, y_g.astype(int)


def _held_out(held_out, x, z_t):
    try:
        others = _samples(*held_out)
    except (TypeError, ValueError) as error:
        raise ValueError(f"held_out must be (x, z_t, y_g) of other samples: {error}") from None
    if others[0].shape[1:] != x.shape[1:] or others[1].shape[1:] != z_t.shape[1:]:
        raise ValueError(f"held_out must have the columns of x and z_t, got {others[0].shape} and {others[1].shape} "
                         f"beside {x.shape} and {z_t.shape}: select the same ones")
    return others


def _cell(name, pair):
    if not np.iterable(pair) or len(pair := tuple(pair)) != 2:
        raise ValueError(f"{name} must hold pairs (rho, T), got {pair!r}: write (0.9, 4.0)")
    rho, T = ratio("rho", pair[0]), temperature("T", pair[1])
    return _SOFT if rho == 1 else _HARD if rho == 0 else (rho, T)


def _warnings(x, z_t, y_g, others, copies, best, useless):
    """Sentences, and whether they forbid an answer."""
    labels = y_g if others is None else others[2]
    found, forbidden = [], False
    if len(labels) < FEW:
        forbidden = len(labels) < FEWEST
        found.append(f"Only {len(labels)} labels judge the students: {FEW} are enough, and below {FEWEST} there is no "
                     "verdict.")
    if len(np.unique(labels)) < 2:
        forbidden = True
        found.append("All labels that judge the students are the same: they cannot tell good students from bad.")
    right = _is_right(z_t, y_g)
    if others is not None:
        elsewhere = _is_right(*others[1:])
        error = np.concatenate([right, elsewhere]).std() * (1 / len(right) + 1 / len(elsewhere)) ** 0.5
        if right.mean() - elsewhere.mean() > 3 * error:
            found.append(f"The teacher is right on {right.mean():.1%} of the given labels, and on only "
                         f"{elsewhere.mean():.1%} of those held out: it seems to have seen the given ones, and on new "
                         "samples labels will correct more of it.")
        known = {row.tobytes() for row in x}
        if shared := sum(row.tobytes() in known for row in others[0]):
            found.append(f"{shared} of the samples held out are among the given ones: their students have seen them.")
    elif right.all() and useless > 0.05:
        forbidden = True
        found.append(f"The teacher is right on all {len(right)} labels, where students of the labels alone err on "
                     f"{useless:.1%} of those they have not seen: it seems to have seen them. Pass held_out with "
                     "samples that it has not seen.")
    if copies:
        found.append(f"{copies} samples have the inputs of earlier ones and were left out.")
    spread = x.reshape(len(x), -1).std(0)
    spread, size = spread[spread > 0], np.sqrt((x**2).mean())
    if spread.size and spread.max() > 100 * np.median(spread):
        found.append("A feature varies over a hundred times as much as most, which then hardly count: divide each by "
                     "its standard deviation.")
    if size and not 0.01 <= size <= 100:
        found.append(f"Features are about {size:.1g} in size, where a network's biases "
                     f"{'hardly count' if size > 1 else 'are nearly all that counts'}: bring them to about 1.")
    if best == _HARD and others is None:
        found.append("The labels alone came out best, and leave-one-out is too kind to them: pass held_out "
                     "to make sure.")
    return found, forbidden


def _is_right(z_t, y_g):
    return label_margins(z_t[:, None, None] if z_t.ndim == 1 else z_t[:, None], y_g)[:, 0] > 0
