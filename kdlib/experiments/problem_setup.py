"""Chapter 2: how far trained networks of finite width are from their linearisation, and how far training moves kernels.
"""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdlib._checks import real, temperature, whole
from kdlib.distillation import effective_logit
from kdlib.experiments._store import Experiment, Setting, parameter, quantity
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import labels, sample_inputs
from kdlib.teachers import train_kernel_teacher
from kdlib.training import full_batch, train

SAMPLES = 8  #: on which networks are trained
TEST_POINTS = 300  #: on which they are compared
STEPS = 3500  #: of descent


def inside(name, value):
    return real(name, value, "lie in (0, 1)", lambda r: 0 < r < 1, "rho = 1 is tried anyway")


@dataclass(frozen=True)
class WidthSetting(Setting):
    """A width, and the students that are trained at it: of pure soft labels, and of soft ratio ``rho_s``."""

    width: int = parameter(256, whole)  #: of the trained networks
    rho_s: float = parameter(0.9, inside)  #: soft ratio of the second student
    T: float = parameter(5.0, temperature)  #: temperature
    depth: int = parameter(3, whole)  #: hidden layers
    seed: int = parameter(0, lambda name, value: whole(name, value, least=0))  #: draws the task


@dataclass(frozen=True)
class WidthRun:
    """One initialisation. Gaps are relative to the spread of the limit's student over the test points."""

    kernel_error: float = quantity("relative error of the empirical kernel at initialisation")
    off_target: np.ndarray = quantity("largest distance of a trained logit to its target", "soft ratio", within=1e-3)
    own_gap: np.ndarray = quantity("distance to the network's own linearisation", "soft ratio", within=0.01)
    limit_gap: np.ndarray = quantity("distance to the limit's student", "soft ratio", within=0.01)
    # A ReLU at rest on its kink makes kernels jump with the last bit.
    moved: np.ndarray = quantity("relative change of the empirical kernel by training", "soft ratio", within=0.1)


@dataclass(frozen=True)
class Task:
    """A ground truth, a teacher of 200 labels, 300 samples with its logits, and test points."""

    x: np.ndarray
    y_g: np.ndarray
    z_t: np.ndarray
    x_test: np.ndarray
    teacher: object


def ground_truth(x):
    """The class, split along a wave."""
    return labels(x[:, 0] - jnp.sin(2 * x[:, 1]))


@cache
def task(seed, depth):
    """The chapter's task."""
    of_teacher, of_samples, of_test, _ = jax.random.split(jax.random.key(seed), 4)
    x_t = sample_inputs(of_teacher, 200, 2)
    teacher = train_kernel_teacher(x_t, ground_truth(x_t), fully_connected(depth).ntk, epochs=[64])
    x = sample_inputs(of_samples, 300, 2)
    return Task(x, ground_truth(x), teacher.logits(x)[0], sample_inputs(of_test, TEST_POINTS, 2), teacher)


def repetition(key, setting):
    """Train one initialisation to both targets."""
    network = fully_connected(setting.depth, width=setting.width)
    limit = fully_connected(setting.depth)
    own = task(setting.seed, setting.depth)
    x, z_t, y_g = (values[:SAMPLES] for values in (own.x, own.z_t, own.y_g))
    w_0, exact = network.init(key, 2), limit.ntk(x)
    kernel = network.empirical_ntk(w_0, x)
    students = NestedStudents(x, limit.ntk)
    found = []
    for rho in (1.0, setting.rho_s):
        at = dict(rho=rho, T=setting.T)
        target = effective_logit(z_t, y_g, **at)
        trained = train(network.apply, w_0, full_batch(x, z_t, y_g), steps=STEPS, key=key,
                        optimizer=descent(exact, **at), progress=False, **at).params
        delta_z = target - network.apply(w_0, x)
        z_s = network.apply(trained, own.x_test)
        by_limit = network.apply(w_0, own.x_test) + students.predict(own.x_test, delta_z, [SAMPLES])[0]
        by_own = linearised(network, w_0, kernel, x, delta_z, own.x_test)
        gap = lambda other, z_s=z_s, by_limit=by_limit: jnp.sqrt(jnp.mean((z_s - other) ** 2)) / by_limit.std()
        found.append((jnp.abs(network.apply(trained, x) - target).max(), gap(by_own), gap(by_limit),
                      relative(network.empirical_ntk(trained, x) - kernel, kernel)))
    return WidthRun(relative(kernel - exact, exact), *np.array(found).T)


def linearised(network, w_0, kernel, x, delta_z, x_test):
    """Eq. 4 with the network's own kernel: logits at x_test."""
    _, pull = jax.vjp(lambda w: network.apply(w, x), w_0)
    (change,) = pull(jnp.linalg.solve(kernel, delta_z))  # phi(X) Theta^-1 dz
    return network.linearize(w_0)(jax.tree.map(jnp.add, w_0, change), x_test)


def descent(kernel, rho, T):
    """Full-batch descent with momentum; plain at first, when momentum would overshoot and drag the features along."""
    steepest = np.linalg.eigvalsh(kernel)[-1] / len(kernel)
    curvature = (rho / T**2 + 1 - rho) / 4  # of the loss, at most
    momentum = lambda step: 0.95 * (step >= 1000)
    return optax.inject_hyperparams(optax.sgd, static_args="nesterov")(
        1 / (steepest * curvature), momentum=momentum, nesterov=True)


def relative(difference, size):
    """The Frobenius norm of a difference, relative to that of the whole."""
    return float(np.linalg.norm(difference) / np.linalg.norm(size))


COUNTS = {64: 20, 128: 20, 256: 20, 512: 20, 1024: 3}  #: repetitions by width; a run takes minutes at the largest
WIDTHS = Experiment("problem_setup", repetition, WidthRun, {f"width{width}": WidthSetting(width) for width in COUNTS},
                    {f"width{width}": count for width, count in COUNTS.items()})
