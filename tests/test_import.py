"""`import kdlib` stays light: what only the book, one of its figures or a witness needs is not loaded."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout


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
