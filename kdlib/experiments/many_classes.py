r"""Chapter 7: students of K classes, converged and trained.

Two experiments:

- :data:`STUDENTS`: converged students on tasks in the plane and on digits: transfer risk and data inefficiency with a
  perfect teacher (Fig. 2 and 4 of the paper), and errors with imperfect ones (Fig. 5);
- :data:`NETWORKS`: trained networks: which of the teacher's mistakes at the training samples they correct, beside what
  the pairwise rule says of the converged student.

The paper has two classes. All settings are our choice.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import softmax
from jaxtyping import Array, Float, Int

from kdlib import experiments
from kdlib._checks import choice, real, temperature, whole
from kdlib.classes import class_distillation_loss, class_targets
from kdlib.experiments import Experiment, parameter, practical, quantity
from kdlib.inefficiency import class_weight_norms, window_ends
from kdlib.networks import fully_connected
from kdlib.risk import class_transfer_risk
from kdlib.students import NestedStudents
from kdlib.tasks import random_mixture, sample_inputs
from kdlib.training import batches_by_seed, train

# --- Converged students: Fig. 2, 4 and 5 ----------------------------------------------------------------------------

RATIOS = np.array([1, 0.99, 0.95, 0.5, 0])  #: soft ratios of students of a perfect teacher
MIXTURES = np.array([1, 0.999, 0.997, 0.99, 0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1, 0])  #: of imperfect ones
EPOCHS = np.array([16, 64, 256, 1024])  #: after which teachers stop
MAIN = 2  #: the perfect teacher's place among them
SIZES = np.array([25, 50, 100, 200, 400, 800])  #: numbers of samples of students
SLOPES = np.unique(np.geomspace(5, 590, 16).round().astype(int))  #: the n at which there is an I(n)
AT = window_ends(SLOPES)  #: the numbers of samples at which norms are kept

TEACHER_SAMPLES = 400  #: labels of the teacher's own
TEST_POINTS = 2000  #: of a task in the plane; of digits there are 500
MODES = 10  #: Gaussian bumps in the logit of each class
WIDTHS = (0.5, 1.0)  #: of the bumps, as an interval


@dataclass(frozen=True)
class Setting(experiments.Setting):
    """A task with many classes, and its infinitely wide teachers and students."""

    data: str = parameter("plane", partial(choice, options=("plane", "digits")))  #: where inputs come from
    classes: int = parameter(10, partial(whole, least=2))  #: K
    T: float = parameter(5.0, temperature)  #: temperature
    depth: int = parameter(3, whole)  #: hidden layers

    def __post_init__(self):
        super().__post_init__()
        if self.data == "digits" and self.classes != 10:
            raise ValueError(f"classes must be 10 for digits, got {self.classes}: the plane has any number")

    @property
    def kernel(self):
        """That of teachers and students, the NTK of a ReLU network."""
        return fully_connected(self.depth).ntk


@dataclass(frozen=True)
class Run:
    """A task, and the students of all sizes, soft ratios and teachers."""

    # A point or two may lie on the other side of a boundary on another machine.
    risk: np.ndarray = quantity("transfer risk, the teacher is perfect", "sizes, soft ratios", within=0.004)
    norms: np.ndarray = quantity("length of these students' weight changes", "at, soft ratios")
    teacher: np.ndarray = quantity("the teachers' test error", "epochs", within=0.004)
    error: np.ndarray = quantity("their students' test error", "sizes, epochs, mixtures", within=0.004)


class Task(NamedTuple):
    """Samples and test points, with classes and the logits that teachers of all epochs have there."""

    x: Float[np.ndarray, "N d"]  #: the students' samples
    y: Int[np.ndarray, " N"]  #: their classes
    z_t: Float[np.ndarray, "N K epochs"]  #: the teachers' logits
    x_test: Float[np.ndarray, "M d"]  #: test points
    y_test: Int[np.ndarray, " M"]
    z_t_test: Float[np.ndarray, "M K epochs"]
    lengths: Float[np.ndarray, "K K epochs"]  #: of the difference of the weights of two of the teacher's outputs


def draw_task(key: Array, setting: Setting) -> Task:
    """Inputs with their classes, and teachers trained on labels of their own."""
    of_inputs, of_truth = jax.random.split(key)
    x, y, x_test, y_test = {"plane": in_the_plane, "digits": digits}[setting.data](of_inputs, of_truth, setting)
    x, x_t = np.split(x, [SIZES[-1]])
    y, y_t = np.split(y, [SIZES[-1]])
    gram = setting.kernel(x_t, x_t)
    a = train_softly(gram, y_t, setting.classes)
    z_t, z_t_test = (np.einsum("mn,enk->mke", setting.kernel(points, x_t), a) for points in (x, x_test))
    inner = np.einsum("eni,nm,emj->ije", a, gram, a, optimize=True)
    squares = np.einsum("iie->ie", inner)
    return Task(x, y, z_t, x_test, y_test, z_t_test, np.sqrt(np.maximum(squares[:, None] + squares - 2 * inner, 0)))


def in_the_plane(of_inputs, of_truth, setting):
    """Normal inputs; the class is that with the largest of K smooth logits, mixtures of Gaussian bumps."""
    x = sample_inputs(of_inputs, SIZES[-1] + TEACHER_SAMPLES + TEST_POINTS, 2)
    keys = jax.random.split(of_truth, setting.classes)
    logits = [random_mixture(each, MODES, 2, widths=WIDTHS, distribution="normal")(x) for each in keys]
    x, y = np.asarray(x), np.argmax(logits, axis=0)
    return x[:-TEST_POINTS], y[:-TEST_POINTS], x[-TEST_POINTS:], y[-TEST_POINTS:]


def digits(of_inputs, of_truth, setting):
    """Images of digits, with pixels of mean 0 and variance 1; the test samples are always the same."""
    data = practical.images(practical.setting("digits"))
    flat = lambda x: np.asarray(x, float).reshape(len(x), -1)
    some = np.asarray(jax.random.permutation(of_inputs, len(data.x)))[: SIZES[-1] + TEACHER_SAMPLES]
    return flat(data.x)[some], data.y[some], flat(data.x_test), data.y_test


def train_softly(gram: Float[Array, "n n"], y: Int[np.ndarray, " n"], K: int) -> Float[np.ndarray, "epochs n K"]:
    r"""Coefficients a of infinitely wide teachers of K classes, :math:`z_t(x) = \Theta(x, X)\, a`, at all epochs.

    Descent on the mean cross-entropy in function space, from zero,
    :math:`a \leftarrow a - \frac\eta n [\pi(\Theta a) - Y]`. The softmax bends by at most 1/2, so that descent can
    bear :math:`\eta = 4 n / \lambda_{\max}(\Theta)`; half of that is taken.
    """
    gram, labels = jnp.asarray(gram), jax.nn.one_hot(y, K, dtype=float)
    rate = 2 / np.linalg.eigvalsh(gram)[-1]
    step = lambda _, a: a - rate * (softmax(gram @ a) - labels)
    descend = jax.jit(lambda a, steps: jax.lax.fori_loop(0, steps, step, a))
    stops = [jnp.zeros_like(labels)]
    for steps in np.diff(EPOCHS, prepend=0):
        stops.append(descend(stops[-1], steps))
    return np.array(stops[1:])


def repetition(key: Array, setting: Setting) -> Run:
    """One task; all its students come from one factorisation."""
    task = draw_task(key, setting)
    students = NestedStudents(task.x, setting.kernel)
    perfect = targets(task.z_t[..., [MAIN]], task.z_t[..., MAIN].argmax(axis=1), RATIOS, setting.T)
    mixed = targets(task.z_t, task.y, MIXTURES, setting.T)
    predicted = [students.predict(task.x_test, z.reshape(len(z), -1), SIZES).reshape(len(SIZES), -1, *z.shape[1:])
                 for z in (perfect, mixed)]  # fmt: skip
    copies = np.moveaxis(predicted[0][..., 0, :], -1, 1)  # classes last
    wrong = predicted[1].argmax(axis=2) != task.y_test[:, None, None]
    return Run(
        risk=class_transfer_risk(task.z_t_test[..., MAIN], copies),
        norms=class_weight_norms(students, perfect[..., 0, :])[AT - 1],
        teacher=np.mean(task.z_t_test.argmax(axis=1) != task.y_test[:, None], axis=0),
        error=wrong.mean(axis=1),
    )


def targets(z_t: Float[np.ndarray, "N K epochs"], y, ratios, T) -> Float[np.ndarray, "N K epochs ratios"]:
    """What students of these teachers have to learn at each soft ratio."""
    z = class_targets(np.moveaxis(z_t, 1, -1)[:, :, None], y[:, None, None], rho=ratios, T=T)
    return np.moveaxis(np.asarray(z), -1, 1)


STUDENTS = Experiment(
    "many_classes.students", repetition, Run,
    {"K3": Setting(classes=3), "K10": Setting(classes=10), "digits": Setting("digits")},
    {"K3": 20, "K10": 20, "digits": 20}, salt=lambda setting: setting.classes + 100 * (setting.data == "digits"),
)

# --- Trained networks: which mistakes do they correct? --------------------------------------------------------------

CELLS = (0.7, 1.0), (0.9, 2.0), (0.97, 5.0)  #: (rho, T) of students
KAPPAS = np.array([T * (1 - rho) / rho for rho, T in CELLS])  #: thresholds of the pairwise rule
EDGES = np.array([0, 0.25, 0.5, 0.75, 1, 4 / 3, 2, 4, np.inf])  #: of bins of (q_j - q_y) / kappa
OWN = 500  #: training samples of a student
OTHER = 100  #: training samples of its teacher
NETWORK = practical.MODELS["mlp"]  #: teachers and students


@dataclass(frozen=True)
class NetworkSetting(experiments.Setting):
    """How students are trained."""

    dataset: str = parameter("digits", partial(choice, options=("digits", "fashion_mnist")))  #: of images
    steps: int = parameter(2000, whole)  #: of Adam
    decay: float = parameter(0.0, lambda name, value: real(name, value, "lie in [0, inf)", lambda v: 0 <= v < np.inf,
                                                           "0 is none"))  #: of the weights, as in AdamW
    shifts: int = parameter(0, partial(whole, least=0))  #: images are shifted by up to so many pixels each way


@dataclass(frozen=True)
class NetworkRun:
    """One draw of samples, teacher, initial weights and batches. The mistakes are the teacher's at these samples."""

    # Training in single precision is chaotic: on another machine some answers may differ.
    teacher: float = quantity("the teacher's test error", within=0.03)
    error: np.ndarray = quantity("students' test error", "rho and T", within=0.03)
    mistakes: np.ndarray = quantity("how many mistakes the teacher makes", "rho and T, bins", within=6)
    corrected: np.ndarray = quantity("how many of them the student corrects", "rho and T, bins", within=6)
    lost: np.ndarray = quantity("share of samples where the teacher is right and the student is not", "rho and T",
                                within=0.02)  # fmt: skip


def corrections(key: Array, setting: NetworkSetting) -> NetworkRun:
    """Students of all (rho, T), which share samples, teacher, initial weights and batches."""
    data = practical.images(practical.setting(setting.dataset, points=2000))
    of_samples, of_teacher, of_student = jax.random.split(key, 3)
    some = np.asarray(jax.random.permutation(of_samples, len(data.x)))
    own, other = some[:OWN], some[OWN : OWN + OTHER]
    x, y = data.x[own], data.y[own]
    hard = jnp.zeros((OTHER, NETWORK.classes), jnp.float32)
    teacher = fit(of_teacher, data.x[other], hard, data.y[other], [(0.0, 1.0)], NetworkSetting(steps=1000))
    logits = lambda params, x: np.asarray(jax.jit(jax.vmap(NETWORK.apply, (0, None)))(params, x))

    seen = shifted(x, setting.shifts)  # the teacher answers each shifted image anew
    z_seen = logits(teacher, seen)[0]
    students = fit(of_student, seen, z_seen, np.tile(y, len(seen) // OWN), CELLS, setting)
    z_t, z_s = logits(teacher, x)[0], logits(students, x)
    wrong = z_t.argmax(axis=-1) != y
    right = z_s.argmax(axis=-1) == y
    bins = np.stack([np.digitize(sureness(z_t, y, T=T) / kappa, EDGES) - 1
                     for (_, T), kappa in zip(CELLS, KAPPAS, strict=True)])  # fmt: skip
    count = lambda cases: np.array([np.bincount(b[c], minlength=len(EDGES) - 1)
                                    for b, c in zip(bins, cases, strict=True)])  # fmt: skip
    return NetworkRun(
        teacher=np.mean(logits(teacher, data.x_test)[0].argmax(axis=-1) != data.y_test),
        error=np.mean(logits(students, data.x_test).argmax(axis=-1) != data.y_test, axis=-1),
        mistakes=count(np.broadcast_to(wrong, right.shape)),
        corrected=count(wrong & right),
        lost=np.mean(~wrong & ~right, axis=-1),
    )


def sureness(z_t: Float[np.ndarray, "n K"], y: Int[np.ndarray, " n"], *, T: float) -> Float[np.ndarray, " n"]:
    r"""How much surer the teacher is of its own answer than of the label, :math:`\max_j q_j - q_y`.

    The pairwise rule corrects a mistake where this is less than :math:`\kappa`.
    """
    q = np.asarray(softmax(z_t.astype(float) / T, axis=-1))
    return q.max(axis=-1) - q[np.arange(len(q)), y]


def shifted(x: Float[Array, "n height width channels"], most: int) -> Float[Array, "m height width channels"]:
    """Images, then the same shifted by up to ``most`` pixels each way; what comes in is as dark as the darkest."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), constant_values=x.min())
    by = sorted(np.ndindex(2 * most + 1, 2 * most + 1), key=lambda at: at != (most, most))
    return jnp.concatenate([padded[:, i : i + height, j : j + width] for i, j in by])


def fit(key, x, z_t, y, cells, setting):
    """Weights of networks trained for each (rho, T)."""
    params = jax.vmap(lambda key: NETWORK.init(key, x.shape[1:]))(key[None])
    rate = optax.cosine_decay_schedule(3e-3, setting.steps)
    rho, T = np.transpose(cells)
    done = train(NETWORK.apply, params, batches_by_seed(x[None], z_t[None], y[None], size=64), rho=rho, T=T,
                 steps=setting.steps, key=key[None], optimizer=optax.adamw(rate, weight_decay=setting.decay),
                 loss=class_distillation_loss)  # fmt: skip
    return jax.tree.map(lambda leaf: leaf[:, 0], done.params)


IMAGES = "digits", "fashion_mnist"  #: data sets
CHANGES = {"base": {}, "early": dict(steps=200), "decay": dict(decay=1.0), "shifts": dict(shifts=1)}  #: of training
MORE = {"600_steps": dict(steps=600), "decay_0.1": dict(decay=0.1)}  #: for digits alone

_cases = lambda name, changes: {f"{name}_{change}": NetworkSetting(name, **changed)
                                for change, changed in changes.items()}
NETWORKS = Experiment(
    "many_classes.networks", corrections, NetworkRun,
    _cases("digits", CHANGES | MORE) | _cases("fashion_mnist", CHANGES), 6, salt=lambda setting: 300,
)
