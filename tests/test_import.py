"""`import kdlib` stays light: what only the book or one of its figures needs is not loaded."""

import subprocess
import sys


def test_import_leaves_heavy_packages_alone():
    command = [sys.executable, "-c", "import sys, kdlib; print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.split())
    assert "kdlib" in loaded
    assert loaded.isdisjoint({"tensorflow", "plotly", "anywidget", "optax", "dask", "distributed", "joblib"})
