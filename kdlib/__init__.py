"""Knowledge distillation in wide neural networks: the paper's formulas, one module per idea.

The import switches JAX to 64 bits, for the whole process, as 32 lose the small differences that distillation lives on.
Arrays that are float32 stay so. Where ``JAX_ENABLE_X64`` is set, the import leaves the switch to it; while JAX is
switched to 32 bits, by that or later, what kdlib computes is a RuntimeError and never an imprecise number.
"""

import os

import jax

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)

from kdlib.advise import advise
from kdlib.classes import beats, class_correction_logit, class_distillation_loss, class_effective_logit
from kdlib.distillation import (
    correction_logit,
    distillation_loss,
    effective_logit,
    label_smoothing_logit,
    split_threshold,
)
from kdlib.hard_labels import hard_label_derivative
from kdlib.inefficiency import data_inefficiency
from kdlib.networks import fully_connected
from kdlib.risk import (
    angle_distribution,
    phuong_lampert_bound,
    power_function_bound,
    risk_bound,
    transfer_risk,
)
from kdlib.students import NestedStudents

__version__ = "1.1.0"
__all__ = [
    "NestedStudents",
    "advise",
    "angle_distribution",
    "beats",
    "class_correction_logit",
    "class_distillation_loss",
    "class_effective_logit",
    "correction_logit",
    "data_inefficiency",
    "distillation_loss",
    "effective_logit",
    "fully_connected",
    "hard_label_derivative",
    "label_smoothing_logit",
    "phuong_lampert_bound",
    "power_function_bound",
    "risk_bound",
    "split_threshold",
    "transfer_risk",
]
