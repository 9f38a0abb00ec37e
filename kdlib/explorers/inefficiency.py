"""The inefficiency explorer: 1-D tasks of graded difficulty, and how fast the student's weights still grow."""

from functools import cache, partial

import jax
import numpy as np
import traitlets
from scipy.special import ndtri

from kdlib._checks import choice, whole
from kdlib.distillation import targets
from kdlib.explorers._base import Explorer, module
from kdlib.explorers._marks import axes, dotted, followed, mark, scaled, still, words
from kdlib.inefficiency import data_inefficiency
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents
from kdlib.tasks import GaussianMixture, labels, sample_inputs
from kdlib.teachers import train_kernel_teacher

RUNS, SAMPLES = 16, 128
MODES = [2, 3, 4, 6, 8, 12]
EPOCHS = [2**k for k in range(4, 15, 2)]
FLIPS = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
SIZES = np.arange(2, 95)  # with room for their window
T = 5.0
NETWORK = fully_connected(3)  # of the student and of the teacher


@cache
def _task():
    """Our choice of tasks: x from N(0, 1), q bumps of alternating sign at the quantiles of x, half as wide as apart.

    Teachers have seen 60 labels, at quantiles too. The seed of the samples is one with which no two of a run
    nearly coincide.
    """
    x_t = np.round(ndtri((np.arange(60) + 0.5) / 60), 6)[:, None]
    boundaries, coefficients = [], []
    for q in MODES:
        truth = _truth(q)
        teacher = train_kernel_teacher(x_t, labels(truth(x_t)), NETWORK.ntk, epochs=EPOCHS)
        coefficients.append([[float(f"{a:.8g}") for a in row] for row in teacher.coefficients])
        fine = np.linspace(-3, 3, 6001)
        changes = np.flatnonzero(np.diff(np.asarray(truth(fine[:, None])) > 0))
        boundaries.append(np.round(fine[changes] + 0.0005, 4).tolist())
    samples = np.round(sample_inputs(jax.random.key(0), RUNS * SAMPLES, 1), 6).reshape(RUNS, SAMPLES)
    return {
        "network": {"depth": NETWORK.depth, "sigma_w": NETWORK.sigma_w, "sigma_b": NETWORK.sigma_b},
        "modes": MODES,
        "epochs": EPOCHS,
        "flips": FLIPS,
        "sizes": SIZES.tolist(),
        "T": T,
        "boundaries": boundaries,
        "x_t": x_t[:, 0].tolist(),
        "coefficients": coefficients,
        "samples": samples.tolist(),
    }


def _truth(q):
    centers = ndtri((np.arange(q) + 0.5) / q)
    nearest = np.diff(centers, prepend=2 * centers[0] - centers[1])
    return GaussianMixture((-1.0) ** np.arange(q), centers[:, None], 0.5 * np.maximum(nearest, 0.2))


def _flipped(run, p):
    """Which samples of a run have their sign flipped: a fixed sequence that fills [0, 1) evenly."""
    return (0.6180339887 * np.arange(1, SAMPLES + 1) + 0.7548776662 * run) % 1 < p


class InefficiencyExplorer(Explorer):
    r"""Data inefficiency of one-dimensional tasks, drawn while their difficulty changes.

    A perfect teacher of a truth with ``q`` modes stops at ``epoch``; its labels are its own signs, and the
    temperature is 5. The targets are its students' effective logits at soft ratio ``rho``, each with its sign
    flipped at probability ``p_flip``. The first of 16 runs is drawn, as a student of ``n`` samples; the curve of
    :func:`~kdlib.inefficiency.data_inefficiency` comes from all of them. All of it is computed in the browser.

    In a static page the address carries the state (``#i.rho=0.3&i.q=8``), under keys of its own.

    Limits:
        ``rho = 0`` has infinite targets; the curve is that of their signs, and so is the picture, in units of
        the threshold t.

    Raises:
        ValueError: rho outside [0, 1]; q, epoch, p_flip or n not among the values of their slider; or T other than 5.

    >>> explorer = InefficiencyExplorer(q=8, rho=0.5)
    >>> explorer.epoch, explorer.p_flip
    (1024, 0)
    """

    _kind = "inefficiency"
    _esm = module("inefficiency")
    _examples = (
        ("ρ = 1: a smooth target, and the curve falls to nearly zero", {"rho": 1, "n": 94}),
        ("ρ = 0.95: with some hard labels it stops on its way", {"rho": 0.95, "n": 94}),
        ("2 modes, ρ = 1: it falls at once", {"q": 2, "rho": 1, "n": 20}),
        ("12 modes: it falls only when there are samples enough for the details", {"q": 12, "rho": 1, "n": 20}),
        ("One sign in a hundred flipped: noise, which no number of samples resolves",
         {"q": 2, "rho": 1, "p_flip": 0.01, "n": 94}),
    )

    q = traitlets.Any(6).tag(sync=True, page=True)
    epoch = traitlets.Any(1024).tag(sync=True, page=True)
    p_flip = traitlets.Any(0).tag(sync=True, page=True)
    n = traitlets.Any(30).tag(sync=True, page=True)
    task = traitlets.Dict(read_only=True).tag(sync=True, page=True)

    @traitlets.default("task")
    def _our_task(self):
        return _task()

    @traitlets.validate("q", "epoch", "p_flip")
    def _one_of(self, proposal):
        name = proposal.trait.name
        return choice(name, proposal.value, {"q": MODES, "epoch": EPOCHS, "p_flip": FLIPS}[name],
                      "the slider stops at these")

    @traitlets.validate("T")
    def _temperature(self, proposal):
        return choice("T", proposal.value, [T], "this explorer has one temperature")

    @traitlets.validate("n")
    def _size(self, proposal):
        return whole("n", proposal.value, SIZES[0], SIZES[-1], "the windows of others reach beyond the samples")

    def solve(self):
        """A grid; teacher, targets and student of the first run; and the inefficiency: as the browser does."""
        grid = np.sort(np.r_[np.linspace(-3, 3, 193), self.task["samples"][0]])[:, None]
        x_t = np.array(self.task["x_t"])[:, None]
        a = self.task["coefficients"][MODES.index(self.q)][EPOCHS.index(self.epoch)]
        norms, drawn = [], None
        for run, x in enumerate(np.array(self.task["samples"])[..., None]):
            z_t = NETWORK.ntk(x, x_t) @ a
            z = targets(z_t, labels(z_t), rho=self.rho, T=T)
            z = np.where(_flipped(run, self.p_flip), -z, z)
            students = NestedStudents(x, NETWORK.ntk)
            norms.append(students.weight_norms(z))
            if run == 0:
                drawn = z, students.predict(grid, z, [self.n])[0]
        teacher = NETWORK.ntk(grid, x_t) @ a
        return grid[:, 0], teacher, *drawn, data_inefficiency(norms, SIZES)

    def picture(self):
        """Teacher, targets and student, and the inefficiency beside them, as a still SVG for pages without scripts."""
        grid, teacher, z, student, found = self.solve()
        x, flipped = np.array(self.task["samples"][0]), _flipped(0, self.p_flip)
        reach = 1.05 * max(abs(student).max(), abs(z).max(), 0 if self.rho == 0 else abs(teacher).max())
        across, up = lambda x: 190 + 58 * x, lambda z: scaled(z, reach, middle=170, height=140)
        along = lambda n: 400 + 190 * np.log(n / 2) / np.log(50)
        above = lambda v: 300 - 160 * np.clip(v, -0.1, 1.7)
        drawn = [followed(across(grid), up(student))]
        if self.rho > 0:
            drawn.append(dotted(across(grid), up(teacher)))
        drawn.extend(map(partial(mark, radius=3), across(x[: self.n]), up(z[: self.n]), ~flipped))
        return still(
            f"Left, logits against x from -3 to 3: a teacher of {self.q} modes (dotted), targets (dots, crosses where "
            f"the sign is flipped) and the student of {self.n} samples (solid), at rho = {self.rho:g}. Right, data "
            f"inefficiency from 2 to {SIZES[-1]} samples: {found.values[self.n - SIZES[0]]:.2f} at {self.n}.",
            axes("M16 170H364M400 300H590"),
            '<path d="M400 220H590M400 140H590" stroke="currentColor" stroke-dasharray="2 4" opacity=".6"/>',
            drawn,
            followed(along(SIZES), above(found.values)),
            words(20, 345, f"q = {self.q}, ρ = {self.rho:g}, n = {self.n}"),
            words(400, 345, "I(n); dotted: ½ and 1"),
        )
