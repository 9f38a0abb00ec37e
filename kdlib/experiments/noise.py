r"""Chapter 8: labels of which a known share is wrong.

Two questions, of converged students in the plane. Does it help to count each label by its posterior? And does a soft
ratio above 1 pay? The second is asked for squared loss, where every ratio has a student in closed form: that of the
targets :math:`\xi p + (1 - \xi) e` is :math:`\xi f_p + (1 - \xi) f_e`. There are two teachers: one has learnt right
labels, so that its probabilities are about those of the truth; the other has learnt labels as bad as the student's, as
in self-distillation. All settings are our choice.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import expit, logit

from kdlib import experiments
from kdlib._checks import real, whole
from kdlib.advise.choice import cell_targets, choose
from kdlib.distillation import targets
from kdlib.experiments import Experiment, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

RATIOS = (1.0, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05, 0.0)  #: soft ratios to choose from, at T = 1
DEFAULT = (0.9, 1.0)  #: the cell to beat
SAMPLES = 300  #: of a student
TEACHERS = ("right labels", "labels as bad")  #: what they have learnt
TEACHER_SAMPLES = 300  #: labels of the teachers' own
EPOCHS = 256  #: after which teachers stop
TEST_POINTS = 2000  #: on which errors are counted, against the true classes
FEW = 3 / TEST_POINTS  #: points that rounding may put on the other side of a boundary


@dataclass(frozen=True)
class Setting(experiments.Setting):
    """A task in the plane, and how many labels are wrong."""

    wrong: float = parameter(0.3, lambda name, value: real(name, value, "lie in (0, 0.5)", lambda p: 0 < p < 0.5,
                                                           "0.3 for 30 %"))  #: share of the labels
    depth: int = parameter(3, whole)  #: hidden layers of the infinitely wide networks


@dataclass(frozen=True)
class Run:
    """One draw of the task; errors are shares of the test points, whose classes are the true ones."""

    hard: float = quantity("where the student of the labels alone errs", within=FEW)
    teacher: np.ndarray = quantity("where the teacher errs", "teachers", within=FEW)
    soft: np.ndarray = quantity("where the student of rho = 1 errs", "teachers", within=FEW)
    given: np.ndarray = quantity("where the student errs that is advised with the labels as given", "teachers",
                                 within=0.02)
    posterior: np.ndarray = quantity("where the one errs that is advised with their posterior", "teachers", within=0.02)
    weight: np.ndarray = quantity("xi with the smallest squared error at the test points", "teachers", within=1e-3)
    at_weight: np.ndarray = quantity("where the student of that xi errs", "teachers", within=FEW)


class Drawn(NamedTuple):
    """Samples with labels of which some are wrong, test points, and two teachers' logits at both."""

    x: Float[np.ndarray, "n d"]
    y: Int[np.ndarray, " n"]
    x_test: Float[np.ndarray, "M d"]
    truth: Int[np.ndarray, " M"]
    taught: tuple  #: for each of :data:`TEACHERS`, logits at the samples and at the test points


def draw(key: Array, setting: Setting) -> Drawn:
    """One draw of truth, samples, wrong labels and teachers."""
    of_truth, of_inputs, of_flips = jax.random.split(key, 3)
    x = np.asarray(sample_inputs(of_inputs, SAMPLES + TEACHER_SAMPLES + TEST_POINTS, 2))
    z_g = np.asarray(random_mixture(of_truth, 10, 2, widths=(0.5, 1.0), distribution="normal")(x))
    truth = np.asarray(labels(z_g - np.median(z_g)))
    wrong = np.asarray(jax.random.bernoulli(of_flips, setting.wrong, truth.shape))
    parts = [SAMPLES, SAMPLES + TEACHER_SAMPLES]
    (x, x_t, x_test), (y, bad, _), (_, right, truth) = (
        np.split(each, parts) for each in (x, np.where(wrong, 1 - truth, truth), truth))
    teachers = [train_kernel_teacher(x_t, y_t, fully_connected(setting.depth).ntk, epochs=[EPOCHS])
                for y_t in (right, bad)]
    return Drawn(x, y, x_test, truth, tuple(
        tuple(np.asarray(teacher.logits(points))[0] for points in (x, x_test)) for teacher in teachers))


def repetition(key: Array, setting: Setting) -> Run:
    """One draw, and students at T = 1."""
    x, y, x_test, truth, taught = draw(key, setting)
    kernel = fully_connected(setting.depth).ntk
    students = NestedStudents(x, kernel)
    answers = lambda z: students.predict(x_test, z, [SAMPLES])[0]
    errs = lambda z: np.mean((z > 0) != truth)

    def advised(z_t, noise):
        advice = choose(x, z_t, y, cells=[(rho, 1) for rho in RATIOS], default=DEFAULT, kernel=kernel, noise=noise)
        return errs(answers(learnt(z_t, y, advice.rho, noise)))

    def beside(z_t, z_t_test):
        """A teacher with these logits. Squared loss has targets 2p - 1 and 2y - 1."""
        f_p, f_e = answers(np.column_stack([2 * expit(z_t) - 1, 2 * y - 1])).T
        r, g = 2 * truth - 1 - f_e, f_p - f_e
        xi = np.sum(r * g) / np.sum(g * g)
        return dict(teacher=errs(z_t_test), soft=errs(answers(z_t)), given=advised(z_t, 0.0),
                    posterior=advised(z_t, setting.wrong), weight=xi, at_weight=errs(f_e + xi * g))

    both = [beside(*logits) for logits in taught]
    return Run(hard=errs(answers(2.0 * y - 1)), **{name: np.array([each[name] for each in both]) for name in both[0]})


def learnt(z_t, y_g, rho, wrong):
    r"""Targets at T = 1. A label of which one knows how likely it is wrong moves the teacher's logit to

    .. math:: \operatorname{logit} \tilde y = z_t + (2 y_g - 1) \log\frac{1 - p}{p},

    and the student's probability is :math:`\rho\, \sigma(z_t) + (1 - \rho)\, \tilde y`.
    """
    if not wrong:
        return targets(z_t, y_g, rho=rho, T=1)
    posterior = expit(z_t + (2 * y_g - 1) * logit(1 - wrong))
    return logit(rho * expit(z_t) + (1 - rho) * posterior)


SHARES = (0.1, 0.3, 0.45)  #: of wrong labels
NOISE = Experiment("noise", repetition, Run, {f"wrong_{wrong:g}": Setting(wrong) for wrong in SHARES}, 20,
                   salt=lambda setting: round(1000 * setting.wrong))


@dataclass(frozen=True)
class GridRun:
    """One draw of the task, and students advised with the advisor's own grid and default."""

    given: np.ndarray = quantity("where the student errs that is advised with the labels as given", "teachers",
                                 within=0.02)
    posterior: np.ndarray = quantity("where the one errs that is advised with their posterior", "teachers", within=0.02)


def on_the_grid(key: Array, setting: Setting) -> GridRun:
    """The same draw, and advice among cells of all temperatures."""
    x, y, x_test, truth, taught = draw(key, setting)
    kernel = fully_connected(setting.depth).ntk
    students = NestedStudents(x, kernel)

    def advised(z_t, noise):
        advice = choose(x, z_t, y, kernel=kernel, noise=noise)
        z = cell_targets(z_t, y, [(advice.rho, advice.T)], noise)[:, 0, 0]
        return np.mean((students.predict(x_test, z, [SAMPLES])[0] > 0) != truth)

    return GridRun(**{name: np.array([advised(z_t, noise) for z_t, _ in taught])
                      for name, noise in dict(given=0.0, posterior=setting.wrong).items()})


ON_THE_GRID = Experiment("noise.grid", on_the_grid, GridRun, NOISE.cases, 20, salt=NOISE.salt)
