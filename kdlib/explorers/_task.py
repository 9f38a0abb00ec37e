"""The task of the explorers with students: inputs on a line, and a teacher stopped early."""

from functools import cache

import jax
import numpy as np
import traitlets

from kdlib._checks import choice, whole
from kdlib.explorers._base import Explorer
from kdlib.networks import fully_connected
from kdlib.tasks import sample_inputs
from kdlib.teachers import train_kernel_teacher

SAMPLES, DRAWS = 200, 6
EPOCHS = [2**k for k in range(4, 15)]
NETWORK = fully_connected(3)  # of the student and of the teacher


@cache
def our_task(draws):
    """Our choice of a task: inputs from N(0, 1), three class boundaries, and a teacher that 60 samples have taught.

    Class 0 has a narrow interval amid class 1. The seed is one of those with which the teacher learns
    of the interval late, so that there is something to correct at most stopping epochs; that of the samples is
    one with which no two of them nearly coincide.
    """
    boundaries = [-1.25, 0.25, 0.5]
    x_t = np.round(sample_inputs(jax.random.key(1), 60, 1), 6)
    teacher = train_kernel_teacher(x_t, labels(x_t[:, 0], boundaries), NETWORK.ntk, epochs=EPOCHS)
    samples = np.round(sample_inputs(jax.random.key(0), DRAWS * SAMPLES, 1), 6).reshape(DRAWS, SAMPLES)
    return {
        "network": {"depth": NETWORK.depth, "sigma_w": NETWORK.sigma_w, "sigma_b": NETWORK.sigma_b},
        "boundaries": boundaries,
        "samples": samples[:draws].tolist(),
        "epochs": EPOCHS,
        "x_t": x_t[:, 0].tolist(),
        "coefficients": [[float(f"{a:.8g}") for a in row] for row in teacher.coefficients],
        "weight_norms": [float(f"{norm:.8g}") for norm in teacher.weight_norms],
    }


def labels(x, boundaries):
    return np.searchsorted(boundaries, x) % 2


class TaskExplorer(Explorer):
    """An explorer of the task's students: ``n`` samples of a draw, and a teacher that stopped at ``epoch``."""

    _draws = 1  # of samples, in the page

    n = traitlets.Any(20).tag(sync=True, page=True)
    epoch = traitlets.Any(1024).tag(sync=True, page=True)
    task = traitlets.Dict(read_only=True).tag(sync=True, page=True)

    @traitlets.default("task")
    def _our_task(self):
        return our_task(self._draws)

    @traitlets.validate("n")
    def _size(self, proposal):
        return whole("n", proposal.value, 1, SAMPLES, "a draw has so many samples")

    @traitlets.validate("epoch")
    def _stop(self, proposal):
        return choice("epoch", proposal.value, EPOCHS, "the teacher was stopped at these")

    def _teacher(self, x):
        """Its logits at inputs of shape (m, 1)."""
        return NETWORK.ntk(x, np.array(self.task["x_t"])[:, None]) @ self.task["coefficients"][EPOCHS.index(self.epoch)]
