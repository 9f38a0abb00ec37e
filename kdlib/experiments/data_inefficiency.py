"""Chapter 4: how fast students' weights grow, on tasks of graded difficulty and for teachers that stop early.

A run draws samples and a student, and keeps the norms of its weight change at the numbers of samples between which
:func:`~kdlib.inefficiency.data_inefficiency` takes slopes. All tasks of a run share its samples, and so one
factorisation. The paper's own settings are in its appendix, which is not available; these are our choice.
"""

from dataclasses import dataclass
from functools import cache, partial

import jax
import numpy as np

from kdlib._checks import choice, temperature, whole
from kdlib.distillation import label_smoothing_logit, targets
from kdlib.experiments._store import Experiment, Setting, parameter, quantity
from kdlib.inefficiency import expected_norms, window_ends
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import flip_signs, labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

MODES = 1, 3, 10, 30  #: q, of the mixtures of Fig. 3 left
FLIPS = 0.0, 0.01, 0.05, 0.2, 0.5  #: p_flip, of Fig. 3 right, whose mixture has ten modes
EPOCHS = 16, 91, 512, 2896, 16384  #: after which teachers stop: 2^4 to 2^14, in equal steps of the logarithm
RATIOS = 1.0, 0.95, 0.7, 0.2, 0.0  #: rho, for the teacher of the middle epoch
MIDDLE = 2  #: its place among the epochs
TRUTHS = 5  #: ground truths, with a teacher each
TEACHER_SAMPLES = 500  #: labels that a teacher has seen


@dataclass(frozen=True)
class Students(Setting):
    """Infinitely wide students, and how many samples they see."""

    d: int = parameter(2, whole)  #: dimension of the inputs
    n_max: int = parameter(1000, partial(whole, least=100))  #: largest n whose I(n) is taken
    depth: int = parameter(3, whole)  #: hidden layers
    activation: str = parameter("relu", partial(choice, options=("relu", "erf", "gelu")))  #: of the hidden units

    def __post_init__(self):
        super().__post_init__()
        if self.activation != "relu":
            whole("d", self.d, least=5, remedy="in fewer dimensions samples soon seem dependent to a smooth kernel")

    @property
    def network(self):
        return fully_connected(self.depth, activation=self.activation)

    @property
    def samples(self):
        """How many a run draws: up to the end of the last window."""
        return int(window_ends(self.n_max)[-1])

    @property
    def sizes(self):
        """The four n at which tables and claims have I(n)."""
        return (self.n_max * np.array([0.03, 0.1, 0.3, 1.0])).round().astype(int)

    @property
    def curve_sizes(self):
        """The n at which figures have I(n)."""
        return np.unique(np.geomspace(3, self.n_max, 30).round().astype(int))

    @property
    def decade(self):
        """The n and the window of a single slope, from n_max / 10 to n_max."""
        middle = int(np.ceil(self.n_max / 10**0.5))  # rounded up: its window begins at n_max / 10
        return middle, (self.n_max - 0.5) / middle

    def places(self, *, sizes=None, decade=False, curves=False):
        """Where norms must be taken, for I(n) at some sizes, in the last decade, and along a curve."""
        middle, window = self.decade
        return np.unique(np.concatenate([
            [self.n_max],
            window_ends(self.sizes if sizes is None else sizes),
            window_ends(middle, window=window) if decade else [],
            window_ends(self.curve_sizes) if curves else [],
        ])).astype(int)


def norms_at(places, students, delta_z):
    """Norms of the weight change at some numbers of samples; targets may have any axes behind that of the samples."""
    delta_z = np.asarray(delta_z)
    norms = students.weight_norms(delta_z.reshape(len(delta_z), -1))
    return norms[places - 1].reshape(len(places), *delta_z.shape[1:])


# --- Tasks of graded difficulty: Fig. 3 ------------------------------------------------------------


@dataclass(frozen=True)
class GradedSetting(Students):
    """Students of mixtures, noise and the zero function."""

    curves: bool = False  #: whether norms are kept for the figures' curves too

    @property
    def at(self):
        """The numbers of samples whose norms are kept."""
        return self.places(curves=self.curves)


@dataclass(frozen=True)
class GradedRun:
    """Norms of the weight change, at the numbers of samples ``setting.at``."""

    shrinking: np.ndarray = quantity("mixtures whose widths shrink with q", "n, q")
    shrinking_from_zero: np.ndarray = quantity("the same, with z_0 = 0", "n, q")
    equal: np.ndarray = quantity("mixtures of one width", "n, q")
    flipped: np.ndarray = quantity("the mixture of ten modes, with flipped signs", "n, p_flip")
    flipped_exactly: np.ndarray = quantity("root mean square of these over all flips", "n, p_flip")
    zero: np.ndarray = quantity("the zero function", "n")
    random: np.ndarray = quantity("random labels", "n")


def shrinking_widths(q, d):
    """Bumps that fill the same volume however many they are."""
    return 0.8 * q ** (-1 / d)


def equal_widths(q, d):
    return 0.8


def mixtures(key, x, widths):
    """A new mixture on [-1, 1]^d for each q, one column each."""
    d = x.shape[1]
    made = (random_mixture(jax.random.fold_in(key, q), q, d, widths=widths(q, d)) for q in MODES)
    return np.stack([mixture(x) for mixture in made], axis=1)


def graded(key, setting: GradedSetting):
    """Samples and a student at initialisation, which all tasks share."""
    of_x, of_z_0, of_mixture, of_flips, of_labels = jax.random.split(key, 5)
    x = sample_inputs(of_x, setting.samples, setting.d, distribution="uniform")
    students = NestedStudents(x, setting.network.ntk)
    z_0 = setting.network.initial_logits(of_z_0, x)
    shrinking = mixtures(of_mixture, x, shrinking_widths)
    z = shrinking[:, MODES.index(10)]
    flipped = np.stack([flip_signs(of_flips, z, p_flip=p) for p in FLIPS], axis=1)
    norms = partial(norms_at, setting.at, students)
    return GradedRun(
        shrinking=norms(shrinking - z_0),
        shrinking_from_zero=norms(shrinking),
        equal=norms(mixtures(of_mixture, x, equal_widths) - z_0),
        flipped=norms(flipped - z_0),
        flipped_exactly=over_all_flips(students, z, z_0)[setting.at - 1],
        zero=norms(-z_0[:, 0]),
        random=norms(jax.random.normal(of_labels, len(x))),
    )


def over_all_flips(students, z, z_0):
    """Root mean square of the norms over all flips of z, one column for each p_flip.

    Flips leave the mean (1 - 2p) z and independent noise of variance 4p(1 - p) z^2.
    """
    p = np.array(FLIPS)
    mean = students.weight_norms((1 - 2 * p) * z[:, None] - z_0)
    noise = expected_norms(students, covariance=z**2)[:, None]
    return np.sqrt(mean**2 + 4 * p * (1 - p) * noise**2)


# The longer series, for the order of the curves, begins with the runs of the curves: its keys are the same.
GRADED = Experiment("data_inefficiency.graded", graded, GradedRun,
                    {"d1": GradedSetting(1, curves=True), "d2": GradedSetting(2, curves=True),
                     "orders": GradedSetting(2)},
                    {"d1": 20, "d2": 20, "orders": 240}, salt=lambda s: 300 + s.d)


# --- The constants ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConstantsSetting(Students):
    """Students of noise, of hard labels and of the zero function, by dimension."""

    @property
    def at(self):
        """The numbers of samples whose norms are kept."""
        return self.places(sizes=self.sizes[:-1], decade=True)


@dataclass(frozen=True)
class ConstantsRun:
    """Norms of the weight change, at the numbers of samples ``setting.at``."""

    random: np.ndarray = quantity("random labels, root mean square", "n")
    hard: np.ndarray = quantity("hard labels, the sign of the first input", "n")
    zero: np.ndarray = quantity("the zero function, root mean square", "n")


def constants(key, setting: ConstantsSetting):
    """Samples of a normal distribution, and three targets on them."""
    x = sample_inputs(key, setting.n_max, setting.d)
    students = NestedStudents(x, setting.network.ntk)
    norms = {
        "random": expected_norms(students),
        "hard": students.weight_norms(2 * labels(x[:, 0]) - 1),
        "zero": expected_norms(students, covariance=setting.network.nngp(x)),
    }
    return ConstantsRun(**{name: values[setting.at - 1] for name, values in norms.items()})


# The paper's 0.8 belongs to two dimensions, where twenty runs cannot tell whether noise begins too high.
CONSTANTS = Experiment("data_inefficiency.constants", constants, ConstantsRun,
                       {f"d{d}": ConstantsSetting(d) for d in (1, 2, 3, 5, 10)},
                       {"d1": 20, "d2": 400, "d3": 20, "d5": 20, "d10": 20}, salt=lambda s: 500 + s.d)


# --- Teachers that stop early, and hard labels: Fig. 4 ------------------------------------------------


@dataclass(frozen=True)
class LessonsSetting(Students):
    """Students of the teachers of five ground truths."""

    T: float = parameter(5.0, temperature)  #: temperature
    seed: int = parameter(0, partial(whole, least=0))  #: draws the ground truths and what their teachers see

    @property
    def at(self):
        """The numbers of samples at which the norms of all teachers' students are kept."""
        return np.union1d(self.places(decade=True), self.sizes)

    @property
    def curve_at(self):
        """The numbers of samples at which those of the first teacher's students are kept."""
        return self.places(curves=True)

    @property
    def lessons(self):
        """Pairs of a ground truth and its teacher."""
        return lessons(self.d, self.network, self.seed)


@cache
def lessons(d, network, seed):
    """Five ground truths in d dimensions, and what a teacher, stopped at each epoch, makes of 500 labels."""
    root = jax.random.fold_in(jax.random.key(seed), 700 + d)
    return [lesson(jax.random.fold_in(root, i), d, network) for i in range(TRUTHS)]


def lesson(key, d, network):
    of_truth, of_x = jax.random.split(key)
    widths = tuple(np.array([0.3, 0.8]) * 10 ** (1 / 2 - 1 / d))  # as wide beside their distance in every d
    truth = random_mixture(of_truth, 10, d, widths=widths, distribution="normal")
    x = sample_inputs(of_x, TEACHER_SAMPLES, d)
    return truth, train_kernel_teacher(x, labels(truth(x)), network.ntk, epochs=EPOCHS)


@dataclass(frozen=True)
class LessonsRun:
    """Norms of the weight change, at the numbers of samples ``setting.at`` and ``setting.curve_at``."""

    epochs: np.ndarray = quantity("soft labels alone", "n, teacher, epoch")
    epochs_from_zero: np.ndarray = quantity("the same, with z_0 = 0", "n, teacher, epoch")
    ratios: np.ndarray = quantity("soft and hard labels, the middle epoch", "n, teacher, rho")
    truth: np.ndarray = quantity("the signs of the ground truth, with z_0 = 0", "n, teacher")
    smoothed: np.ndarray = quantity("label smoothing, epsilon = 0.1", "n, teacher")
    first_epochs: np.ndarray = quantity("the first teacher, soft labels alone", "n of the curves, epoch")
    first_epochs_from_zero: np.ndarray = quantity("the same, with z_0 = 0", "n of the curves, epoch")
    first_ratios: np.ndarray = quantity("the first teacher, soft and hard labels", "n of the curves, rho")
    zero: np.ndarray = quantity("the zero function", "n of the curves")


def new_student(key, setting):
    """Samples, students of them, their logits at initialisation, and the teachers' logits, by teacher and epoch."""
    of_x, of_z_0 = jax.random.split(key)
    x = sample_inputs(of_x, setting.samples, setting.d)
    z_t = np.stack([teacher.logits(x).T for _, teacher in setting.lessons], axis=1)
    return x, NestedStudents(x, setting.network.ntk), setting.network.initial_logits(of_z_0, x), z_t


def soft_to_hard(z_t, z_0, T):
    """What a perfect teacher's student has to learn, by soft ratio."""
    z_t, z_0 = z_t[..., None], z_0[..., None]
    return targets(z_t, labels(z_t), rho=np.array(RATIOS), T=T, z_0=z_0)


def taught(key, setting: LessonsSetting):
    """Students of all teachers, on the same samples."""
    x, students, z_0, z_t = new_student(key, setting)
    z_middle = z_t[..., MIDDLE]
    ratios = soft_to_hard(z_middle, z_0, setting.T)
    truth = np.stack([2 * labels(truth(x)) - 1 for truth, _ in setting.lessons], axis=1)
    smoothed = label_smoothing_logit(labels(z_middle), epsilon=0.1)
    norms, curve = (partial(norms_at, at, students) for at in (setting.at, setting.curve_at))
    return LessonsRun(
        epochs=norms(z_t - z_0[..., None]),
        epochs_from_zero=norms(z_t),
        ratios=norms(ratios),
        truth=norms(truth),
        smoothed=norms(smoothed - z_0),
        first_epochs=curve(z_t[:, 0] - z_0),
        first_epochs_from_zero=curve(z_t[:, 0]),
        first_ratios=curve(ratios[:, 0]),
        zero=curve(-z_0[:, 0]),
    )


@dataclass(frozen=True)
class TransitionSetting(LessonsSetting):
    """The same, for a longer series in which only soft ratios and the teachers' own errors count."""

    @property
    def at(self):
        """The numbers of samples whose norms are kept, at the two extreme soft ratios."""
        return self.places()

    @property
    def decade_at(self):
        """The numbers of samples whose norms are kept, at all soft ratios."""
        middle, window = self.decade
        return window_ends(middle, window=window)


@dataclass(frozen=True)
class TransitionRun:
    """Norms of the weight change for the middle epoch, at the numbers of samples ``setting.at`` or ``decade_at``."""

    soft: np.ndarray = quantity("soft labels alone", "n, teacher")
    signs: np.ndarray = quantity("hard labels, rho -> 0", "n, teacher")
    decade: np.ndarray = quantity("soft and hard labels, at the ends of the last decade", "n, teacher, rho")
    # A point on the boundary may count as wrong on another machine.
    wrong: np.ndarray = quantity("share of samples at which the teacher's sign is not the truth's", "teacher, epoch",
                                 within=2e-3)


def from_soft_to_hard(key, setting: TransitionSetting):
    """The soft ratios of :func:`taught`, and how often teachers err."""
    x, students, z_0, z_t = new_student(key, setting)
    ratios = soft_to_hard(z_t[..., MIDDLE], z_0, setting.T)
    soft, signs = np.moveaxis(norms_at(setting.at, students, ratios[..., [0, -1]]), -1, 0)
    truth = np.stack([truth(x) > 0 for truth, _ in setting.lessons], axis=1)
    return TransitionRun(soft, signs, norms_at(setting.decade_at, students, ratios),
                         wrong=np.mean((z_t > 0) != truth[..., None], axis=0))


LESSONS = Experiment("data_inefficiency.lessons", taught, LessonsRun, {f"d{d}": LessonsSetting(d) for d in (1, 2)},
                     {"d1": 20, "d2": 40}, salt=lambda s: 400 + s.d)
TRANSITION = Experiment("data_inefficiency.transition", from_soft_to_hard, TransitionRun, {"d2": TransitionSetting(2)},
                        600, salt=lambda s: 400 + s.d)


# --- Other networks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkSetting(Students):
    """Students of mixtures and noise, up to fewer samples: a smooth kernel bears no more."""

    n_max: int = parameter(300, partial(whole, least=100))  #: largest n whose I(n) is taken

    @property
    def at(self):
        """The numbers of samples whose norms are kept, for I(n) at n_max / 3 and at n_max."""
        return self.places(sizes=[self.n_max // 3, self.n_max])


@dataclass(frozen=True)
class NetworkRun:
    """Norms of the weight change with z_0 = 0, at the numbers of samples ``setting.at``."""

    mixtures: np.ndarray = quantity("mixtures whose widths shrink with q", "n, q")
    random: np.ndarray = quantity("random labels", "n")


def of_network(key, setting: NetworkSetting):
    """Samples, mixtures and noise; networks of one dimension share them."""
    of_x, of_mixture, of_labels = jax.random.split(key, 3)
    x = sample_inputs(of_x, setting.samples, setting.d, distribution="uniform")
    norms = partial(norms_at, setting.at, NestedStudents(x, setting.network.ntk))
    return NetworkRun(norms(mixtures(of_mixture, x, shrinking_widths)), norms(jax.random.normal(of_labels, len(x))))


NETWORKS = Experiment("data_inefficiency.networks", of_network, NetworkRun, {
    **{f"relu{depth}": NetworkSetting(2, depth=depth) for depth in (1, 2, 3, 4, 5)},
    **{f"{activation}_d5": NetworkSetting(5, activation=activation) for activation in ("relu", "erf", "gelu")},
}, 20, salt=lambda s: 600 + s.d)
