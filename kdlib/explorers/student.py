"""The student explorer: a 1-D task, a teacher stopped early, and the student that converges on its answers."""

from functools import cache

import jax
import numpy as np
import traitlets

from kdlib._checks import require
from kdlib.distillation import effective_logit
from kdlib.explorers._base import Explorer, module, polyline
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import sample_inputs
from kdlib.teachers import train_kernel_teacher

SAMPLES, DRAWS = 200, 6
EPOCHS = [2**k for k in range(4, 15)]
NETWORK = fully_connected(3, width=512)  # of the student and of the teacher; only their infinite width counts


@cache
def _task():
    """Our choice of a task: inputs from N(0, 1), three class boundaries, and a teacher that 60 samples have taught.

    Class 0 has a narrow interval amid class 1. The seed is one of those with which the teacher learns
    of the interval late, so that there is something to correct at most stopping epochs; that of the samples is
    one with which no two of them nearly coincide.
    """
    boundaries = [-1.25, 0.25, 0.5]
    x_t = np.round(sample_inputs(jax.random.key(1), 60, 1), 6)
    teacher = train_kernel_teacher(x_t, _labels(x_t[:, 0], boundaries), NETWORK.ntk, epochs=EPOCHS)
    samples = np.round(sample_inputs(jax.random.key(0), DRAWS * SAMPLES, 1), 6).reshape(DRAWS, SAMPLES)
    return {
        "network": {"depth": NETWORK.depth, "sigma_w": NETWORK.sigma_w, "sigma_b": NETWORK.sigma_b},
        "boundaries": boundaries,
        "samples": samples.tolist(),
        "epochs": EPOCHS,
        "x_t": x_t[:, 0].tolist(),
        "coefficients": [[float(f"{a:.8g}") for a in row] for row in teacher.coefficients],
        "weight_norms": [float(f"{norm:.8g}") for norm in teacher.weight_norms],
    }


def _labels(x, boundaries):
    return np.searchsorted(boundaries, x) % 2


class StudentExplorer(Explorer):
    r"""The converged student of an infinitely wide network, drawn while its teacher and its data change.

    The task is one-dimensional and our choice. A teacher of 60 hard labels stops at ``epoch``; a
    student learns from the first ``n`` samples of a ``draw``, at soft ratio ``rho`` and
    temperature ``T``. Kernel, Cholesky factorisation and student are computed in the browser.

    In a live notebook the five traits follow the sliders and drive them; ``task`` holds the data.
    In a static page the address carries the state (``#s.rho=0.3&s.n=40``), under keys of its own,
    so that the page may hold an :class:`EffectiveLogitExplorer` too.

    Limits:
        ``rho = 0`` has no finite target, so no student is drawn.

    Raises:
        ValueError: rho outside [0, 1], T not positive, n outside 1..200, draw outside 1..6, or an
            epoch at which the teacher was not stopped.

    >>> explorer = StudentExplorer(rho=0.3, n=40)
    >>> explorer.epoch, explorer.draw
    (1024, 1)
    """

    _kind = "student"
    _esm = module("distillation", "students", "page", "student")

    n = traitlets.Any(20).tag(sync=True, page=True)
    epoch = traitlets.Any(1024).tag(sync=True, page=True)
    draw = traitlets.Any(1).tag(sync=True, page=True)
    task = traitlets.Dict(read_only=True).tag(sync=True, page=True)

    @traitlets.default("task")
    def _our_task(self):
        return _task()

    @traitlets.validate("n")
    def _size(self, proposal):
        return _whole("n", proposal.value, SAMPLES, "a draw has so many samples")

    @traitlets.validate("draw")
    def _draw(self, proposal):
        return _whole("draw", proposal.value, DRAWS, "so many draws were made")

    @traitlets.validate("epoch")
    def _stop(self, proposal):
        require("epoch", proposal.value, "be a power of 2 in 16..16384", lambda epoch: np.isin(epoch, EPOCHS),
                "the teacher was stopped at these")
        return int(float(proposal.value))

    def picture(self):
        """Truth, teacher, targets and student as a still SVG, for pages without scripts."""
        task = self.task
        x = np.array(task["samples"][self.draw - 1])[: self.n, None]
        grid = np.linspace(-3, 3, 193)[:, None]
        x_t, coefficients = np.array(task["x_t"])[:, None], task["coefficients"][EPOCHS.index(self.epoch)]
        teacher, z_t = (NETWORK.ntk(inputs, x_t) @ coefficients for inputs in (grid, x))
        y_g = _labels(x[:, 0], task["boundaries"])
        z = np.asarray(effective_logit(z_t, y_g, rho=self.rho, T=self.T))

        reach = max(12, abs(teacher).max(), *abs(z[np.isfinite(z)]))
        across = lambda x: 300 + 93 * x
        up = lambda z: 180 - 150 * np.clip(z / reach, -1, 1)
        curve = lambda z, style: polyline(across(grid[:, 0]), up(z), style)

        def mark(a, b, right):
            if right:
                return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="#2b8cc4"/>'
            return f'<path d="M{a - 4:.1f} {b - 4:.1f}l8 8m0-8l-8 8" stroke="#cf6a1d" stroke-width="2"/>'

        drawn = [curve(teacher, 'stroke="currentColor" stroke-dasharray="2 4"')]
        if self.rho > 0:
            student = NestedStudents(x, NETWORK.ntk).predict(grid, z, [self.n])[0]
            drawn.append(curve(student, 'stroke="#2f9a72" stroke-width="2.5"'))
            drawn.extend(map(mark, across(x[:, 0]), up(z), (z_t > 0) == y_g))
        ends = [*task["boundaries"], 3]
        truth = "".join(f"M{across(a):.1f} 16H{across(b):.1f}" for a, b in zip(ends[::2], ends[1::2], strict=True))
        return (
            f'<svg class="kd-still" viewBox="0 0 600 360" role="img" aria-label="Logits against x from -3 to 3: a '
            f'student of {self.n} samples (solid) and its teacher, stopped after {self.epoch} epochs (dotted), '
            f'at rho = {self.rho:g} and T = {self.T:g}. Targets: dots, or crosses where the teacher is wrong.">'
            f'<path d="{truth}" stroke="currentColor" stroke-width="6"/>'
            '<path d="M20 180H580" stroke="currentColor" opacity=".5"/>' + "".join(drawn)
            + f'<text x="30" y="345" fill="currentColor">ρ = {self.rho:g}, T = {self.T:g}, n = {self.n}</text>'
            '<text x="570" y="345" text-anchor="end" fill="currentColor">bar on top: class 1</text></svg>'
        )


def _whole(name, value, largest, remedy):
    require(name, value, f"lie in 1..{largest}", lambda v: (v >= 1) & (v <= largest) & (v == np.floor(v)), remedy)
    return int(float(value))
