r"""Chapter 8: the advisor, judged on tasks that nobody used for building it.

**The protocol**, written before the first run.

*Tasks.* :data:`TASKS`, all of them: bundled sets and generators of scikit-learn, Fashion-MNIST, and frozen features
with a linear head. No constant of :func:`kdlib.advise` was chosen on them. Each has a teacher, trained on labels that
no student sees; some are useless, some are better than any student. No task is left out for its result.

*A draw* is a task's samples, labels, teacher and test points, all new, as far as the data goes. The advisor sees the
first n samples, with labels and teacher's logits, at its defaults. It is asked at every n of :data:`SIZES` up to
:data:`ASKED`, as far as the task has samples. Samples are in one order, so that those of the forecasts, 2n and 4n,
begin with those that it saw.

*The truth* is the share of test points at which the student errs, for every cell (rho, T) of the advisor's grid. For
:data:`JUDGED` this is the converged student of the kernel that the advisor has, for :data:`NETWORKS` a trained network,
as the mean over some initial weights.

*Regret* is that error minus the smallest over the grid, on the same draw, in points of a hundred. The best of many
cells is best by luck, too, so that this is too strict, and alike for all ways of choosing a cell. These are:

- the advisor: its cell if it says "move", else the default; "undecided" counts as the default;
- the cell of its smallest estimate, without reluctance;
- the default, (0.9, 4); rho = 1; rho = 0; a cell at random (the mean over the grid);
- the cell with the fewest leave-one-out mistakes, at random among equal ones;
- the one-shot weight, for squared loss: there the student of the targets :math:`\xi p + (1 - \xi) e`, with the
  teacher's probabilities p and the labels e, is :math:`\xi f_p + (1 - \xi) f_e`, so that its squared leave-one-out
  error is a parabola in :math:`\xi`. We take its vertex, which may lie outside [0, 1]. That one pass gives the weight
  is from H. Dang, P. Patil and A. Rinaldo (arXiv:2602.17565, ridge regression; closed forms also in K. Borup and
  L. N. Andersen, 2021, and R. Das and S. Sanghavi, 2023). Theirs is self-distillation: the teacher is the ridge student
  itself, and the sign of the weight that of minus the risk's slope. Our teachers are given, and that rule says nothing
  of them. They estimate the risk by generalised cross-validation, we by leaving one out;
- the cell that was best on average on the task's other draws, which nobody has before training.

*Averages.* A number of a task is its mean over draws and n. What the chapter states is the mean over tasks with its
standard error over tasks: the question is what the next task will bring. A mean over what a task does not have, as
where no cell was to be avoided, is one over the other tasks.

*Avoided cells* count as worse if their error on the draw is larger than that of the advisor's cell; equal is not worse.
A piece of advice is *harmful* if it avoids every cell with the smallest error of the grid. *Bands* hold if the error at
the advised cell on 2n (or 4n) samples, as measured on the test points, lies in them.

The criteria are the claims 8.1 to 8.12.
"""


import warnings
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import softmax
from jaxtyping import Array, Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from kdlib import experiments
from kdlib._checks import choice, whole
from kdlib.advise.choice import choose
from kdlib.classes import class_distillation_loss, class_targets
from kdlib.classifiers import MLP
from kdlib.datasets import load
from kdlib.distillation import targets
from kdlib.experiments import Experiment, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.statistics import held_out
from kdlib.students import NestedStudents
from kdlib.training import batches_by_seed, train

SIZES = (50, 100, 200, 400, 800)  #: numbers of samples of students
ASKED = 400  #: the largest at which advice is asked; beyond, forecasts are checked
TEST_POINTS = 2000  #: on which errors are counted; bundled sets have fewer
LEAST = 0.005  #: a teacher's smallest probability: trees say 0
VERDICTS = ("keep", "move", "undecided")  #: by number, as stored


# --- Tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Where inputs and classes come from, and who teaches."""

    source: str  #: ``load_...`` or ``make_...`` of scikit-learn, or a name that :func:`kdlib.datasets.load` knows
    teacher: str  #: as :func:`untrained` has it
    labels: int  #: of the teacher's own
    largest: int = 800  #: number of samples of a student
    groups: int | None = None  #: classes of equal size, made of an output that is none
    only: tuple | None = None  #: classes that are kept
    features: str | None = None  #: ``"random"``, ``"principal"`` or ``"own"``, frozen, of a student linear in them
    options: dict = field(default_factory=dict)  #: of a generator


class Drawn(NamedTuple):
    """Samples and test points of a task; with two classes, one logit."""

    x: Float[np.ndarray, "N d"]  #: the students' samples, features where these are frozen
    y: Int[np.ndarray, " N"]  #: their classes
    z_t: Float[np.ndarray, "N ..."]  #: the teacher's logits there
    x_test: Float[np.ndarray, "M d"]  #: test points
    y_test: Int[np.ndarray, " M"]  #: their classes
    z_t_test: Float[np.ndarray, "M ..."]  #: the teacher's logits there


TASKS = {
    "iris": Task("load_iris", "tree", 40, 50),
    "wine": Task("load_wine", "logistic", 40, 50),
    "breast_cancer": Task("load_breast_cancer", "forest", 60, 200),
    "diabetes": Task("load_diabetes", "boosting", 80, 200, groups=2),
    "digits_tree": Task("digits", "tree", 300),
    "digits_boosting": Task("digits", "boosting", 300),
    "digits_mlp": Task("digits", "mlp", 150),
    "moons": Task("make_moons", "tree", 100, options=dict(noise=0.3)),
    "circles": Task("make_circles", "logistic", 100, options=dict(noise=0.15, factor=0.6)),
    "classification": Task("make_classification", "forest", 200,
                           options=dict(n_informative=5, n_classes=3, flip_y=0.05)),
    "noisy_labels": Task("make_classification", "boosting", 200, options=dict(n_informative=8, flip_y=0.3)),
    "blobs": Task("make_blobs", "logistic", 100, options=dict(centers=5, n_features=10, cluster_std=7.0)),
    "gaussian_quantiles": Task("make_gaussian_quantiles", "mlp", 300, options=dict(n_features=5, n_classes=3)),
    "hastie": Task("make_hastie_10_2", "kernel", 400),
    "friedman1": Task("make_friedman1", "boosting", 200, groups=2, options=dict(noise=1.0)),
    "friedman2": Task("make_friedman2", "kernel", 100, groups=2, options=dict(noise=50.0)),
    "friedman3": Task("make_friedman3", "forest", 100, groups=2, options=dict(noise=0.1)),
    "sparse": Task("make_sparse_uncorrelated", "logistic", 60, groups=2),
    "swiss_roll": Task("make_swiss_roll", "kernel", 200, groups=4, options=dict(noise=0.5)),
    "s_curve": Task("make_s_curve", "tree", 200, groups=3, options=dict(noise=0.3)),
    "shirts": Task("fashion_mnist", "forest", 100, only=(0, 6)),
    "shoes": Task("fashion_mnist", "logistic", 50, only=(7, 9)),
    "fashion_mlp": Task("fashion_mnist", "mlp", 300),
    "fashion_kernel": Task("fashion_mnist", "kernel", 1000),
    "random_digits": Task("digits", "forest", 200, features="random"),
    "random_fashion": Task("fashion_mnist", "boosting", 300, features="random"),
    "principal_shirts": Task("fashion_mnist", "mlp", 200, only=(2, 6), features="principal"),
    "linear_cancer": Task("load_breast_cancer", "tree", 60, 200, features="own"),
}  #: by name


def pool(task: Task, seed: int, count: int) -> tuple[Float[np.ndarray, "m d"], Int[np.ndarray, " m"]]:
    """Inputs of a task, of mean 0 and variance 1, and their classes: as many as there are, or as asked for."""
    if task.source in ("digits", "fashion_mnist"):
        x, y = images(task.source)
    else:
        from sklearn import datasets

        made = dict(n_samples=count, random_state=seed) if task.source.startswith("make_") else {}
        x, y = getattr(datasets, task.source)(**made, **task.options, **{} if made else dict(return_X_y=True))
        x = standardised(x)
    if task.groups:
        y = np.searchsorted(np.quantile(y, np.arange(1, task.groups) / task.groups), y)
    kept = np.isin(y, task.only) if task.only else np.ones(len(y), bool)
    return x[kept], np.unique(y[kept], return_inverse=True)[1]


@cache
def images(name):
    """Pixels of mean 0 and variance 1 over all, and classes; larger images are averaged over 2 x 2. Read once."""
    data = load(name)
    x = np.concatenate([data.x_train, data.x_test])
    if x.shape[1] > 8:
        x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean(axis=(2, 4))
    x = x.reshape(len(x), -1)
    return (x - x.mean()) / x.std(), np.concatenate([data.y_train, data.y_test])


def standardised(x):
    """Columns with mean 0 and variance 1."""
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)


def frozen_features(kind: str | None, seed: int, x: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m features"]:
    """Of a thousand random ReLU units; of the hundred directions in which inputs vary most; or the inputs."""
    if kind == "random":
        weights = np.random.default_rng(seed).normal(size=(x.shape[1], 1000))
        x = np.maximum(x @ weights, 0) / np.sqrt(x.shape[1])
    elif kind == "principal":
        x = x - x.mean(axis=0)
        x = standardised(x @ np.linalg.eigh(x.T @ x)[1][:, -100:])
    return x if kind is None else x / np.sqrt(x.shape[1])


def untrained(name, seed):
    """A teacher, before it has seen anything."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    return {
        "tree": DecisionTreeClassifier(min_samples_leaf=5, random_state=seed),
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": GradientBoostingClassifier(n_estimators=30, max_features="sqrt", random_state=seed),
        "logistic": LogisticRegression(max_iter=1000),
        "kernel": make_pipeline(Nystroem(n_components=100, random_state=seed), LogisticRegression(C=10, max_iter=1000)),
        "mlp": MLPClassifier((50,), random_state=seed),
    }[name]


def draw(key: Array, name: str) -> Drawn:
    """Samples, a teacher trained on others, and test points."""
    task, rng = TASKS[name], np.random.default_rng(np.asarray(jax.random.key_data(key)))
    seed = int(rng.integers(2**31))
    count = task.labels + task.largest + TEST_POINTS
    x, y = pool(task, seed, count)
    some = rng.permutation(len(x))[:count]
    some = some[np.sort(np.unique(x[some], axis=0, return_index=True)[1])]  # no input twice
    x, y = x[some], y[some]
    teacher = untrained(task.teacher, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged is a teacher, too
        teacher.fit(x[: task.labels], y[: task.labels])
    p = np.zeros((len(x), y.max() + 1))
    p[:, teacher.classes_] = teacher.predict_proba(x)
    z_t = np.log(np.clip(p, LEAST, 1 - LEAST))
    z_t = z_t[:, 1] - z_t[:, 0] if z_t.shape[1] == 2 else z_t
    x = frozen_features(task.features, seed, x)
    _, own, test = np.split(np.arange(len(x)), [task.labels, task.labels + task.largest])
    return Drawn(x[own], y[own], z_t[own], x[test], y[test], z_t[test])


# --- The truth -------------------------------------------------------------------------------------------------------


def student_errors(drawn: Drawn, cells, sizes, kernel) -> Float[np.ndarray, "sizes cells"]:
    """Share of test points at which the converged students of all cells err.

    Without a kernel, students are linear in the features, and beyond as many samples as features they no longer meet
    their targets.
    """
    met = [n for n in sizes if kernel or n <= drawn.x.shape[1]]
    z = cell_targets(drawn.z_t, drawn.y, cells)[: max(met, default=0)]
    errors = [wrong_shares(drawn, found.reshape(-1, *z.shape[1:]))
              for found in (interpolated(drawn, z.reshape(len(z), -1), met, kernel) if met else ())]
    errors += [wrong_shares(drawn, drawn.x_test @ least_loss(drawn, n, cells)) for n in sizes[len(met) :]]
    return np.array(errors)


def wrong_shares(drawn: Drawn, z: Float[np.ndarray, "M cells ..."]) -> Float[np.ndarray, " cells"]:
    """Share of test points that get another class than theirs."""
    chosen = z > 0 if z.ndim == 2 else z.argmax(axis=-1)
    return np.mean(chosen != drawn.y_test[:, None], axis=0)


def cell_targets(z_t, y, cells) -> Float[np.ndarray, "N cells ..."]:
    """What the students of all cells have to learn."""
    make = targets if z_t.ndim == 1 else class_targets
    return np.asarray(make(z_t[:, None], y[:, None], rho=cells["rho"], T=cells["T"]))


def interpolated(drawn: Drawn, z: Float[np.ndarray, "N k"], sizes, kernel) -> Float[np.ndarray, "sizes M k"]:
    """At the test points, the students of the first n samples, which meet their targets."""
    return NestedStudents(drawn.x[: len(z)], kernel or inner_products).predict(drawn.x_test, z, sizes)


def inner_products(a, b):
    """The kernel of a student that is linear in frozen features."""
    return a @ b.T


def least_loss(drawn: Drawn, n: int, cells) -> Float[np.ndarray, "d cells"]:
    """Weights of linear students of two classes at the minimum of Eq. 2, for more samples than features.

    Where labels alone count and a plane separates them there is no minimum: then the weights are those of a loss that
    falls no more.
    """
    x, q, y = drawn.x[:n], drawn.z_t[:n], drawn.y[:n]

    def loss(w, rho, T):
        z = x @ w
        value = rho * (np.logaddexp(0, z / T) - expit(q / T) * z / T) + (1 - rho) * (np.logaddexp(0, z) - y * z)
        slope = rho / T * (expit(z / T) - expit(q / T)) + (1 - rho) * (expit(z) - y)
        return value.mean(), slope @ x / n

    def bend(w, rho, T):
        s, p = expit(x @ w / T), expit(x @ w)
        return (x.T * (rho / T**2 * s * (1 - s) + (1 - rho) * p * (1 - p))) @ x / n

    start, ends = np.zeros(x.shape[1]), dict(gtol=1e-8, max_trust_radius=1e3)
    return np.stack([minimize(loss, start, (rho, T), "trust-exact", jac=True, hess=bend, options=ends).x
                     for rho, T in zip(cells["rho"], cells["T"], strict=True)], axis=1)  # fmt: skip


def one_shot(drawn: Drawn, n: int, kernel) -> tuple[float, float]:
    r"""The weight xi of squared loss from one pass, and the test error of its student.

    With :math:`r = e - f_e` and :math:`g = f_p - f_e` of samples left out, the mean of :math:`|r - \xi g|^2` is
    smallest at :math:`\xi = \langle r, g \rangle / |g|^2`.
    """
    z, y = drawn.z_t[:n], drawn.y[:n]
    if z.ndim == 1:
        p, e = 2 * expit(z)[:, None] - 1, 2.0 * y[:, None] - 1
    else:
        p, e = np.asarray(softmax(z, axis=1)) - 1 / z.shape[1], np.eye(z.shape[1])[y] - 1 / z.shape[1]
    both = np.hstack([e, p])
    x, x_test = drawn.x[:n], drawn.x_test
    if kernel or n <= x.shape[1]:
        students = NestedStudents(x, kernel or inner_products)
        left_out, found = students.leave_one_out(both), students.predict(x_test, both, [n])[0]
    else:
        inverse = np.linalg.pinv(x)
        fitted = x @ (inverse @ both)
        left_out = both - (both - fitted) / (1 - np.einsum("id,di->i", x, inverse))[:, None]
        found = x_test @ (inverse @ both)
    (f_e, f_p), (at_e, at_p) = np.hsplit(left_out, 2), np.hsplit(found, 2)
    r, g = e - f_e, f_p - f_e
    xi = np.sum(r * g) / max(np.sum(g * g), 1e-300)
    z_s = (xi * at_p + (1 - xi) * at_e)[:, None]
    return xi, wrong_shares(drawn, z_s[..., 0] if z.ndim == 1 else z_s)[0]


# --- What the advisor says, beside the truth -------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting(experiments.Setting):
    """A task, and the kernel of the advisor and the students."""

    task: str = parameter("iris", partial(choice, options=TASKS))  #: a name in TASKS
    depth: int = parameter(3, whole)  #: hidden layers of the infinitely wide students


# On another machine a test point may be on the other side of a boundary, and a near tie go to another cell.
FEW = 0.02  #: how far shares of errors may be off there


@dataclass(frozen=True)
class Run:
    """One draw of a task."""

    points: int = quantity("test points")
    teacher: float = quantity("the teacher's test error", within=FEW)
    rho: np.ndarray = quantity("soft ratios of the grid", "cells")
    T: np.ndarray = quantity("its temperatures", "cells")
    error: np.ndarray = quantity("test error of the student of each cell", "sizes, cells", within=FEW)
    verdict: np.ndarray = quantity("keep, move or undecided, as 0, 1 or 2", "asked", within=1)
    advised: np.ndarray = quantity("test error of the advised cell", "asked", within=FEW)
    smallest: np.ndarray = quantity("the same for the smallest estimate", "asked", within=FEW)
    fewest: np.ndarray = quantity("the same for the fewest leave-one-out mistakes, mean of equal ones", "asked",
                                  within=FEW)
    avoided: np.ndarray = quantity("how many cells to avoid", "asked", within=2)
    worse: np.ndarray = quantity("how many of them have a larger test error than the advised one", "asked", within=2)
    harmful: np.ndarray = quantity("whether they are all of those with the smallest test error", "asked", within=1)
    weight: np.ndarray = quantity("the one-shot weight", "asked", within=0.01)
    one_shot: np.ndarray = quantity("test error of its student", "asked", within=FEW)
    forecast: np.ndarray = quantity("error forecast at 2n and 4n: low, middle, high", "asked, 2, 3", within=FEW)
    later: np.ndarray = quantity("test error of the advised cell at 2n and 4n", "asked, 2", within=FEW)


def repetition(key: Array, setting: Setting) -> Run:
    """One draw of a task: the advice at all n, beside the truth."""
    task, drawn = TASKS[setting.task], draw(key, setting.task)
    sizes = tuple(n for n in SIZES if n <= task.largest)
    kernel = None if task.features else fully_connected(setting.depth).ntk
    asked = [(n, advised(drawn, n, kernel)) for n in sizes if n <= ASKED]
    cells = asked[0][1].cells
    error = student_errors(drawn, cells, sizes, kernel)
    at = dict(zip(sizes, error, strict=True))
    rows = [judged(advice, at[n]) | ahead(advice, n, at) for n, advice in asked]
    weight, shot = np.transpose([one_shot(drawn, n, kernel) for n, _ in asked])
    by_n = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Run(points=len(drawn.y_test), teacher=wrong_shares(drawn, drawn.z_t_test[:, None])[0], rho=cells["rho"],
               T=cells["T"], error=error, weight=weight, one_shot=shot, **by_n)


def advised(drawn: Drawn, n: int, kernel):
    """The advice of the first n samples, with or without a kernel."""
    of = dict(kernel=kernel) if kernel else dict(features=True)
    return choose(drawn.x[:n], drawn.z_t[:n], drawn.y[:n], **of)


def place(advice, rho, T):
    """Where a cell stands in the grid."""
    return np.flatnonzero((advice.cells["rho"] == rho) & (advice.cells["T"] == T))[0]


def judged(advice, error: Float[np.ndarray, " cells"]) -> dict:
    """What is recorded of a piece of advice, beside the true error of each cell."""
    mistakes, mine = advice.cells["mistakes"], error[place(advice, advice.rho, advice.T)]
    avoid = np.array([place(advice, *cell) for cell in advice.avoid], int)
    return dict(verdict=VERDICTS.index(advice.verdict), advised=mine,
                smallest=error[advice.cells["estimate"].argmin()], fewest=error[mistakes == mistakes.min()].mean(),
                avoided=len(avoid), worse=np.sum(error[avoid] > mine),
                harmful=error.min() < np.delete(error, avoid).min())


def ahead(advice, n: int, errors: dict) -> dict:
    """The forecasts from n samples, and the errors of the advised cell that came true; NaN where the task ends."""
    here = place(advice, advice.rho, advice.T)
    bands = [(each.low, each.error, each.high) for each in map(advice.forecast, (2 * n, 4 * n))]
    return dict(forecast=bands, later=[errors[m][here] if m in errors else np.nan for m in (2 * n, 4 * n)])


# The advisor's linear head of a hundred features takes a minute and a half for each draw.
JUDGED = Experiment("advice.kernel", repetition, Run, {name: Setting(name) for name in TASKS},
                    {name: 3 if name == "principal_shirts" else 8 for name in TASKS},
                    salt=lambda setting: list(TASKS).index(setting.task))

# --- Trained networks ------------------------------------------------------------------------------------------------

ON_NETWORKS = (
    "digits_boosting", "classification", "gaussian_quantiles", "friedman1", "s_curve", "fashion_mlp",
)  #: tasks of networks
SAMPLES = 300  #: of a network
SEEDS = 2  #: initial weights of each cell
WIDTH = 64  #: units of their hidden layers
DEPTH = 2  #: hidden layers, of the networks and of the advisor's kernel


@dataclass(frozen=True)
class NetworkSetting(experiments.Setting):
    """A task, and how networks are trained on it."""

    task: str = parameter("friedman1", partial(choice, options=ON_NETWORKS))  #: a name in TASKS
    steps: int = parameter(600, whole)  #: of Adam


@dataclass(frozen=True)
class NetworkRun:
    """One draw of a task, and trained networks of all cells. Training in single precision is chaotic."""

    teacher: float = quantity("the teacher's test error", within=FEW)
    rho: np.ndarray = quantity("soft ratios of the grid", "cells")
    T: np.ndarray = quantity("its temperatures", "cells")
    error: np.ndarray = quantity("networks' test error, mean over initial weights", "cells", within=0.03)
    verdict: int = quantity("keep, move or undecided, as 0, 1 or 2", within=1)
    advised: float = quantity("networks' test error at the advised cell", within=0.03)
    smallest: float = quantity("the same for the smallest estimate", within=0.03)
    fewest: float = quantity("the same for the fewest leave-one-out mistakes, mean of equal ones", within=0.03)
    avoided: int = quantity("how many cells to avoid", within=2)
    worse: int = quantity("how many of them have a larger test error than the advised one", within=3)
    harmful: bool = quantity("whether they are all of those with the smallest test error", within=1)


def trained(key: Array, setting: NetworkSetting) -> NetworkRun:
    """One draw of a task: advice from the kernel of the networks' limit, beside networks of all cells."""
    drawn = draw(key, setting.task)
    advice = advised(drawn, SAMPLES, fully_connected(DEPTH).ntk)
    error = network_errors(key, drawn, advice.cells, setting.steps)
    return NetworkRun(teacher=wrong_shares(drawn, drawn.z_t_test[:, None])[0], rho=advice.cells["rho"],
                      T=advice.cells["T"], error=error, **judged(advice, error))


def network_errors(key: Array, drawn: Drawn, cells, steps: int) -> Float[np.ndarray, " cells"]:
    """Test error of trained networks of each cell, mean over initial weights."""
    logits = lambda z: np.stack([0 * z, z], axis=1) if z.ndim == 1 else z
    x, z_t, y = (np.stack([values[:SAMPLES]] * SEEDS)
                 for values in (drawn.x.astype(np.float32), logits(drawn.z_t).astype(np.float32), drawn.y))  # fmt: skip
    network = MLP(WIDTH, DEPTH, z_t.shape[2])
    keys = jax.random.split(key, SEEDS)
    done = train(network.apply, jax.vmap(lambda key: network.init(key, x.shape[2:]))(keys),
                 batches_by_seed(x, z_t, y, size=64), rho=cells["rho"], T=cells["T"], steps=steps, key=keys,
                 optimizer=optax.adam(optax.cosine_decay_schedule(3e-3, steps)), loss=class_distillation_loss)
    z_s = jax.jit(jax.vmap(jax.vmap(network.apply, (0, None)), (0, None)))(done.params, jnp.float32(drawn.x_test))
    return np.mean(np.asarray(z_s).argmax(axis=-1) != drawn.y_test, axis=(1, 2))


NETWORKS = Experiment("advice.networks", trained, NetworkRun, {name: NetworkSetting(name) for name in ON_NETWORKS}, 6,
                      salt=lambda setting: 100 + list(TASKS).index(setting.task))

# --- What the chapter makes of them ----------------------------------------------------------------------------------

WAYS = ("the advisor", "smallest estimate", "default", "rho = 1", "rho = 0", "random", "fewest mistakes", "one-shot",
        "best elsewhere")  #: of choosing a cell, as the protocol lists them


def results(experiment: Experiment, *, draws: int, replay: tuple = (), say=print) -> dict:
    """Runs by task, no more of one than are stored. A task whose data cannot be had is left out, with a line."""
    found = {}
    for name, setting in experiment.cases.items():
        try:
            found[name] = experiment.results(setting, repetitions=min(draws, experiment.count(name)),
                                             replay=int(name in replay))
        except (ConnectionError, ImportError) as error:
            say(f"{name} is left out: {error}")
    return found


def regrets(run: Run | NetworkRun) -> dict[str, Float[np.ndarray, "draws asked"]]:
    """In points, for each of :data:`WAYS`; the one-shot weight is of converged students alone."""
    advised = run.advised.reshape(len(run.advised), -1)  # networks are asked about once
    error = run.error.reshape(len(advised), -1, run.rho.shape[-1])[:, : advised.shape[1]]
    rho, T = run.rho[0].round(6), run.T[0].round(6)
    at = lambda chosen: error[..., np.flatnonzero(chosen)[0]]
    elsewhere = np.stack([held_out(of_size.T) for of_size in error.swapaxes(0, 1)], axis=1)
    chosen = dict(zip(WAYS, (
        advised, run.smallest.reshape(advised.shape), at((rho == 0.9) & (T == 4)), at(rho == 1), at(rho == 0),
        error.mean(-1), run.fewest.reshape(advised.shape), getattr(run, "one_shot", None), elsewhere,
    ), strict=True))  # fmt: skip
    return {way: 100 * (found - error.min(-1)) for way, found in chosen.items() if found is not None}
