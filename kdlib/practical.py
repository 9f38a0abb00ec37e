r"""Distillation of practical networks on real data: Fig. 5 middle and Appendix S2.

Experiments, each a function of a key and a :class:`Setting`. In all of them every *seed* has samples, a
teacher, initial weights and batches of its own, and the cells (rho, T) of a seed share them, so that differences
between cells are paired.

- :func:`grid`: the students' test error over rho and T, for teachers of three qualities;
- :func:`longer`: the same, trained longer;
- :func:`transfer`: their disagreement with a teacher whose classes are the truth, over the number of samples;
- :func:`closed_form`: on two classes, networks beside the closed-form student of their limit kernel.

The long runs of the book are made by ``python -m kdlib.practical grid digits mlp`` and the like; :func:`stored` reads
them. The settings of the paper are in an appendix that is not available: these are our choice.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from inspect import signature
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from kdlib._checks import require, require_increasing, require_ratios, require_temperature, require_whole
from kdlib.classes import class_distillation_loss
from kdlib.classifiers import MLP, ResNet
from kdlib.datasets import load
from kdlib.distillation import distillation_loss, effective_logit
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.teachers import train_kernel_teacher
from kdlib.training import batches_by_seed, train

RATIOS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
TEACHERS = ("under-trained", "comparable", "better")
MODELS = {
    "mlp": MLP(width=64, depth=2),
    "resnet": ResNet((6, 12), blocks=1),
    "resnet20": ResNet((16, 32, 64), blocks=3),
}


@dataclass(frozen=True)
class Setting:
    """What an experiment needs besides a key; the defaults for a data set and a model come from :func:`setting`.

    Args:
        dataset: a name that :func:`kdlib.datasets.load` knows.
        model: of student and teacher: ``"mlp"``, ``"resnet"`` (a small one) or ``"resnet20"``.
        n: training samples of a student, and of the teachers but for the better one.
        n_teacher: training samples of the better teacher.
        rho, T: the grid. At rho = 0 there is no temperature, and one student serves all.
        steps, size, learning_rate: of Adam; batches of the given size, and a rate that falls to zero along a cosine.
        early: steps after which the under-trained teacher stops.
        sizes: numbers of samples over which :func:`transfer` runs.
        seeds: repetitions.
        points: test samples, the first ones.

    Raises:
        ValueError: a value outside its domain, or a better teacher of fewer samples than the students.
    """

    dataset: str
    model: str
    n: int = 200
    n_teacher: int = 1000
    rho: tuple[float, ...] = RATIOS
    T: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    steps: int = 1000
    size: int = 64
    learning_rate: float = 3e-3
    early: int = 40
    sizes: tuple[int, ...] = (25, 50, 100, 200, 400, 800)
    seeds: int = 10
    points: int = 4000

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f"model must be {', '.join(MODELS)}, got {self.model!r}: add yours to practical.MODELS")
        for name in ("rho", "T"):
            if np.ndim(getattr(self, name)) != 1:
                raise ValueError(f"{name} must be a list, got {getattr(self, name)!r}: one value of T is (5.0,)")
        require_ratios(rho=self.rho)
        if list(self.rho) != sorted({0.0, *self.rho, 1.0}):
            raise ValueError(f"rho must increase from 0 to 1, got {list(self.rho)}: both ends are compared with")
        require_temperature(self.T)
        if not len(self.T):
            raise ValueError("T must be a list of temperatures, got none: give one or more")
        for name in ("n", "n_teacher", "steps", "size", "early", "points"):
            whole = int(require_whole(name, getattr(self, name), "it counts samples or steps"))
            object.__setattr__(self, name, whole)  # 100.0 is 100
        require("learning_rate", self.learning_rate, "be positive and finite", lambda r: (r > 0) & (r < np.inf),
                "leave it out for the default")
        if self.n_teacher < self.n:
            raise ValueError(f"n_teacher must be at least n, {self.n}, got {self.n_teacher}: it is the better teacher")
        if self.early >= self.steps:
            raise ValueError(f"early must be below steps, {self.steps}, got {self.early}: else nothing is cut short")
        require_increasing("sizes", self.sizes, "give numbers of samples")
        if not isinstance(self.seeds, int | np.integer) or self.seeds < 3:
            raise ValueError(f"seeds must be a whole number from 3 up, got {self.seeds}: differences need an error, "
                             "and the best rho is chosen on other seeds")


_DEFAULTS = {
    "digits": dict(n=200, n_teacher=1000),
    "fashion_mnist": dict(n=1000, n_teacher=10_000, T=(1.0, 5.0, 10.0), steps=1500, sizes=(100, 200, 400, 800, 1600)),
    "cifar10": dict(n=10_000, n_teacher=30_000, sizes=(1000, 2000, 5000, 10_000)),
    "mlp": {},
    "resnet": dict(steps=1000, size=32, learning_rate=1e-2, rho=(0.0, 0.5, 0.9, 0.98, 1.0), T=(5.0,), early=100),
    "resnet20": dict(steps=20_000, size=128, T=(5.0,), early=500),
}


def setting(dataset: str = "digits", model: str = "mlp", **changes) -> Setting:
    """The setting of the book for a data set and a model, with ``changes`` to some of its fields.

    Raises:
        ValueError: as :class:`Setting`.
        TypeError: a field that it does not have.

    >>> setting("digits", "mlp", n=100).steps
    1000
    """
    return Setting(dataset, model, **_DEFAULTS.get(dataset, {}) | _DEFAULTS.get(model, {}) | changes)


@dataclass(frozen=True)
class Images:
    """Images in single precision, normalised to mean 0 and variance 1 over the training samples."""

    x: Float[Array, "N height width channels"]  #: training images
    y: np.ndarray  #: their classes, from 0 up
    x_test: Float[Array, "m height width channels"]  #: test images
    y_test: np.ndarray  #: their classes


def images(setting: Setting, *, binary: bool = False, folder: str | Path | None = None) -> Images:
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
    keys: Array, setting: Setting, x: Float[Array, "seeds n ..."], z_t: Float[Array, "seeds n K"] | None,
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
        optimizer=optax.adam(schedule), loss=class_distillation_loss,
    )


def _logits(setting: Setting, params, x: Array) -> Float[np.ndarray, "seeds n K"]:
    """Each seed's network at images that belong to it, of shape (seeds, n, ...), or at images for all, (n, ...)."""
    own = x.ndim == 5
    apply = jax.jit(lambda part: jax.vmap(MODELS[setting.model].apply, (0, 0 if own else None))(params, part))
    few = 500  # images at a time: bounds the memory
    parts = [apply(x[:, i : i + few] if own else x[i : i + few]) for i in range(0, x.shape[own], few)]
    return np.concatenate(parts, axis=1)


def _classes(setting: Setting, params, x: Array) -> np.ndarray:
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


def _samples(key: Array, setting: Setting, data: Images, *counts: int) -> list[np.ndarray]:
    """Disjoint training samples: for each count an array of indices, with a row for each seed."""
    if sum(counts) > len(data.x):
        raise ValueError(f"{setting.dataset} must have {sum(counts)} training samples for student and teacher, got "
                         f"{len(data.x)}: lower n, n_teacher or sizes")
    orders = jax.vmap(lambda key: jax.random.permutation(key, len(data.x)))(jax.random.split(key, setting.seeds))
    return np.split(np.asarray(orders)[:, : sum(counts)], np.cumsum(counts)[:-1], axis=1)


def _require_teachers(which):
    if not len(which) or not set(which) <= set(TEACHERS):
        raise ValueError(f"which must name some of {', '.join(TEACHERS)}, got {which!r}: leave it out for all")


def _teachers(
    key: Array, setting: Setting, data: Images, own: np.ndarray, other: np.ndarray, which: Sequence[str] = TEACHERS
) -> dict:
    """For each teacher its logits at the students' samples ``own``, and its test errors.

    They never see a student's samples, so that they err there as they do elsewhere: they are trained on ``other``, the
    better one on all of it and for twice as long, the comparable one on its first n. The under-trained one is the
    comparable one at an earlier step.
    """
    def at(params):
        errors = (_logits(setting, params, data.x_test).argmax(-1) != data.y_test).mean(-1)
        return _logits(setting, params, data.x[own]), errors

    def fitted(some, steps):
        keys = jax.random.split(key, setting.seeds)
        return list(map(at, _each(_fit(keys, setting, data.x[some], None, data.y[some], steps=steps).records)))

    made = dict(zip(TEACHERS, fitted(other[:, : setting.n], [setting.early, setting.steps]), strict=False))
    if "better" in which:
        made["better"], = fitted(other, [2 * setting.steps])
    return {name: made[name] for name in which}


def grid(
    key: Array, setting: Setting, data: Images | None = None, *,
    which: Sequence[str] = TEACHERS, steps: int | None = None,
) -> dict:
    """Test errors of students over (rho, T), for teachers of three qualities: Fig. 5 middle.

    Args:
        key: for samples, initial weights and batches.
        setting: what to train on what.
        data: by default loaded as the setting says.
        which: the teachers to learn from.
        steps: of the students; by default the setting's.

    Returns:
        For each teacher a dictionary with ``"teacher"``, its test error for each seed, ``"at samples"``, its error at
        the students' samples, and ``"students"``, their test errors with axes (rho, T, seeds).

    Raises:
        ValueError: an unknown teacher, or fewer samples than the setting asks for; also the errors of
            :func:`kdlib.datasets.load`.

    >>> run = stored("grid", "digits", "mlp")["results"]["comparable"]  # as made by ten minutes of grid
    >>> print(run["teacher"].shape, run["students"].shape)
    (10,) (8, 4, 10)
    """
    _require_teachers(which)
    data = data or images(setting)
    of_samples, of_teachers, of_students = jax.random.split(key, 3)
    own, other = _samples(of_samples, setting, data, setting.n, setting.n_teacher)
    x, y = data.x[own], data.y[own]
    (rho, T), place = _cells(setting.rho, setting.T)
    made = _teachers(of_teachers, setting, data, own, other, which)
    z_t, errors = map(np.array, zip(*made.values(), strict=True))
    # The students of all teachers in one program: seeds that share all but the teacher.
    every = lambda values: jnp.concatenate([values] * len(which))
    keys = every(jax.random.split(of_students, setting.seeds))
    params = _fit(keys, setting, every(x), np.concatenate(z_t), every(y), rho=rho, T=T, steps=steps).params
    wrong = (_classes(setting, params, data.x_test) != data.y_test).mean(-1)[place]
    wrong = np.split(wrong, len(which), axis=-1)
    return {
        name: {"teacher": errors[i], "at samples": (z_t[i].argmax(-1) != y).mean(-1), "students": wrong[i]}
        for i, name in enumerate(which)
    }


def transfer(key: Array, setting: Setting, data: Images | None = None, *, rho: Sequence[float] = (1.0, 0.9, 0.0),
             T: float = 5.0) -> dict:
    """Transfer risk over the number of samples, with the teacher's own classes as labels: Appendix S2.

    The teacher is trained on ``2 n`` samples that no student sees. Larger sets are trained for longer: at least 50
    passes.

    Args:
        key, setting, data: as for :func:`grid`, whose errors apply.
        rho, T: of the students.

    Returns:
        ``"rho"``, ``"sizes"`` and ``"risk"``, the share of test samples at which student and teacher choose different
        classes, with axes (rho, seeds, sizes).

    >>> print(stored("transfer", "digits", "mlp")["results"]["risk"].shape)
    (3, 10, 6)
    """
    data = data or images(setting)
    of_samples, of_teacher, of_students = jax.random.split(key, 3)
    own, other = _samples(of_samples, setting, data, setting.sizes[-1], 2 * setting.n)
    split = lambda key: jax.random.split(key, setting.seeds)
    teacher = _fit(split(of_teacher), setting, data.x[other], None, data.y[other], steps=2 * setting.steps).params
    z_t = _logits(setting, teacher, data.x[own])
    answers = _logits(setting, teacher, data.x_test).argmax(-1)
    risk = []
    for n in setting.sizes:
        steps = max(setting.steps, 50 * n // setting.size)
        params = _fit(split(of_students), setting, data.x[own[:, :n]], z_t[:, :n], z_t[:, :n].argmax(-1),
                     rho=list(rho), T=[T] * len(rho), steps=steps).params
        risk.append((_classes(setting, params, data.x_test) != answers).mean(-1))
    return {"rho": list(rho), "sizes": list(setting.sizes), "risk": np.stack(risk, axis=-1)}


def closed_form(
    key: Array, setting: Setting, data: Images | None = None, *,
    which: Sequence[str] = TEACHERS, width: int = 64, steps: int = 2000, learning_rate: float = 0.5,
    epochs: tuple[int, int] = (8, 1024),
) -> dict:
    r"""Two classes: networks over (rho, T) beside the closed-form student of their limit kernel, on the same samples.

    The kernel is the NTK of three hidden layers on flattened pixels, its student's targets are the effective logits,
    and at rho = 0 the labels' signs. The networks have the given width; they descend with momentum 0.9 and

    .. math:: \ell \big/ \bigl(\tfrac{\rho}{T^2} + 1 - \rho\bigr),

    a rescaled time that gives every cell the same largest curvature, 1/4, and moves no minimum. Teachers are kernel
    teachers, the under-trained one stopped at the first of the epochs, the others at the second. Of the setting, model,
    steps, rate and early play no part.

    Args:
        key, setting, data, which: as for :func:`grid`, whose errors apply.
        width: of the networks' hidden layers.
        steps, learning_rate: of the networks' descent.
        epochs: of the kernel teachers.

    Returns:
        For each teacher a dictionary with ``"teacher"`` (seeds,), and with axes (rho, T, seeds) ``"kernel"`` and
        ``"networks"``: test errors.

    >>> print(stored("closed_form", "digits", "mlp")["results"]["better"]["kernel"].shape)
    (8, 2, 10)
    """
    _require_teachers(which)
    data = data or images(setting, binary=True)
    of_samples, of_students = jax.random.split(key)
    own, other = _samples(of_samples, setting, data, setting.n, setting.n_teacher)
    # Pixels have mean square 1, as the paper's inputs from N(0, I) have.
    flat = lambda x: np.asarray(x.reshape(len(x), -1))
    x, x_test, y = flat(data.x), flat(data.x_test), data.y
    network = fully_connected(3, width=width)
    ntk = network.ntk
    (rho, T), place = _cells(setting.rho, setting.T)

    targets, kernel_errors, teacher_errors = {}, {}, {}
    for name in which:
        some = other if name == "better" else other[:, : setting.n]
        stop = epochs[0] if name == "under-trained" else epochs[1]
        targets[name], kernel_errors[name], teacher_errors[name] = [], [], []
        for mine, theirs in zip(own, some, strict=True):
            teacher = train_kernel_teacher(x[theirs], y[theirs], ntk, epochs=[stop])
            z_t = np.asarray(teacher.logits(x[mine]))[0]
            z = np.asarray(effective_logit(z_t[:, None], y[mine][:, None], rho=rho[None], T=T[None]))
            z = np.where(np.isinf(z), np.sign(z), z)
            z_s = NestedStudents(x[mine], ntk).predict(x_test, z, [setting.n])[0]
            targets[name].append(z_t)
            kernel_errors[name].append(((z_s > 0) != data.y_test[:, None]).mean(0))
            teacher_errors[name].append(((np.asarray(teacher.logits(x_test))[0] > 0) != data.y_test).mean())

    keys = jax.random.split(of_students, setting.seeds)
    params = jax.vmap(lambda key: network.init(key, x.shape[1]))(keys)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    rescaled = lambda *z, rho, T: distillation_loss(*z, rho=rho, T=T) / (rho / T**2 + 1 - rho)
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    apply = jax.jit(jax.vmap(network.apply, (0, None)))
    results = {}
    for name in which:
        batch = batches_by_seed(x[own], np.array(targets[name], np.float32), y[own], size=setting.size)
        done = train(network.apply, params, batch, rho=rho, T=T, steps=steps, key=keys, loss=rescaled,
                     optimizer=optax.sgd(schedule, momentum=0.9, nesterov=True))
        z_s = np.stack([apply(part, x_test) for part in _each(done.params)])
        results[name] = {
            "teacher": np.array(teacher_errors[name]),
            "kernel": np.array(kernel_errors[name]).T[place],
            "networks": ((z_s > 0) != data.y_test).mean(-1)[place],
        }
    return results


def longer(
    key: Array, setting: Setting, *, T: Sequence[float] = (5.0,), times: int = 4, which: Sequence[str] = ("comparable",)
) -> dict:
    """:func:`grid` with students trained several times as long: has it converged?

    Args and errors as for :func:`grid`; also ``T``, the temperatures, and ``times``, how many times as long.
    """
    return grid(key, replace(setting, T=tuple(T)), which=which, steps=times * setting.steps)


EXPERIMENTS: dict[str, Callable] = {"grid": grid, "longer": longer, "transfer": transfer, "closed_form": closed_form}
_FOR = {"closed_form": dict(n=200, n_teacher=1000, T=(1.0, 5.0))}  # a kernel of 10,000 samples would take too long


def stored(experiment: str, dataset: str, model: str) -> dict | None:
    """A long run of the book.

    Returns:
        A dictionary with the run's command, date, seed and setting, and under ``"results"`` what the experiment
        returned; None if the book has no such run. It has ``grid`` for ``mlp`` on digits and Fashion-MNIST and for
        ``resnet`` on digits, ``transfer`` for ``mlp`` on both, ``longer`` and ``closed_form`` for ``mlp`` on digits.

    >>> run = stored("grid", "digits", "mlp")
    >>> run["results"]["comparable"]["students"].shape, len(run["setting"]["rho"])  # (rho, T, seeds)
    ((8, 4, 10), 8)
    """
    file = files("kdlib") / f"stored/practical_{experiment}_{dataset}_{model}.json"
    if not file.is_file():
        return None
    run = json.loads(file.read_text("utf-8"))
    return run | {"results": _arrays(run["results"])}


def _plain(value):
    """Arrays as lists of numbers rounded to the fifth digit: a test sample counts 1/4000 or more."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return np.round(value, 5).tolist() if isinstance(value, np.ndarray) else value


def _arrays(value):
    """The other way round."""
    if isinstance(value, dict):
        return {name: _arrays(part) for name, part in value.items()}
    return np.array(value) if isinstance(value, list) else value


def _used(experiment, setting):
    """What the experiment uses of a setting, and the arguments that it has besides."""
    unused = {"grid": ["sizes"], "longer": ["sizes"], "transfer": ["n_teacher", "early"],
              "closed_form": ["model", "early", "sizes"]}[experiment]
    own = {name: p.default for name, p in signature(EXPERIMENTS[experiment]).parameters.items()
           if p.default not in (p.empty, None)}
    return {name: value for name, value in asdict(setting).items() if name not in unused} | own


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="python -m kdlib.practical", description="The long runs of Appendix S2.")
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("dataset")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a file; by default one in kdlib/stored")
    chosen = parser.parse_args(arguments)
    used, start = setting(chosen.dataset, chosen.model, **_FOR.get(chosen.experiment, {})), time.monotonic()
    results = EXPERIMENTS[chosen.experiment](jax.random.key(chosen.seed), used)
    name = f"practical_{chosen.experiment}_{chosen.dataset}_{chosen.model}.json"
    output = chosen.output or Path(__file__).parent / "stored" / name
    content = {
        "command": "python -m kdlib.practical " + " ".join(sys.argv[1:] if arguments is None else arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - start),
        "seed": chosen.seed,
        "setting": _used(chosen.experiment, used),
        "results": _plain(results),
    }
    output.write_text(json.dumps(content) + "\n", "utf-8")


if __name__ == "__main__":
    main()
