r"""Appendix S2: how far the power-function bound of Chapter 3 reaches in trained networks.

The bound is a theorem for the student in closed form. A trained network of finite width departs from it in three
steps: its kernel is not the limit, the kernel moves while it learns, and training ends before the targets are reached.
Here two classes of images are learnt by such networks, from a teacher of the same kind and at rho = 1. Beside what they
do we put the bound with three kernels: the limit, that of the network as it began, and that of the network as it ended.
Nothing makes these bounds true for the network. What is measured is whether they are.

The second question is a practical one. Where, among inputs without labels, does the student disagree with its teacher?
By the bound it can only where :math:`|z_s| < \text{gap}_n P_n`. So points may be ranked by :math:`|z_s| / P_n`,
smallest first, or simply by :math:`|z_s|`. The area under the curve (AUC) is the chance that a point of disagreement
comes before a point of agreement.

Criteria, written before the first run:

- the step of the proof, :math:`|z_t - z_s| \le \text{gap}_n P_n`, carries over to a trained network if it fails at less
  than one test point in a hundred, for the limit kernel and in every case;
- the ratio is worth a function of its own if its AUC with the limit kernel is surely larger than that of
  :math:`|z_s|` by 0.01, in every case.

The oracle's norm is estimated from ``oracle`` samples, of which the student sees the first n. All settings are our
choice.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from scipy.stats import rankdata

from kdlib._checks import choice, whole
from kdlib.datasets import load
from kdlib.distillation import distillation_loss
from kdlib.experiments._store import Experiment, Setting, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.risk import power_function_bound, transfer_risk, weight_gaps
from kdlib.students import NestedStudents
from kdlib.training import batches_by_seed, train

CLASSES = {"digits": ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9]), "fashion_mnist": (2, 4)}  #: even and odd; pullover and coat
KERNELS = ("limit", "at the start", "at the end")  #: that the bound is computed with
DESCENT = 0.5, 64  #: learning rate, which falls to zero along a cosine, and samples of a batch
TEMPERATURE = 5.0  #: of the student
ANOTHER_MACHINE = 0.03  #: how far shares may be off there


@dataclass(frozen=True)
class TrainedSetting(Setting):
    """Which images are learnt by which networks.

    Raises:
        ValueError: a value outside its domain.
    """

    dataset: str = parameter("digits", lambda name, value: choice(name, value, list(CLASSES)))  #: of two classes
    width: int = parameter(64, whole)  #: of the hidden layers of student and teacher
    depth: int = parameter(3, whole)  #: their number
    n: int = parameter(200, whole)  #: training samples of the student
    oracle: int = parameter(800, whole)  #: samples that the oracle's norm is estimated from
    n_teacher: int = parameter(400, whole)  #: training samples of the teacher, which the student does not see
    steps: int = parameter(2000, whole)  #: of descent with momentum 0.9
    points: int = parameter(2000, whole)  #: test samples, the first ones, as far as there are so many

    def __post_init__(self):
        super().__post_init__()
        if self.oracle < self.n:
            raise ValueError(f"oracle must be at least n, {self.n}, got {self.oracle}: the student sees the first n")


@dataclass(frozen=True)
class TrainedRun:
    """One teacher and one student of it."""

    teacher: np.ndarray = quantity("the teacher's test error", within=ANOTHER_MACHINE)
    risk: np.ndarray = quantity("share of test points at which student and teacher disagree", within=ANOTHER_MACHINE)
    limit_risk: np.ndarray = quantity("the same for the student in closed form, of the limit kernel",
                                      within=ANOTHER_MACHINE)
    unlearnt: np.ndarray = quantity("the student's distance from its targets at its samples, relative to the targets",
                                    within=0.02)
    moved: np.ndarray = quantity("how far the kernel has moved, relative to the kernel at the start", within=0.05)
    bound: np.ndarray = quantity("bound on the risk, from the student's side", "kernel", within=2 * ANOTHER_MACHINE)
    beyond: np.ndarray = quantity("share of test points that are farther from the teacher than gap times P_n", "kernel",
                                  within=ANOTHER_MACHINE)
    used: np.ndarray = quantity("distance from the teacher as a share of gap times P_n, which 99 % of test points keep",
                                "kernel", within=0.02)
    ranked: np.ndarray = quantity("AUC of disagreement, by |z_s| / P_n", "kernel", within=0.05)
    ranked_plainly: np.ndarray = quantity("AUC of disagreement, by |z_s|", within=0.05)
    ranked_by_distance: np.ndarray = quantity("AUC of disagreement, by P_n of the limit kernel, largest first",
                                              within=0.05)


def repetition(key: Array, setting: TrainedSetting) -> TrainedRun:
    """Train a teacher and a student, and set the bound beside them."""
    of_samples, of_teacher, of_student = jax.random.split(key, 3)
    x, y, x_test, y_test = _images(setting)
    order = np.asarray(jax.random.permutation(of_samples, len(x)))
    own, others = order[: setting.oracle], order[setting.oracle : setting.oracle + setting.n_teacher]
    network = fully_connected(setting.depth, width=setting.width)

    _, teacher = _fit(of_teacher, setting, network, x[others], np.zeros(len(others)), y[others], rho=0.0)
    z_t, z_t_test = (np.asarray(network.apply(teacher, points), float) for points in (x[own], x_test))
    seen = own[: setting.n]
    first, last = _fit(of_student, setting, network, x[seen], z_t[: setting.n], y[seen], rho=1.0)
    z_0, z_0_test, z_n, z_s = (np.asarray(network.apply(*at), float) for at in
                               ((first, x[own]), (first, x_test), (last, x[seen]), (last, x_test)))
    apart = (z_t_test > 0) != (z_s > 0)

    bounds, beyond, used, ranked, distances = [], [], [], [], []
    kernels = network.ntk, _kernel(network, first), _kernel(network, last)
    for kernel in kernels:
        students = NestedStudents(x[own], kernel)
        [distance] = students.distance(x_test, [setting.n])
        gap = weight_gaps(students, z_t - z_0)[setting.n - 1]
        distances.append(distance)
        bounds.append(power_function_bound(z_s, distance[None], [gap])[0])
        share = np.abs(z_t_test - z_s) / (gap * distance)
        beyond.append((share > 1).mean())
        used.append(np.quantile(share, 0.99))
        ranked.append(_auc(apart, -np.abs(z_s) / distance))
        if kernel == network.ntk:
            [learnt] = students.predict(x_test, z_t - z_0, [setting.n])
    start, end = (kernel(x[seen], x[seen]) for kernel in kernels[1:])
    return TrainedRun(
        teacher=((z_t_test > 0) != y_test).mean(), risk=apart.mean(),
        limit_risk=transfer_risk(z_t_test, z_0_test + learnt),
        unlearnt=np.linalg.norm(z_n - z_t[: setting.n]) / np.linalg.norm(z_t[: setting.n]),
        moved=np.linalg.norm(end - start) / np.linalg.norm(start),
        bound=np.array(bounds), beyond=np.array(beyond), used=np.array(used), ranked=np.array(ranked),
        ranked_plainly=_auc(apart, -np.abs(z_s)), ranked_by_distance=_auc(apart, distances[0]),
    )  # fmt: skip


def _images(setting):
    data = load(setting.dataset, binary=CLASSES[setting.dataset])
    if setting.oracle + setting.n_teacher > len(data.x_train):
        raise ValueError(f"{setting.dataset} must have {setting.oracle + setting.n_teacher} training samples for "
                         f"student and teacher, got {len(data.x_train)}: lower oracle or n_teacher")
    x, x_test = (images.reshape(len(images), -1) for images in (data.x_train, data.x_test[: setting.points]))
    # Pixels have mean square 1, as the paper's inputs from N(0, I) have.
    mean, deviation = x.mean(), x.std()
    return (x - mean) / deviation, data.y_train, (x_test - mean) / deviation, data.y_test[: setting.points]


def _fit(key, setting, network, x, z_t, y_g, *, rho):
    """Weights before and after training, in single precision.

    Time is rescaled as for Appendix S2's closed form: the largest curvature of the loss is 1/4 at both ratios.
    """
    rate, size = DESCENT
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32)[None], network.init(key, x.shape[1]))
    rescaled = lambda *z, rho, T: distillation_loss(*z, rho=rho, T=T) / (rho / T**2 + 1 - rho)
    batches = batches_by_seed(x[None].astype(np.float32), z_t[None].astype(np.float32), y_g[None], size=size)
    schedule = optax.cosine_decay_schedule(rate, setting.steps)
    done = train(network.apply, params, batches, rho=rho, T=TEMPERATURE, steps=setting.steps, key=key[None],
                 loss=rescaled, optimizer=optax.sgd(schedule, momentum=0.9, nesterov=True))
    return tuple(jax.tree.map(lambda leaf: leaf[0].astype(float), weights) for weights in (params, done.params))


def _kernel(network, params):
    return lambda x1, x2: np.asarray(network.empirical_ntk(params, x1, x2))


def _auc(found: Bool[np.ndarray, " m"], score: Float[np.ndarray, " m"]) -> float:
    """The chance that a point to be found has a higher score than another; NaN without one of either kind."""
    hits = found.sum()
    misses = len(found) - hits
    if not hits or not misses:
        return np.nan
    return (rankdata(score)[found].mean() - (hits + 1) / 2) / misses


_CASES = {
    "digits": TrainedSetting(),
    "digits_shallow": TrainedSetting(depth=1),
    "digits_wide": TrainedSetting(width=256),
    "fashion_mnist": TrainedSetting("fashion_mnist"),
}
TRAINED_NETWORKS = Experiment("trained_networks", repetition, TrainedRun, _CASES, 10)
