"""What `import kdlib` loads and what it leaves alone, and which precision it sees to."""

import os
import subprocess
import sys


def run(code, env=None):
    """What a process of its own prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True, env=env).stdout


def test_import_leaves_heavy_packages_alone():
    loaded = set(run("import sys, kdlib; print(*sys.modules)").split())
    assert "kdlib" in loaded
    assert loaded.isdisjoint(
        {"tensorflow", "neural_tangents", "plotly", "anywidget", "optax", "dask", "distributed", "joblib"}
    )


def test_networks_and_students_work_without_neural_tangents():
    printed = run("""
import sys
sys.modules["neural_tangents"] = None  # an import of it fails
import jax
from kdlib import NestedStudents, fully_connected
from kdlib.networks import ACTIVATIONS, neural_tangents
x = jax.random.normal(jax.random.key(0), (5, 2))
for activation in ACTIVATIONS:
    network = fully_connected(2, width=8, activation=activation)
    params = network.init(jax.random.key(1), 2)
    network.linearize(params)(params, x), network.empirical_ntk(params, x)
    print(NestedStudents(x, network.ntk).weight_norms(network.apply(params, x)).shape)
try:
    neural_tangents()
except ModuleNotFoundError as missing:
    print(missing.name, missing)
""").splitlines()
    assert printed[:-1] == ["(5,)"] * 3
    assert printed[-1].startswith("neural_tangents neural_tangents must be installed for kernels of other")


SWITCHED_OFF = """
import jax, numpy as np, optax
from kdlib import *
from kdlib import classes, classifiers, hard_labels, networks, tasks, teachers, training
key = jax.random.key(0)
x, z, y = np.array([[0.0, 1], [1, 0], [1, 2], [-1, 2]]), np.arange(1.0, 5), np.arange(4) % 2
network = fully_connected(2, width=4)
params = network.init(key, 2)
linear = network.linearize(params)
students = NestedStudents(x, lambda a, b: np.exp(-((a[:, None] - b[None]) ** 2).sum(2)) + np.eye(len(a), len(b)))
mixture = tasks.random_mixture(key, 3, 2, widths=0.5)
teacher = teachers.train_kernel_teacher(x, y, network.ntk, epochs=[1])
jax.config.update("jax_enable_x64", False)
calls = {
    "effective_logit": lambda: effective_logit(2.0, 1, rho=1e-50, T=5.0),
    "under jit": lambda: jax.jit(effective_logit)(2.0, 1, rho=0.5, T=5.0),
    "distillation_loss": lambda: distillation_loss(1.0, z, y, rho=0.5, T=5.0),
    "class_distillation_loss": lambda: classes.class_distillation_loss(np.eye(2), np.eye(2), [0, 1], rho=0.5, T=1.0),
    "class_effective_logit": lambda: class_effective_logit(np.eye(2), [0, 1], rho=0.5, T=5.0),
    "classes under jit": lambda: jax.jit(class_effective_logit)(np.eye(2), np.arange(2), rho=0.5, T=5.0),
    "class_correction_logit": lambda: class_correction_logit(np.eye(2), [0, 1], T=5.0),
    "class_targets": lambda: classes.class_targets(np.eye(2), [0, 1], rho=0.5, T=5.0),
    "beats": lambda: beats(np.eye(2), [0, 1], rho=0.5, T=5.0),
    "split_threshold": lambda: split_threshold(rho=0.5, T=5.0),
    "correction_logit": lambda: correction_logit(z, y, T=5.0),
    "label_smoothing_logit": lambda: label_smoothing_logit(y, epsilon=0.1),
    "correction_floor": lambda: hard_labels.correction_floor(rho=0.5, T=5.0),
    "largest_soft_ratio": lambda: hard_labels.largest_soft_ratio(0.5, T=5.0),
    "hard_label_derivative": lambda: hard_label_derivative(students, z, y, z, T=5.0),
    "fully_connected": lambda: fully_connected(2, width=4),
    "init": lambda: network.init(key, 2),
    "apply": lambda: network.apply(params, x),
    "linearize": lambda: linear(params, x),
    "empirical_ntk": lambda: network.empirical_ntk(params, x),
    "ntk": lambda: network.ntk(x),
    "nngp": lambda: network.nngp(x),
    "initial_logits": lambda: network.initial_logits(key, x),
    "NestedStudents": lambda: NestedStudents(x, network.ntk),
    "predict": lambda: students.predict(x, z, [4]),
    "sample_inputs": lambda: tasks.sample_inputs(key, 3, 2),
    "random_mixture": lambda: tasks.random_mixture(key, 3, 2, widths=0.5),
    "mixture": lambda: mixture(x),
    "labels": lambda: tasks.labels(z),
    "flip_signs": lambda: tasks.flip_signs(key, z, p_flip=0.1),
    "train_kernel_teacher": lambda: teachers.train_kernel_teacher(x, y, network.ntk, epochs=[1]),
    "KernelTeacher.logits": lambda: teacher.logits(x),
    "full_batch": lambda: training.full_batch(x, z, y),
    "train": lambda: training.train(network.apply, params, lambda key, step: (x, z, y), rho=0.5, T=1.0, steps=1,
                                    key=key, optimizer=optax.sgd(0.1)),
    "MLP": lambda: classifiers.MLP(),
}
for name, call in calls.items():
    try:
        print(name, "answers", call())
    except RuntimeError as refused:
        assert str(refused).startswith("kdlib computes in 64 bits, and JAX is switched to 32: "), name
jax.config.update("jax_enable_x64", True)
for name, call in calls.items():
    call()
"""


def test_what_jax_would_compute_in_32_bits_is_refused():
    assert run(SWITCHED_OFF) == ""


def test_the_import_leaves_the_switch_to_the_environment_where_it_is_set_there():
    bits = "import kdlib, jax; print(jax.numpy.zeros(1).dtype)"
    for value, expected in ((None, "float64"), ("1", "float64"), ("0", "float32")):
        environment = {name: text for name, text in os.environ.items() if name != "JAX_ENABLE_X64"}
        environment |= {"JAX_ENABLE_X64": value} if value else {}
        assert run(bits, env=environment) == f"{expected}\n"
