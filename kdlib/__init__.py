"""Knowledge distillation in wide neural networks: the paper's formulas, one module per idea."""

import jax

jax.config.update("jax_enable_x64", True)  # float32 loses the small differences distillation lives on

from kdlib.distillation import (  # noqa: E402
    correction_logit,
    distillation_loss,
    effective_logit,
    label_smoothing_logit,
    split_threshold,
)
from kdlib.hard_labels import hard_label_derivative  # noqa: E402
from kdlib.networks import fully_connected  # noqa: E402
from kdlib.risk import (  # noqa: E402
    angle_distribution,
    phuong_lampert_bound,
    power_function_bound,
    risk_bound,
    transfer_risk,
)
from kdlib.students import NestedStudents  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "NestedStudents",
    "angle_distribution",
    "correction_logit",
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
