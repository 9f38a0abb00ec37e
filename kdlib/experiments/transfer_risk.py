"""Chapter 3: how often students differ from their teacher, angles and bounds, and stand-ins for an oracle.

Source: Section 3 of the paper. Its appendix with the settings is not available: every one is our choice.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from kdlib import experiments
from kdlib._checks import temperature, whole
from kdlib.distillation import distillation_loss, targets
from kdlib.experiments import Experiment, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.risk import (
    angle_distribution,
    feature_cosines,
    phuong_lampert_bound,
    power_function_bound,
    risk_bound,
    spectral_bound,
    transfer_risk,
    weight_angles,
    weight_gaps,
)
from kdlib.students import NestedStudents
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher
from kdlib.training import online_batches, train

RATIOS = np.array([1.0, 0.95, 0.9, 0.5, 0.0])  #: soft ratios of students
EPOCHS = (16, 128, 512, 4096)  #: after which teachers stop
MAIN = EPOCHS.index(512)  #: the teacher of all that is measured for one teacher only
MODES = 10  #: Gaussian bumps of the ground truth
TEACHER_SAMPLES = 500  #: labels from which the teacher learns


@dataclass(frozen=True)
class Setting(experiments.Setting):
    """A random task, and the students that learn it."""

    d: int = parameter(2, whole)  #: dimension of the inputs
    depth: int = parameter(3, whole)  #: hidden layers of the networks, teacher and students
    T: float = parameter(5.0, temperature)  #: temperature

    @property
    def limit(self):
        """The infinitely wide network."""
        return fully_connected(self.depth)


def ground_truth(key: Array, x: Float[Array, "n d"]):
    """A random mixture of Gaussians less its median at x, so that the classes there are of equal size."""
    d = x.shape[1]
    mixture = random_mixture(key, MODES, d, widths=np.sqrt(d) * np.array([0.5, 1.0]))
    median = jnp.median(mixture(x))
    return lambda x: mixture(x) - median


def new_task(key: Array, setting: Setting):
    """An infinitely wide teacher of a new ground truth, and a function that draws inputs with its logits."""
    of_truth, of_inputs = jax.random.split(key)
    x = sample_inputs(of_inputs, TEACHER_SAMPLES, setting.d)
    y_g = labels(ground_truth(of_truth, x)(x))
    teacher = train_kernel_teacher(x, y_g, setting.limit.ntk, epochs=EPOCHS)

    def draw(key, n):
        x = np.asarray(sample_inputs(key, n, setting.d))
        return x, np.asarray(teacher.logits(x))

    return teacher, draw


def by_ratio(z_t: Float[Array, " n"], T: float, ratios=RATIOS, z_0=0.0) -> Float[np.ndarray, "n ratios"]:
    """What students of a perfect teacher have to learn: the hard labels are the teacher's own."""
    z_t, z_0 = z_t[:, None], np.reshape(z_0, (-1, 1))
    return np.asarray(targets(z_t, z_t > 0, rho=ratios, T=T, z_0=z_0))


# Students of many sizes: their risk, and what bounds it.

SIZES = np.unique(np.geomspace(10, 1024, 14).astype(int))  #: numbers of samples at which the risk is measured
BOUND_SIZES = np.array([10, 30, 100, 300, 1000])  #: at which bounds are
LENGTH_SIZES = np.union1d([*SIZES, *BOUND_SIZES], np.geomspace(32, 1024, 31).round()).astype(int)  #: at which norms are
POINTS = 4000  #: test points of the risk
FEW_POINTS = 2 / POINTS  #: that rounding may put on the other side of a boundary
SPECTRAL_POINTS = 1000  #: of them for the spectral bound, whose cost grows like their square


@dataclass(frozen=True)
class Students:
    """One task, and its students of all soft ratios and sizes. Angles are in radians."""

    risk: np.ndarray = quantity("transfer risk", "soft ratios, sizes", within=FEW_POINTS)
    risk_by_epoch: np.ndarray = quantity("transfer risk at rho = 1", "epochs, sizes", within=FEW_POINTS)
    norms: np.ndarray = quantity("length of the student's weight change", "soft ratios, length sizes")
    norms_by_epoch: np.ndarray = quantity("the same at rho = 1", "epochs, length sizes")
    angles_by_epoch: np.ndarray = quantity("angle to the teacher's weights, rho = 1", "epochs, length sizes")
    angles: np.ndarray = quantity("angle to the student of all 1024 samples", "soft ratios, sizes")
    closest: float = quantity("smallest angle of a test point's features to the teacher's weights")
    proven: float = quantity("pi/2 - sup omega, beyond which the proposition proves them to be")
    theorem: np.ndarray = quantity("Theorem 1's bound at rho = 1", "length sizes", within=FEW_POINTS)
    risk_beside_bounds: np.ndarray = quantity("transfer risk at rho = 1", "bound sizes", within=FEW_POINTS)
    phuong_lampert: np.ndarray = quantity("Phuong and Lampert's bound", "bound sizes", within=FEW_POINTS)
    teacher_side: np.ndarray = quantity("the power function's bound, by the teacher's logits", "bound sizes",
                                        within=FEW_POINTS)
    student_side: np.ndarray = quantity("the same by the student's logits", "bound sizes", within=FEW_POINTS)
    spectral: np.ndarray = quantity("the spectral bound", "bound sizes", within=2 / SPECTRAL_POINTS)


def students_of_a_task(key: Array, setting: Setting) -> Students:
    """A new truth, a new teacher, and its students of up to 1024 samples."""
    of_task, of_samples, of_test = jax.random.split(key, 3)
    teacher, draw = new_task(of_task, setting)
    (x, z_t), (x_test, z_test) = draw(of_samples, SIZES[-1]), draw(of_test, POINTS)
    students = NestedStudents(x, setting.limit.ntk)
    soft, mixed, every = z_t[MAIN], by_ratio(z_t[MAIN], setting.T), z_t.T
    z, norm = z_test[MAIN], teacher.weight_norms[MAIN]

    z_s = students.predict(x_test, np.column_stack([mixed, every]), [*SIZES, *BOUND_SIZES])
    z_mixed, z_every = np.split(np.moveaxis(z_s[: len(SIZES)], 2, 0), [len(RATIOS)])
    z_n = z_s[len(SIZES) :, :, 0]  # pure soft labels
    at = LENGTH_SIZES - 1
    angles = weight_angles(students, every, norm=teacher.weight_norms)[at]
    gaps = weight_gaps(students, soft, norm=norm)[BOUND_SIZES - 1]
    distances = students.distance(x_test, BOUND_SIZES)
    cosines = feature_cosines(z, norm, students.feature_lengths(x_test))
    some = slice(SPECTRAL_POINTS)
    return Students(
        risk=transfer_risk(z, z_mixed),
        risk_by_epoch=transfer_risk(z_test[:, None], z_every),
        norms=students.weight_norms(mixed)[at].T,
        norms_by_epoch=students.weight_norms(every)[at].T,
        angles_by_epoch=angles.T,
        angles=weight_angles(students, mixed)[SIZES - 1].T,
        closest=np.arccos(np.abs(cosines).max()),
        proven=proven_angle(setting.limit.ntk(x_test[some]), z[some]),
        theorem=risk_bound(angles[:, MAIN], cosines),
        risk_beside_bounds=transfer_risk(z, z_n),
        phuong_lampert=phuong_lampert_bound(BOUND_SIZES, cosines),
        teacher_side=power_function_bound(z, distances, gaps),
        student_side=power_function_bound(z_n, distances, gaps),
        spectral=spectral_bound(students, x_test[some], z[some], gaps, BOUND_SIZES),
    )


def proven_angle(gram: Float[Array, "n n"], z: Float[Array, " n"]) -> float:
    """The angle pi/2 - sup omega, with omega from one input's features to the nearest of the other class."""
    lengths = np.sqrt(gram.diagonal())
    apart = np.arccos(np.clip(gram / lengths / lengths[:, None], -1, 1))
    other = np.sign(z) != np.sign(z)[:, None]
    return np.pi / 2 - np.where(other, apart, np.inf).min(axis=1).max()


# On a line, risks differ most from task to task.
STUDENTS = Experiment(
    "transfer_risk.students", students_of_a_task, Students, {f"d{dim}": Setting(dim) for dim in (1, 2, 5)},
    repetitions={"d1": 160, "d2": 40, "d5": 40}, salt=lambda setting: setting.d,
)


# Theorems on trial: students from a random start, whose oracle is the student of all samples.

CASE_SIZES = np.unique(np.geomspace(1, 300, 56).astype(int))  #: numbers of samples of the students on trial
CASE_SAMPLES = 600  #: of the oracle
CASE_POINTS = 1000  #: test points


@dataclass(frozen=True)
class Cases:
    """One task with one random start: a case for every soft ratio and size."""

    acute_excess: float = quantity("largest risk minus Theorem 1 with the acute angle", within=2 / CASE_POINTS)
    acute_broken: int = quantity("cases with a risk above that")
    excess: float = quantity("largest risk minus Theorem 1 with the angle itself", within=2 / CASE_POINTS)
    broken: int = quantity("cases with a risk above that")
    ours_broken: int = quantity("cases with a risk above the power function's bound, of either side")
    vacuous: int = quantity("cases in which Theorem 1 is 1", within=2)
    improvement: float = quantity("largest Theorem 1 minus Phuong and Lampert's bound", within=2 / CASE_POINTS)
    phuong_lampert: float = quantity("Phuong and Lampert's smallest bound", within=2 / CASE_POINTS)
    approximation: np.ndarray = quantity("largest error of Eq. 9's cosine over the soft ratios", "sizes", within=1e-3)
    step: float = quantity("largest step up of the angle seen from the initial weights", within=1e-9)
    steps_from_zero: int = quantity("steps up of the angle seen from the zero function", within=2)


def cases(key: Array, setting: Setting) -> Cases:
    """Bounds on trial for every soft ratio and size."""
    of_task, of_samples, of_test, of_z_0 = jax.random.split(key, 4)
    _, draw = new_task(of_task, setting)
    (x, z_t), (x_test, _) = draw(of_samples, CASE_SAMPLES), draw(of_test, CASE_POINTS)
    z_0 = setting.limit.initial_logits(of_z_0, np.concatenate([x, x_test]))
    z_0, z_0_test = z_0[:CASE_SAMPLES], z_0[CASE_SAMPLES:, 0]
    z_eff = by_ratio(z_t[MAIN], setting.T)
    delta_z, delta_zero = z_eff - z_0, np.broadcast_to(-z_0, z_eff.shape)

    students, at = NestedStudents(x, setting.limit.ntk), CASE_SIZES - 1
    straight = weight_angles(students, delta_z)[at].T
    angles = weight_angles(students, delta_z, delta_zero=delta_zero)[at].T
    gaps = weight_gaps(students, delta_z)[at].T
    norms = students.weight_norms(z_eff)[-1]  # of dw_* - dw_z
    lengths, distances = students.feature_lengths(x_test), students.distance(x_test, CASE_SIZES)
    learnt = np.moveaxis(students.predict(x_test, delta_z, [*CASE_SIZES, CASE_SAMPLES]), 2, 0)
    zero = students.predict(x_test, -z_0[:, 0], [CASE_SAMPLES])[0]  # dw_z . phi

    def on_trial(learnt, angles, gaps, norm):
        """At one soft ratio, for each size: the excesses of the risk, Theorem 1, and the earlier bound."""
        *z_s, z = learnt - zero  # seen from dw_z
        cosines = feature_cosines(z, norm, lengths)
        risk, theorem = transfer_risk(z, z_s), risk_bound(angles, cosines)
        acute, earlier = risk_bound(angles, cosines, acute=True), phuong_lampert_bound(CASE_SIZES, cosines)
        *z_s, z = learnt + z_0_test
        ours = [power_function_bound(side, distances, gaps) for side in (z, z_s)]
        return risk - acute, risk - theorem, transfer_risk(z, z_s) - np.min(ours, axis=0), theorem, earlier

    found = [on_trial(*each) for each in zip(learnt, angles, gaps, norms, strict=True)]
    acute, excess, ours, theorem, earlier = np.moveaxis(found, 1, 0)
    up = lambda angles: np.diff(angles, prepend=np.pi)
    return Cases(
        acute_excess=acute.max(),
        acute_broken=np.sum(acute > 0),
        excess=excess.max(),
        broken=np.sum(excess > 0),
        ours_broken=np.sum(ours > 0),
        vacuous=np.sum(theorem == 1),
        improvement=(theorem - earlier).max(),
        phuong_lampert=earlier.min(),
        approximation=np.abs(np.cos(angles) - np.cos(straight)).max(axis=0),
        step=up(straight).max(),
        steps_from_zero=np.sum(up(angles) > 1e-9),
    )


CASES = Experiment(
    "transfer_risk.cases", cases, Cases, {f"d{dim}": Setting(dim) for dim in (1, 2, 5)}, repetitions=20,
    salt=lambda setting: 100 + setting.d,
)


# The zero function: how far a random start is from it, beside the teacher.

ZERO_SIZES = np.array([100, 1000])  #: numbers of samples from which it is learnt


@dataclass(frozen=True)
class ZeroFunction:
    """One teacher and one random start."""

    ratio: np.ndarray = quantity("length of dw_z in units of the teacher's weight change", "zero's sizes")


def zero_function(key: Array, setting: Setting) -> ZeroFunction:
    """The weight change that brings a random infinitely wide network to zero at so many samples."""
    of_task, of_samples, of_z_0 = jax.random.split(key, 3)
    teacher, _ = new_task(of_task, setting)
    x = sample_inputs(of_samples, ZERO_SIZES[-1], setting.d)
    [z_0] = setting.limit.initial_logits(of_z_0, x).T
    norms = NestedStudents(x, setting.limit.ntk).weight_norms(-z_0)
    return ZeroFunction(norms[ZERO_SIZES - 1] / teacher.weight_norms[MAIN])


ZERO = Experiment(
    "transfer_risk.zero", zero_function, ZeroFunction, {f"d{dim}": Setting(dim) for dim in (1, 2, 3, 5, 10)},
    repetitions=20, salt=lambda setting: 400 + setting.d,
)


# Stand-ins for an oracle: students of very many samples.

BUDGETS = np.array([8, 4, 2, 1])  #: the largest number of samples is divided by these
SHOWN = 60  #: sizes of a curve
NEAR = np.geomspace(0.02, 60, 60)  #: distances of an angle from 90 degrees, in degrees
ORACLE_POINTS = 2000  #: test points


@dataclass(frozen=True)
class OracleSetting(Setting):
    """A random task, and the largest oracle."""

    N: int = parameter(4000, lambda name, value: whole(name, value, 500))  #: samples of the largest oracle

    @property
    def budgets(self):
        """Samples of each of the oracles."""
        return self.N // BUDGETS

    @property
    def sizes(self):
        """Numbers of samples of a curve's students."""
        return np.unique(np.geomspace(1, self.N, SHOWN).astype(int))

    @property
    def bound_sizes(self):
        """Numbers of samples of the students whose risk is bounded."""
        return np.array([10, 100, self.N // 4])


@dataclass(frozen=True)
class Oracles:
    """One task, and four oracles of its samples for each soft ratio. Angles are in radians."""

    to_teacher: np.ndarray = quantity("angle to the teacher's weights, rho = 1", "sizes")
    norms: np.ndarray = quantity("length of the student's weight change", "soft ratios, sizes")
    oracle_norms: np.ndarray = quantity("length of the oracle's", "soft ratios, oracles")
    p: np.ndarray = quantity("p(beta) near the right angle", "soft ratios, oracles, distances from 90 degrees",
                             within=2 / ORACLE_POINTS)
    closest: np.ndarray = quantity("smallest angle of a test point's features to the largest oracle", "soft ratios")
    bound: np.ndarray = quantity("the power function's bound by the largest oracle", "soft ratios, bound sizes",
                                 within=2 / ORACLE_POINTS)


def oracles_of_samples(key: Array, setting: OracleSetting) -> Oracles:
    """Students of up to N samples, and the largest of them in the role of the oracle."""
    of_task, of_samples, of_test = jax.random.split(key, 3)
    teacher, draw = new_task(of_task, setting)
    (x, z_t), (x_test, _) = draw(of_samples, setting.N), draw(of_test, ORACLE_POINTS)
    soft, mixed = z_t[MAIN], by_ratio(z_t[MAIN], setting.T)

    students = NestedStudents(x, setting.limit.ntk)
    norms = students.weight_norms(mixed).T
    to_teacher = weight_angles(students, soft, norm=teacher.weight_norms[MAIN])
    z = np.moveaxis(students.predict(x_test, mixed, setting.budgets), 2, 0)
    oracle_norms = norms[:, setting.budgets - 1]
    cosines = feature_cosines(z, oracle_norms, students.feature_lengths(x_test))
    distances = students.distance(x_test, setting.bound_sizes)
    gaps = weight_gaps(students, mixed)[setting.bound_sizes - 1].T
    beta = np.pi / 2 - np.radians(NEAR)
    return Oracles(
        to_teacher=to_teacher[setting.sizes - 1],
        norms=norms[:, setting.sizes - 1],
        oracle_norms=oracle_norms,
        p=np.array([[angle_distribution(beta, row) for row in rows] for rows in cosines]),
        closest=np.arccos(np.abs(cosines[:, -1]).max(axis=1)),
        bound=np.array([power_function_bound(own, distances, gap) for own, gap in zip(z[:, -1], gaps, strict=True)]),
    )


ORACLES = Experiment(
    "transfer_risk.oracles", oracles_of_samples, Oracles, {"": OracleSetting()}, repetitions=20,
    salt=lambda setting: 200 + setting.d,
)


# Stand-ins by stochastic gradient descent, as in the paper: weights of linearised networks of finite width.

WIDTH = 256  #: of the networks
BATCH = 128  #: fresh samples of a step
STEPS = (32, 128, 512)  #: after which descent stops
DESCENT_RATIOS = np.array([1.0, 0.9, 0.0])  #: soft ratios
STUDENT_SIZES = np.array([10, 30, 100, 300, 500])  #: numbers of samples of students; the last are an oracle's
NEAREST = np.array([0.03, 0.06, 0.12, 0.3, 1, 3])  #: distances of an angle from 90 degrees, in degrees
DESCENT_POINTS = 5000  #: test points


@dataclass(frozen=True)
class DescentSetting(Setting):
    """A random task for a narrow network. On a line, its samples soon are dependent."""

    d: int = parameter(2, lambda name, value: whole(name, value, 2))  #: dimension of the inputs


@dataclass(frozen=True)
class Descent:
    """A linearised network, a teacher of the same features, and two kinds of oracle. Angles are in radians."""

    teacher_length: float = quantity("length of the teacher's weight change")
    lengths: np.ndarray = quantity("length of descent's weight change", "steps, soft ratios")
    to_teacher: np.ndarray = quantity("its angle to the teacher's", "steps, soft ratios", within=1e-3)
    exact: np.ndarray = quantity("angle of a student to the teacher, rho = 1", "sizes", within=1e-3)
    from_samples: np.ndarray = quantity("angle of a student to that of 500 samples", "soft ratios, sizes", within=1e-3)
    from_descent: np.ndarray = quantity("angle of a student to descent's weight change", "steps, soft ratios, sizes",
                                        within=1e-3)
    p_of_samples: np.ndarray = quantity("p(beta), oracle of 500 samples", "soft ratios, distances from 90 degrees",
                                        within=2 / DESCENT_POINTS)
    p_of_descent: np.ndarray = quantity("p(beta), oracle of 512 steps", "soft ratios, distances from 90 degrees",
                                        within=2 / DESCENT_POINTS)


def oracles_by_descent(key: Array, setting: DescentSetting) -> Descent:
    """A network with a teacher of the same random features, and descent on fresh samples towards its logits."""
    of_task, of_weights, of_teacher, of_samples, of_steps, of_test = jax.random.split(key, 6)
    network = fully_connected(setting.depth, width=WIDTH)
    w_0 = network.init(of_weights, setting.d)
    f = network.linearize(w_0)
    kernel = lambda x1, x2: np.asarray(network.empirical_ntk(w_0, x1, x2))
    inputs = lambda key, n: sample_inputs(key, n, setting.d)
    change = lambda w: ravel_pytree(jax.tree.map(jnp.subtract, w, w_0))[0]

    x_t = inputs(of_teacher, TEACHER_SAMPLES)
    y_t = labels(ground_truth(of_task, x_t)(x_t))
    [a] = train_kernel_teacher(x_t, y_t, kernel, epochs=[EPOCHS[MAIN]]).coefficients
    _, combine = jax.vjp(lambda w: f(w, x_t), w_0)
    w_t = jax.tree.map(jnp.add, w_0, *combine(jnp.asarray(a)))  # w_0 + phi(X) a
    length = jnp.linalg.norm(change(w_t))

    x, x_test = inputs(of_samples, STUDENT_SIZES[-1]), inputs(of_test, DESCENT_POINTS)
    students, at = NestedStudents(x, kernel), STUDENT_SIZES - 1
    z_t, z_0 = (np.asarray(f(w, x)) for w in (w_t, w_0))
    delta_z = by_ratio(z_t, setting.T, DESCENT_RATIOS, z_0)
    norms = students.weight_norms(delta_z)

    steepest = np.linalg.norm(np.tril(students.factor), 2) ** 2 / len(x)  # eigenvalue of the features' second moment
    stopped = descend(f, w_0, w_t, of_steps, setting, rate=0.5 / steepest)
    each = lambda function: np.array([[function(w) for w in row] for row in stopped])
    lengths = each(lambda w: jnp.linalg.norm(change(w)))
    learnt, z_0_test = each(lambda w: f(w, x) - z_0), f(w_0, x_test)
    learnt_test = np.array([f(w, x_test) - z_0_test for w in stopped[-1]])

    def angles_from(logits, length):
        """Of the students to oracles with these logits at the samples, less z_0, and these lengths."""
        cosines = students.inner(logits, delta_z)[at] / norms[at] / length
        return np.arccos(np.clip(cosines, -1, 1)).T

    own_lengths = students.feature_lengths(x_test)

    def p(logits, length):
        cosines = feature_cosines(logits, length, own_lengths)
        return np.array([angle_distribution(np.pi / 2 - np.radians(NEAREST), row) for row in cosines])

    return Descent(
        teacher_length=length,
        lengths=lengths,
        to_teacher=np.arccos(each(lambda w: change(w) @ change(w_t)) / lengths / length),
        exact=angles_from(z_t - z_0, length)[0],
        from_samples=weight_angles(students, delta_z)[at].T,
        from_descent=np.array([angles_from(z.T, length) for z, length in zip(learnt, lengths, strict=True)]),
        p_of_samples=p(students.predict(x_test, delta_z, STUDENT_SIZES[-1:])[0].T, norms[-1]),
        p_of_descent=p(learnt_test, lengths[-1]),
    )


def descend(f, w_0, w_t, key, setting, *, rate):
    """Weights by descent on fresh samples of the teacher w_t: for each number of steps, one for each soft ratio."""

    def fresh(key):
        x = sample_inputs(key, BATCH, setting.d)
        z_t = f(w_t, x)
        return x, z_t, jnp.where(z_t > 0, 1.0, 0.0)

    def loss(z_s, z_t, y_g, *, rho, T):
        """The distillation loss over its largest curvature: one rate suits every soft ratio."""
        return distillation_loss(z_s, z_t, y_g, rho=rho, T=T) * 4 / (rho / T**2 + 1 - rho)

    records = train(
        f, w_0, online_batches(fresh), rho=DESCENT_RATIOS, T=setting.T, steps=STEPS, key=key, loss=loss,
        optimizer=optax.sgd(rate, momentum=0.9, nesterov=True), progress=False,
    ).records
    pick = lambda i, j: jax.tree.map(lambda leaf: leaf[i, j], records)
    return [[pick(i, j) for j in range(len(DESCENT_RATIOS))] for i in range(len(STEPS))]


DESCENT = Experiment(
    "transfer_risk.descent", oracles_by_descent, Descent, {"": DescentSetting()}, repetitions=20,
    salt=lambda setting: 300 + setting.d,
)
