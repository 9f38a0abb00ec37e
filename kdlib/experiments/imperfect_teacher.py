"""Chapter 5: students of teachers that err, at many soft ratios, temperatures and numbers of samples.

Source: Section 5 of the paper. Its appendix with the settings is not available: every one is our choice.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.stats import rankdata

from kdlib import experiments
from kdlib._checks import require_increasing, temperature, whole
from kdlib.distillation import targets
from kdlib.experiments import Experiment, parameter, quantity
from kdlib.hard_labels import ground_truth_cosine, hard_label_projection
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

EPOCHS = 2 ** np.arange(4, 15)  #: after which teachers stop, from hopeless to excellent
RATIOS = np.array([1, 0.999, 0.997, 0.99, 0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1, 0])  #: soft ratios of students
TEMPERATURES = (1.0, 2.0, 5.0, 10.0)  #: that are always compared
SIZES = (16, 32, 64, 128, 256, 512, 1024)  #: numbers of samples of students
TRUTHS = ("smooth", "clipped", "signs")  #: what stands for the ground truth in Theorem 2

MODES = 10  #: Gaussian bumps of the ground truth
WIDTHS = (0.3, 0.8)  #: of the bumps in the plane, as an interval; they grow like sqrt(d), as distances do
TEACHER_SAMPLES = 1500  #: labels of the teacher's own
TEST_POINTS = 4000  #: on which errors are counted
FEW_POINTS = 2 / TEST_POINTS  #: that rounding may put on the other side of a boundary


def sizes_with(n):
    """The numbers of samples, with n among them."""
    return tuple(sorted({*SIZES, whole("n", n, 64, SIZES[-1])}))


def increasing(name, values):
    return tuple(require_increasing(name, values, "give numbers of samples").tolist())


@dataclass(frozen=True)
class Setting(experiments.Setting):
    """Tasks, and the students that learn them."""

    d: int = parameter(2, whole)  #: dimension of the inputs
    depth: int = parameter(3, whole)  #: hidden layers of the infinitely wide networks, teachers and students
    T: float = parameter(5.0, temperature)  #: temperature at which angles are measured and errors are told apart
    sizes: tuple = parameter(SIZES, increasing)  #: numbers of samples of the students

    @property
    def temperatures(self):
        """Of the students: those that are always compared, and T."""
        return tuple(sorted({*TEMPERATURES, self.T}))

    @property
    def kernel(self):
        """That of teachers and students, the NTK of a ReLU network."""
        return fully_connected(self.depth).ntk


@dataclass(frozen=True)
class Run:
    """A task: its teachers of all epochs, and their students. Errors are shares of the test points."""

    teacher: np.ndarray = quantity("where the teacher errs", "epochs", within=FEW_POINTS)
    error: np.ndarray = quantity("where the student errs", "sizes, epochs, temperatures, soft ratios",
                                 within=FEW_POINTS)
    shared: np.ndarray = quantity("where both err, at temperature T", "sizes, epochs, soft ratios", within=FEW_POINTS)
    turn: np.ndarray = quantity("cosine of correction and complement (Theorem 2), at T", "truths, sizes, epochs",
                                within=1e-3)
    cosine: np.ndarray = quantity("cosine of the student of rho = 1 and the smooth truth of all samples",
                                  "sizes, epochs", within=1e-3)
    # One point more or less can change the order of two errors.
    along_ratio: np.ndarray = quantity("rank correlation of angle and error along the soft ratio, at T",
                                       "truths, sizes, epochs", within=0.1)


class Task(NamedTuple):
    """Samples and test points, with the logits that the ground truth and teachers of all epochs have there."""

    x: Float[np.ndarray, "N d"]  #: the student's samples
    z_g: Float[np.ndarray, " N"]  #: the ground truth's logits there; their signs are the labels
    z_t: Float[np.ndarray, "N epochs"]  #: the teachers'
    x_test: Float[np.ndarray, "M d"]  #: test points
    z_g_test: Float[np.ndarray, " M"]
    z_t_test: Float[np.ndarray, "M epochs"]


def draw_task(key: Array, setting: Setting) -> Task:
    """Draw a ground truth, train its teachers on labels of their own, and draw samples and test points.

    The ground truth is a mixture of Gaussian bumps less its median, so that the classes are of equal size.
    """
    of_truth, of_teacher, of_samples, of_test = jax.random.split(key, 4)
    inputs = lambda key, n: np.asarray(sample_inputs(key, n, setting.d))
    x, x_test = inputs(of_samples, setting.sizes[-1]), inputs(of_test, TEST_POINTS)
    x_t = inputs(of_teacher, TEACHER_SAMPLES)
    widths = np.sqrt(setting.d / 2) * np.array(WIDTHS)
    mixture = random_mixture(of_truth, MODES, setting.d, widths=widths, distribution="normal")
    z_g, z_g_test, z_g_t = (np.asarray(mixture(points)) for points in (x, x_test, x_t))
    median = np.median(z_g_test)
    teacher = train_kernel_teacher(x_t, labels(z_g_t - median), setting.kernel, epochs=EPOCHS)
    z_t, z_t_test = (np.asarray(teacher.logits(points)).T for points in (x, x_test))
    return Task(x, z_g - median, z_t, x_test, z_g_test - median, z_t_test)


def repetition(key: Array, setting: Setting) -> Run:
    """One task, with the students of all its teachers, temperatures, soft ratios and numbers of samples."""
    task = draw_task(key, setting)
    y_g = np.asarray(labels(task.z_g))
    students = NestedStudents(task.x, setting.kernel)
    at_T = setting.temperatures.index(setting.T)

    z = all_targets(task.z_t, y_g, setting.temperatures)
    predicted = students.predict(task.x_test, z.reshape(len(z), -1), setting.sizes)
    positive = task.z_g_test > 0
    wrong = ((predicted > 0) != positive[:, None]).reshape(*predicted.shape[:2], *z.shape[1:])
    teacher_wrong = (task.z_t_test > 0) != positive[:, None]
    error = wrong.mean(axis=1)

    truths = stand_ins(task.z_g)
    samples = np.array(setting.sizes) - 1  # row n - 1 belongs to the student of n
    cosines = np.stack([cosines_by_ratio(students, task.z_t, y_g, truth, setting.T)[samples] for truth in truths])
    lengths = students.weight_norms(task.z_g)
    return Run(
        teacher=teacher_wrong.mean(axis=0),
        error=error,
        shared=(wrong[:, :, :, at_T] & teacher_wrong[:, :, None]).mean(axis=1),
        turn=np.stack([turns(students, task.z_t, y_g, truth, setting.T)[samples] for truth in truths]),
        cosine=cosines[0, ..., 0] * (lengths[samples] / lengths[-1])[:, None],
        along_ratio=rank_correlation(-cosines, error[:, :, at_T]),
    )


def all_targets(z_t, y_g, temperatures) -> Float[np.ndarray, "N epochs temperatures ratios"]:
    """What all students have to learn: effective logits, at rho = 0 the labels' signs."""
    by_temperature = np.array(temperatures)[:, None]
    return np.asarray(targets(z_t[:, :, None, None], y_g[:, None, None, None], rho=RATIOS, T=by_temperature))


def stand_ins(z_g: Float[ArrayLike, " N"]) -> Float[np.ndarray, "truths N"]:
    """Functions with the ground truth's classes: its logit, the same clipped at one standard deviation, its signs."""
    return np.stack([z_g, np.clip(z_g / z_g.std(), -1, 1), np.sign(z_g)])


def turns(students, z_t, y_g, z_g, T) -> Float[np.ndarray, "N epochs"]:
    """Theorem 2's projection as a cosine: of the hard labels' correction, and of what the teacher lacks."""
    parts = hard_label_projection(students, z_t, y_g, z_g, T=T)
    size = parts.correction * parts.complement
    return np.divide(parts.projection, size, out=np.zeros_like(size), where=size > 0)  # one sample lacks nothing


def cosines_by_ratio(students, z_t, y_g, z_g, T) -> Float[np.ndarray, "N epochs ratios"]:
    """Cosines of all students and the ground truth's student of the same samples, Eq. 11."""
    columns, ratios = np.repeat(z_t, len(RATIOS), axis=1), np.tile(RATIOS, z_t.shape[1])
    cosines = ground_truth_cosine(students, columns, y_g, z_g, rho=ratios, T=T)
    return cosines.reshape(len(z_t), -1, len(RATIOS))


def rank_correlation(a: Float[ArrayLike, "... k"], b: Float[ArrayLike, "... k"]) -> Float[np.ndarray, "..."]:
    """Spearman's rank correlation along the last axis; 0 where one of both does not vary.

    >>> print(rank_correlation([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], [[0.1, 0.5, 9.0], [0.0, 0.0, 0.0]]))
    [1. 0.]
    """
    a, b = (rankdata(values, axis=-1) for values in (a, b))
    a, b = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (a, b))
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return (a * b).sum(axis=-1) / np.where(size > 0, size, 1)


EXPERIMENT = Experiment("imperfect_teacher", repetition, Run, {"d2": Setting()}, 120, salt=lambda setting: setting.d)
