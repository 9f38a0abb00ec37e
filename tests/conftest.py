"""Strict settings for every test: float64, no silent rank promotion, warnings are errors."""

import os
from importlib.util import find_spec

import jax
from hypothesis import settings

import kdlib  # noqa: F401  (turns on float64)

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of these tests' time is the compilation of programs that run once. With JAX_DISABLE_MOST_OPTIMIZATIONS=0, as in
# `make matrix`, they are compiled as a user's; notebooks and stored results, in processes of their own, always are.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)
# Time is never tested: other programs run too.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

WITHOUT_BOOK = find_spec("jupyter_book") is None
# Files of fixtures hold no examples, and two of one name could not both be imported as modules.
collect_ignore = ["conftest.py", "browser/conftest.py"]
collect_ignore += WITHOUT_BOOK * ["browser", "test_build.py", "test_epub.py", "test_notebooks.py", "test_package.py",
                                  "test_pdf.py", "test_plain.py", "test_plots.py", "test_settings.py",
                                  "test_still.py", "test_ways.py"]


def pytest_report_header():
    return "the book's packages are not installed: its tests are left out" if WITHOUT_BOOK else None
