r"""Chapter 8: labels of which a known share is wrong.

Two questions, of converged students in the plane, whose teacher has learnt from labels as bad as theirs. Does it help
to count each label by its posterior? And does a soft ratio above 1 pay? The second is asked for squared loss, where
every ratio has a student in closed form: that of the targets :math:`\xi p + (1 - \xi) e` is
:math:`\xi f_p + (1 - \xi) f_e`. All settings are our choice.
"""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array
from scipy.special import expit, logit

from kdlib import advise, experiments
from kdlib._checks import real, whole
from kdlib.distillation import targets
from kdlib.experiments import Experiment, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

RATIOS = (1.0, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05, 0.0)  #: soft ratios to choose from, at T = 1
DEFAULT = (0.9, 1.0)  #: the cell to beat
SAMPLES = 300  #: of a student
TEACHER_SAMPLES = 300  #: labels of the teacher's own, of which the same share is wrong
EPOCHS = 256  #: after which the teacher stops
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

    teacher: float = quantity("where the teacher errs", within=FEW)
    given: float = quantity("where the student errs that is advised with the labels as given", within=0.02)
    posterior: float = quantity("where the one errs that is advised with their posterior", within=0.02)
    soft: float = quantity("where the student of rho = 1 errs", within=FEW)
    hard: float = quantity("where the student of the labels alone errs", within=FEW)
    weight: float = quantity("xi with the smallest squared error at the test points", within=1e-3)
    at_one: float = quantity("where the student of xi = 1 errs", within=FEW)
    at_weight: float = quantity("where the student of that xi errs", within=FEW)


def repetition(key: Array, setting: Setting) -> Run:
    """One draw of truth, samples, wrong labels and teacher."""
    of_truth, of_inputs, of_flips = jax.random.split(key, 3)
    x = np.asarray(sample_inputs(of_inputs, SAMPLES + TEACHER_SAMPLES + TEST_POINTS, 2))
    z_g = np.asarray(random_mixture(of_truth, 10, 2, widths=(0.5, 1.0), distribution="normal")(x))
    truth = np.asarray(labels(z_g - np.median(z_g)))
    wrong = np.asarray(jax.random.bernoulli(of_flips, setting.wrong, truth.shape))
    y = np.where(wrong, 1 - truth, truth)
    (x, x_t, x_test), (y, y_t, _) = (np.split(all_, [SAMPLES, SAMPLES + TEACHER_SAMPLES]) for all_ in (x, y))
    truth = truth[-TEST_POINTS:]
    kernel = fully_connected(setting.depth).ntk
    teacher = train_kernel_teacher(x_t, y_t, kernel, epochs=[EPOCHS])
    z_t, z_t_test = (np.asarray(teacher.logits(points))[0] for points in (x, x_test))
    students = NestedStudents(x, kernel)
    answers = lambda z: students.predict(x_test, z, [SAMPLES])[0]
    errs = lambda z: np.mean((z > 0) != truth)

    def advised(noise):
        advice = advise(x, z_t, y, cells=[(rho, 1) for rho in RATIOS], default=DEFAULT, kernel=kernel, noise=noise)
        return errs(answers(learnt(z_t, y, advice.rho, noise)))

    # Squared loss: targets 2p - 1 and 2y - 1, and the true classes as 1 and -1.
    f_p, f_e = answers(np.column_stack([2 * expit(z_t) - 1, 2 * y - 1])).T
    r, g = 2 * truth - 1 - f_e, f_p - f_e
    xi = np.sum(r * g) / np.sum(g * g)
    return Run(teacher=errs(z_t_test), given=advised(0.0), posterior=advised(setting.wrong), soft=errs(answers(z_t)),
               hard=errs(answers(2.0 * y - 1)), weight=xi, at_one=errs(f_p), at_weight=errs(f_e + xi * g))


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
