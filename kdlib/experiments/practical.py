r"""Appendix S2: distillation of practical networks on real data, with Fig. 5 middle.

Four experiments. In all of them a repetition has samples, a teacher, initial weights and batches of its own, and its
cells (rho, T) share them, so that differences between cells are paired.

- :data:`GRID`: the students' test error over rho and T, for teachers of three qualities;
- :data:`LONGER`: the same for one teacher, trained longer;
- :data:`TRANSFER`: their disagreement with a teacher whose classes are the truth, over the number of samples;
- :data:`CLOSED_FORM`: on two classes, networks beside the closed-form student of their limit kernel.

The settings of the paper are in an appendix that is not available: these are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from kdlib._checks import choice, real, require_increasing, require_ratios, require_temperature, whole
from kdlib.classes import class_distillation_loss
from kdlib.classifiers import MLP, ResNet
from kdlib.datasets import load
from kdlib.distillation import distillation_loss, targets
from kdlib.experiments._store import Experiment, Setting, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.teachers import train_kernel_teacher
from kdlib.training import batches_by_seed, train

RATIOS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)  #: soft ratios of students
TEACHERS = ("under-trained", "comparable", "better")  #: that students have
MODELS = {
    "mlp": MLP(width=64, depth=2),
    "resnet": ResNet((6, 12), blocks=1),
    "resnet20": ResNet((16, 32, 64), blocks=3),
}  #: of students and teachers
# Training in single precision is chaotic: on another machine some answers in a hundred may differ.
ANOTHER_MACHINE = 0.03  #: how far shares of errors may be off there


def ratios(name, values):
    """From 0 to 1: both ends are compared with."""
    values = _numbers(name, values)
    require_ratios(**{name: values})
    if list(values) != sorted({0.0, *values, 1.0}):
        raise ValueError(f"{name} must increase from 0 to 1, got {list(values)}: both ends are compared with")
    return values


def temperatures(name, values):
    values = _numbers(name, values)
    require_temperature(values)
    return values


def sizes(name, values):
    return tuple(require_increasing(name, values, "give numbers of samples").tolist())


def _numbers(name, values):
    if np.ndim(values) != 1 or not len(values):
        raise ValueError(f"{name} must be a list of one or more numbers, got {values!r}: one value is (5.0,)")
    return tuple(real(name, value) for value in values)


def positive(name, value):
    return real(name, value, "be positive and finite", lambda v: 0 < v < np.inf, "leave it out for the default")


@dataclass(frozen=True)
class PracticalSetting(Setting):
    """What to train on what; the book's choice for a data set and a model comes from :func:`setting`.

    Raises:
        ValueError: a value outside its domain, or a better teacher of fewer samples than the students.
    """

    dataset: str = parameter("digits", lambda name, value: value)  #: a name that :func:`kdlib.datasets.load` knows
    model: str = parameter("mlp", lambda name, value: choice(name, value, list(MODELS)))  #: of student and teacher
    n: int = parameter(200, whole)  #: training samples of a student, and of the teachers but for the better one
    n_teacher: int = parameter(1000, whole)  #: training samples of the better teacher
    rho: tuple = parameter(RATIOS, ratios)  #: soft ratios of students
    T: tuple = parameter((1.0, 2.0, 5.0, 10.0), temperatures)  #: at rho = 0 one student serves all
    steps: int = parameter(1000, whole)  #: of Adam
    size: int = parameter(64, whole)  #: of a batch
    learning_rate: float = parameter(3e-3, positive)  #: falls to zero along a cosine
    early: int = parameter(40, whole)  #: steps after which the under-trained teacher stops
    sizes: tuple = parameter((25, 50, 100, 200, 400, 800), sizes)  #: numbers of samples, for the transfer risk
    points: int = parameter(4000, whole)  #: test samples, the first ones

    def __post_init__(self):
        super().__post_init__()
        if self.n_teacher < self.n:
            raise ValueError(f"n_teacher must be at least n, {self.n}, got {self.n_teacher}: it is the better teacher")
        if self.early >= self.steps:
            raise ValueError(f"early must be below steps, {self.steps}, got {self.early}: else nothing is cut short")


_DEFAULTS = {
    "digits": dict(n=200, n_teacher=1000),
    "fashion_mnist": dict(n=1000, n_teacher=10_000, T=(1.0, 5.0, 10.0), steps=1500, sizes=(100, 200, 400, 800, 1600)),
    "cifar10": dict(n=10_000, n_teacher=30_000, sizes=(1000, 2000, 5000, 10_000)),
    "mlp": {},
    "resnet": dict(steps=1000, size=32, learning_rate=1e-2, rho=(0.0, 0.5, 0.9, 0.98, 1.0), T=(5.0,), early=100),
    "resnet20": dict(steps=20_000, size=128, T=(5.0,), early=500),
}


def setting(dataset: str = "digits", model: str = "mlp", **changes) -> PracticalSetting:
    """The setting of the book for a data set and a model, with ``changes`` to some of its fields.

    Raises:
        ValueError: as :class:`PracticalSetting`.
        TypeError: a field that it does not have.

    >>> setting("digits", "mlp", n=100.0).n
    100
    """
    return PracticalSetting(dataset, model, **_DEFAULTS.get(dataset, {}) | _DEFAULTS.get(model, {}) | changes)


@dataclass(frozen=True)
class Images:
    """Images in single precision, normalised to mean 0 and variance 1 over the training samples."""

    x: Float[Array, "N height width channels"]  #: training images
    y: np.ndarray  #: their classes, from 0 up
    x_test: Float[Array, "m height width channels"]  #: test images
    y_test: np.ndarray  #: their classes


def images(setting: PracticalSetting, *, binary: bool = False, folder: str | Path | None = None) -> Images:
    """The data of a setting. For fully connected networks, larger images are averaged over 2 x 2 pixels.

    Args:
        binary: two classes: for digits even or odd, else classes 2 and 4 by number (in Fashion-MNIST, pullover and
            coat).
        folder: as for :func:`kdlib.datasets.load`, whose errors apply.

    >>> data = images(setting("digits", "mlp", points=50))
    >>> print(data.x.shape, data.x_test.shape)
    (1297, 8, 8, 1) (50, 8, 8, 1)
    """
    groups = None
    if binary:
        groups = ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9]) if setting.dataset == "digits" else (2, 4)
    data = load(setting.dataset, binary=groups, folder=folder)
    coarse = setting.model == "mlp" and data.x_train.shape[1] > 8

    def prepared(x):
        if coarse:
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean(axis=(2, 4))
        return x.astype(np.float32)

    x, x_test = prepared(data.x_train), prepared(data.x_test[: setting.points])
    mean, deviation = x.mean(dtype=float), x.std(dtype=float)
    x, x_test = (jnp.asarray((values - mean) / deviation, jnp.float32) for values in (x, x_test))
    return Images(x, data.y_train, x_test, data.y_test[: setting.points])


def _fit(
    keys: Array, setting: PracticalSetting, x: Float[Array, "seeds n ..."], z_t: Float[Array, "seeds n K"] | None,
    y_g: ArrayLike, *, rho: ArrayLike = 0.0, T: ArrayLike = 1.0, steps: int | Sequence[int] | None = None,
):
    """Networks of the setting's model, trained for each key and each cell (rho, T), as `Trained`.

    Without a teacher, ``z_t=None``, labels are all that counts.
    """
    network, steps = MODELS[setting.model], np.atleast_1d(setting.steps if steps is None else steps)
    if z_t is None:
        z_t = jnp.zeros((*x.shape[:2], network.classes), jnp.float32)
    params = jax.vmap(lambda key: network.init(key, x.shape[2:]))(keys)
    schedule = optax.cosine_decay_schedule(setting.learning_rate, int(steps[-1]))
    return train(
        network.apply, params, batches_by_seed(x, z_t, y_g, size=setting.size), rho=rho, T=T, steps=steps, key=keys,
        optimizer=optax.adam(schedule), loss=class_distillation_loss, in_turn=isinstance(network, ResNet),
    )


def _logits(setting: PracticalSetting, params, x: Array) -> Float[np.ndarray, "seeds n K"]:
    """Each seed's network at images that belong to it, of shape (seeds, n, ...), or at images for all, (n, ...)."""
    own, few = x.ndim == 5, 500  # images at a time: bounds the memory
    parts = (x[:, i : i + few] if own else x[i : i + few] for i in range(0, x.shape[own], few))
    return np.concatenate([_of_seeds(MODELS[setting.model], params, part) for part in parts], axis=1)


@partial(jax.jit, static_argnums=0)
def _of_seeds(network, params, x):
    return jax.vmap(network.apply, (0, 0 if x.ndim == 5 else None))(params, x)


def _classes(setting: PracticalSetting, params, x: Array) -> np.ndarray:
    """Classes chosen at images for all, with axes (cells, seeds, n)."""
    return np.stack([_logits(setting, part, x).argmax(-1) for part in _each(params)])


def _each(params):
    """The trees of which a tree of arrays with a first axis is the stack."""
    leaves, structure = jax.tree.flatten(params)
    return [jax.tree.unflatten(structure, part) for part in zip(*leaves, strict=True)]


def _cells(rho: Sequence[float], T: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Students to train for a grid: one for each pair of rho and T, but a single one at rho = 0, where T plays no part.

    Returns:
        Their rho and T, of shape (2, students), and for each place of the grid the number of its student.

    >>> students, place = _cells([0.0, 0.5, 1.0], [1.0, 5.0])
    >>> print(students, place, sep="\\n")
    [[0.  0.5 0.5 1.  1. ]
     [1.  1.  5.  1.  5. ]]
    [[0 0]
     [1 2]
     [3 4]]
    """
    places = np.array([[r, t if r else T[0]] for r in rho for t in T])
    students, place = np.unique(places, axis=0, return_inverse=True)
    return students.T, place.reshape(len(rho), len(T))


def disjoint_samples(key: Array, setting: PracticalSetting, data: Images, *counts: int) -> list[np.ndarray]:
    """Disjoint training samples: for each count an array of indices."""
    if sum(counts) > len(data.x):
        raise ValueError(f"{setting.dataset} must have {sum(counts)} training samples for student and teacher, got "
                         f"{len(data.x)}: lower n, n_teacher or sizes")
    order = np.asarray(jax.random.permutation(key, len(data.x)))
    return np.split(order[: sum(counts)], np.cumsum(counts)[:-1])


@dataclass(frozen=True)
class GridRun:
    """One draw of samples, initial weights and batches."""

    teacher: np.ndarray = quantity("teachers' test error", "teacher", within=ANOTHER_MACHINE)
    at_samples: np.ndarray = quantity("their error at the students' samples", "teacher", within=ANOTHER_MACHINE)
    students: np.ndarray = quantity("students' test error", "teacher, rho, T", within=ANOTHER_MACHINE)


def grid(keys: Array, setting: PracticalSetting, *, which: Sequence[str] = TEACHERS, times: int = 1) -> GridRun:
    """Test errors of students over (rho, T), for each of the teachers; students train for ``times`` the steps.

    There is a key for the samples, one for the teachers and one for the students.
    """
    data = images(setting)
    of_samples, of_teachers, of_students = keys
    own, other = disjoint_samples(of_samples, setting, data, setting.n, setting.n_teacher)
    z_t, errors = map(np.array, zip(*_teachers(of_teachers, setting, data, own, other, which), strict=True))
    (rho, T), place = _cells(setting.rho, setting.T)
    # The students of all teachers in one program, as seeds that share all but the teacher.
    same = lambda values: jnp.stack([values] * len(which))
    params = _fit(same(of_students), setting, same(data.x[own]), z_t, same(data.y[own]), rho=rho, T=T,
                  steps=times * setting.steps).params
    wrong = (_classes(setting, params, data.x_test) != data.y_test).mean(-1)[place]
    return GridRun(errors, (z_t.argmax(-1) != data.y[own]).mean(-1), np.moveaxis(wrong, -1, 0))


def _teachers(key: Array, setting: PracticalSetting, data: Images, own, other, which: Sequence[str]):
    """For each teacher its logits at the students' samples ``own``, and its test error.

    They never see a student's samples, so that they err there as they do elsewhere: they are trained on ``other``, the
    better one on all of it and for twice as long, the comparable one on its first n. The under-trained one is the
    comparable one at an earlier step.
    """
    def fitted(some, *steps):
        records = _fit(key[None], setting, data.x[some][None], None, data.y[some][None], steps=steps).records
        for params in _each(records):
            error = (_logits(setting, params, data.x_test)[0].argmax(-1) != data.y_test).mean()
            yield _logits(setting, params, data.x[own])[0], error

    made = dict(zip(TEACHERS, fitted(other[: setting.n], setting.early, setting.steps), strict=False))
    if "better" in which:
        [made["better"]] = fitted(other, 2 * setting.steps)
    return [made[name] for name in which]


def longer(key: Array, setting: PracticalSetting) -> GridRun:
    """The comparable teacher's students, trained four times as long: had they converged?"""
    return grid(jax.random.split(key, 3), setting, which=["comparable"], times=4)


@dataclass(frozen=True)
class Streams(Experiment):
    """An experiment whose repetitions take their three keys from three streams."""

    def key(self, setting, seed, i):
        """The i-th key of each stream."""
        streams = jax.random.split(jax.random.key(seed), 3)
        return jnp.stack([jax.random.split(stream, i + 1)[i] for stream in streams])


@dataclass(frozen=True)
class TransferRun:
    """One teacher, and students of it on more and more samples."""

    risk: np.ndarray = quantity("share of test samples at which student and teacher choose different classes",
                                "rho, size", within=ANOTHER_MACHINE)


COPIES = (1.0, 0.9, 0.0)  #: soft ratios of the students whose transfer risk is measured


def transfer(keys: Array, setting: PracticalSetting) -> TransferRun:
    """Transfer risk over the number of samples, with the teacher's own classes as labels.

    The teacher is trained on ``2 n`` samples that no student sees. Larger sets are trained for longer: at least 50
    passes. The temperature is the setting's last. Keys as for :func:`grid`.
    """
    data = images(setting)
    of_samples, of_teacher, of_students = keys
    own, other = disjoint_samples(of_samples, setting, data, setting.sizes[-1], 2 * setting.n)
    teacher = _fit(of_teacher[None], setting, data.x[other][None], None, data.y[other][None],
                   steps=2 * setting.steps).params
    z_t = _logits(setting, teacher, data.x[own])
    answers = _logits(setting, teacher, data.x_test)[0].argmax(-1)
    risk = []
    for n in setting.sizes:
        params = _fit(of_students[None], setting, data.x[own[:n]][None], z_t[:, :n], z_t[:, :n].argmax(-1),
                      rho=list(COPIES), T=[setting.T[-1]] * len(COPIES),
                      steps=max(setting.steps, 50 * n // setting.size)).params
        risk.append((_classes(setting, params, data.x_test)[:, 0] != answers).mean(-1))
    return TransferRun(np.stack(risk, axis=-1))


@dataclass(frozen=True)
class ClosedFormRun:
    """One draw of samples: the closed-form student and a network, of each teacher."""

    teacher: np.ndarray = quantity("teachers' test error", "teacher", within=0.01)
    kernel: np.ndarray = quantity("test error of the closed-form student", "teacher, rho, T", within=0.01)
    networks: np.ndarray = quantity("test error of the trained network", "teacher, rho, T", within=ANOTHER_MACHINE)


KERNEL_EPOCHS = (8, 1024)  #: of the under-trained kernel teacher, and of the others
WIDTH = 64  #: of the networks beside the closed form
DESCENT = 2000, 0.5  #: their steps and learning rate


def closed_form(key: Array, setting: PracticalSetting) -> ClosedFormRun:
    r"""Two classes: networks over (rho, T) beside the closed-form student of their limit kernel, on the same samples.

    The kernel is the NTK of three hidden layers on flattened pixels, its student's targets are the effective logits,
    and at rho = 0 the labels' signs. The networks descend with momentum 0.9 and

    .. math:: \ell \big/ \bigl(\tfrac{\rho}{T^2} + 1 - \rho\bigr),

    a rescaled time that gives every cell the same largest curvature, 1/4, and moves no minimum. Teachers are kernel
    teachers. Of the setting, model, steps, rate and early play no part.
    """
    data = images(setting, binary=True)
    of_samples, of_students = jax.random.split(key)
    own, other = disjoint_samples(of_samples, setting, data, setting.n, setting.n_teacher)
    # Pixels have mean square 1, as the paper's inputs from N(0, I) have.
    x, x_test, y = (np.asarray(data.x.reshape(len(data.x), -1)), np.asarray(data.x_test.reshape(len(data.x_test), -1)),
                    data.y)  # fmt: skip
    network = fully_connected(3, width=WIDTH)
    (rho, T), place = _cells(setting.rho, setting.T)
    students = NestedStudents(x[own], network.ntk)
    z_t, kernel_errors, teacher_errors = [], [], []
    for name in TEACHERS:
        some = other if name == "better" else other[: setting.n]
        stop = KERNEL_EPOCHS[name != "under-trained"]
        teacher = train_kernel_teacher(x[some], y[some], network.ntk, epochs=[stop])
        z_t.append(np.asarray(teacher.logits(x[own]))[0])
        z = targets(z_t[-1][:, None], y[own][:, None], rho=rho[None], T=T[None])
        z_s = students.predict(x_test, z, [setting.n])[0]
        kernel_errors.append(((z_s > 0) != data.y_test[:, None]).mean(0))
        teacher_errors.append(((np.asarray(teacher.logits(x_test))[0] > 0) != data.y_test).mean())
    z_s = _networks(of_students, network, x[own], np.array(z_t, np.float32), y[own], x_test, rho, T, setting.size)
    wrong = ((z_s > 0) != data.y_test).mean(-1)  # by cell and teacher
    return ClosedFormRun(np.array(teacher_errors), np.array(kernel_errors)[:, place], np.moveaxis(wrong[place], -1, 0))


def _networks(key, network, x, z_t, y_g, x_test, rho, T, size):
    """Logits at x_test of networks trained for each cell and each of the teachers, with axes (cells, teachers, m)."""
    single = lambda leaf: jnp.stack([leaf.astype(jnp.float32)] * len(z_t))
    params = jax.tree.map(single, network.init(key, x.shape[1]))
    rescaled = lambda *z, rho, T: distillation_loss(*z, rho=rho, T=T) / (rho / T**2 + 1 - rho)
    steps, rate = DESCENT
    same = lambda values: np.stack([values] * len(z_t))
    done = train(network.apply, params, batches_by_seed(same(x), z_t, same(y_g), size=size), rho=rho, T=T, steps=steps,
                 key=jnp.stack([key] * len(z_t)), loss=rescaled,
                 optimizer=optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9, nesterov=True))
    return np.asarray(jax.jit(jax.vmap(jax.vmap(network.apply, (0, None)), (0, None)))(done.params, x_test))


PAIRS = (("digits", "mlp"), ("digits", "resnet"), ("fashion_mnist", "mlp"))  #: of a data set and a model
_cases = lambda *pairs, **changes: {"_".join(pair): setting(*pair, **changes) for pair in pairs}
GRID = Streams("practical.grid", grid, GridRun, _cases(*PAIRS), 10)
LONGER = Experiment("practical.longer", longer, GridRun, _cases(PAIRS[0], T=(5.0,)), 10)
# Said before the first run on CIFAR-10, and before the other two had more than ten repetitions. Images have many
# dimensions, where the rates of a sharp boundary and of a smooth function come close (Chapter 3). So on CIFAR-10 the
# risk should be lowest at rho = 1 at each of the sizes, and its exponent less than 0.05 below the steepest other.
TRANSFER = Streams("practical.transfer", transfer, TransferRun,
                   _cases(PAIRS[0], PAIRS[2], T=(5.0,))
                   | _cases(("cifar10", "mlp"), T=(5.0,), sizes=(625, 1250, 2500, 5000, 10_000)),
                   {"digits_mlp": 40, "fashion_mnist_mlp": 40, "cifar10_mlp": 10}, apart=("cifar10_mlp",))
# A kernel of 10,000 samples would take too long.
CLOSED_FORM = Experiment("practical.closed_form", closed_form, ClosedFormRun,
                         _cases(PAIRS[0], n=200, n_teacher=1000, T=(1.0, 5.0)), 10)
