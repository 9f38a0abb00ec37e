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
from kdlib.inefficiency import data_inefficiency  # noqa: E402
from kdlib.networks import fully_connected  # noqa: E402
from kdlib.students import NestedStudents  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "NestedStudents",
    "correction_logit",
    "data_inefficiency",
    "distillation_loss",
    "effective_logit",
    "fully_connected",
    "label_smoothing_logit",
    "split_threshold",
]
