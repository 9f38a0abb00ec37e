"""The long experiments of the book's chapters, a module for each, and the one store of their results.

A chapter loads what is stored, computes a part of it again, and compares. ``python -m kdlib.experiments`` computes what
is out of date. The library itself imports nothing from here.
"""

from kdlib.experiments._parameters import refuse_unknown_parameters
from kdlib.experiments._show import show
from kdlib.experiments._store import Experiment, ReplayDiffers, Results, Setting, parameter, quantity

__all__ = [
    "Experiment",
    "ReplayDiffers",
    "Results",
    "Setting",
    "parameter",
    "quantity",
    "refuse_unknown_parameters",
    "show",
]
