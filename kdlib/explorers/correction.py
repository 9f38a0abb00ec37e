"""The correction explorer: a teacher that errs in the plane, its student, and what hard labels do about it."""

from functools import cache

import jax
import numpy as np
import traitlets

from kdlib._checks import choice
from kdlib.distillation import targets
from kdlib.explorers._base import Explorer, module
from kdlib.explorers._marks import GREEN, axes, dot, dotted, followed, still, words
from kdlib.explorers._task import EPOCHS, NETWORK
from kdlib.hard_labels import hard_label_projection
from kdlib.students import NestedStudents
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

SIDE = 37  # points of the map's grid on each side
SIZES = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
GRID = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)]), axis=-1).reshape(-1, 2)  # row by row, from below


@cache
def _task():
    """Our choice of a task: x uniform on [-1, 1]^2, ten modes of widths in [0.3, 0.5], a teacher of 384 labels.

    The seed is one of those with balanced classes and a boundary of several pieces, which the teacher learns late.
    """
    of_truth, of_teacher, of_samples = (jax.random.key(seed) for seed in (7, 107, 207))
    truth = random_mixture(of_truth, 10, 2, widths=(0.3, 0.5))
    x_t = sample_inputs(of_teacher, 384, 2, distribution="uniform")
    x = np.round(sample_inputs(of_samples, SIZES[-1], 2, distribution="uniform"), 4)
    teacher = train_kernel_teacher(x_t, labels(truth(x_t)), NETWORK.ntk, epochs=EPOCHS)
    rounded = lambda z, digits=3: np.round(np.asarray(z), digits).tolist()
    return {
        "network": {"depth": NETWORK.depth, "sigma_w": NETWORK.sigma_w, "sigma_b": NETWORK.sigma_b, "d": 2},
        "x": x.ravel().tolist(),
        "epochs": EPOCHS,
        "sizes": SIZES,
        # Logits at the samples, and on the map.
        "z_g": rounded(truth(x)), "truth": rounded(truth(GRID)),
        "z_t": rounded(teacher.logits(x)), "teachers": rounded(teacher.logits(GRID), 2),
    }


class CorrectionExplorer(Explorer):
    r"""The student of an imperfect teacher, drawn while hard labels mix in.

    Inputs are uniform on :math:`[-1, 1]^2`. The truth is the sign of a smooth logit :math:`z_g`; a teacher of 384 hard
    labels stops at ``epoch``; a student learns from the first ``n`` of 256 other samples, at soft ratio ``rho`` and
    temperature ``T``. A map shows where it errs, one chart its error at all soft ratios, and another the projection of
    Theorem 2 at all stopping epochs, as the cosine

    .. math:: \frac{\langle \delta\hat w_h, \Delta\hat w_c \rangle}
                   {\|\delta\hat w_h\|_2\, \|\Delta\hat w_c\|_2}.

    In a live notebook the four traits follow the sliders and drive them; ``task`` holds the data.
    In a static page the address carries the state (``#c.rho=0.9&c.n=64``).

    Limits:
        ``rho = 0`` has infinite targets: the student is that of the labels' signs, which has the same boundary.
        Logits are known on a grid of 37 x 37 points, from which the errors are good to about 0.1 percentage points.

    Raises:
        ValueError: rho outside [0, 1], T not positive; n or epoch not among the values of their slider.

    >>> explorer = CorrectionExplorer(rho=0.9, n=64)
    >>> explorer.epoch, explorer.T
    (2048, 5.0)
    """

    _kind = "correction"
    _esm = module("correction")
    _examples = (
        ("A middling teacher, ρ = 1: the student repeats its mistakes", {"rho": 1}),
        ("ρ = 0.97: it beats its teacher, and a student of hard labels alone", {"rho": 0.97}),
        ("A hopeless teacher, ρ = 1: whole regions are missed", {"rho": 1, "n": 256, "epoch": 64}),
        ("ρ = 0.5: they come back", {"rho": 0.5, "n": 256, "epoch": 64}),
        ("An excellent teacher: its projection is negative, and yet ρ = 0.99 beats ρ = 1",
         {"rho": 0.99, "T": 10, "n": 256, "epoch": 16384}),
    )

    rho = traitlets.Any(0.95).tag(sync=True, page=True)
    n = traitlets.Any(128).tag(sync=True, page=True)
    epoch = traitlets.Any(2048).tag(sync=True, page=True)
    task = traitlets.Dict(read_only=True).tag(sync=True, page=True)

    @traitlets.default("task")
    def _our_task(self):
        return _task()

    @traitlets.validate("n", "epoch")
    def _one_of(self, proposal):
        name = proposal.trait.name
        return choice(name, proposal.value, {"n": SIZES, "epoch": EPOCHS}[name], "the slider stops at these")

    def _samples(self):
        """Students of the samples, their labels, and the logits there of the teachers of all epochs."""
        students = NestedStudents(np.reshape(self.task["x"], (-1, 2)), NETWORK.ntk)
        return students, labels(np.array(self.task["z_g"])), np.array(self.task["z_t"])

    def solve(self, ratios):
        """Students' logits on the map at some soft ratios, and their errors."""
        students, y_g, z_t = self._samples()
        z = [targets(z_t[EPOCHS.index(self.epoch)], y_g, rho=rho, T=self.T) for rho in ratios]
        z = students.predict(GRID, np.stack(z, axis=1), [self.n])[0].T
        return z, wrong_share(z, np.array(self.task["truth"]))

    def project(self):
        """Theorem 2's projections of all epochs, for all n."""
        students, y_g, z_t = self._samples()
        return hard_label_projection(students, z_t.T, y_g, np.array(self.task["z_g"]), T=self.T)

    def picture(self):
        """Boundaries in the plane, and the error against rho beside them, as a still SVG for pages without scripts."""
        ratios = np.linspace(0, 1, 21)
        z, errors = self.solve([self.rho, *ratios])
        truth, teacher = np.array(self.task["truth"]), np.array(self.task["teachers"][EPOCHS.index(self.epoch)])
        wrong = wrong_share(teacher, truth)
        reach = 1.1 * max(errors.max(), wrong)
        across, up = lambda x: 170 + 150 * x, lambda y: 170 - 150 * y
        along, above = lambda rho: 370 + 210 * rho, lambda error: 300 - 280 * error / reach

        def dots(z, r):
            points = crossings(z.reshape(SIDE, SIDE))
            return "".join(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="{r}"/>' for x, y in points)

        return still(
            "Left, class boundaries in the plane: the truth’s (wide), that of a teacher stopped after "
            f"{self.epoch} epochs (fine) and that of its student of {self.n} samples (green), at rho = {self.rho:g} "
            f"and T = {self.T:g}. Right, the student’s error against rho: {100 * errors[0]:.1f} % at this one; dotted, "
            f"the teacher’s, {100 * wrong:.1f} %.",
            axes("M20 20H320V320H20ZM370 20V300H580", 'fill="none" '),
            f'<g fill="currentColor" opacity=".35">{dots(truth, 5)}</g><g fill="{GREEN}">{dots(z[0], 2.5)}</g>',
            f'<g fill="currentColor">{dots(teacher, 1.2)}</g>',
            followed(along(ratios), above(errors[1:])),
            dotted(along(ratios[[0, -1]]), above(np.full(2, wrong))),
            dot(along(self.rho), above(errors[0]), GREEN, 4.5),
            words(20, 345, f"ρ = {self.rho:g}, T = {self.T:g}, n = {self.n}"),
            words(580, 320, "error against ρ from 0 to 1", "end"),
        )


def wrong_share(z, truth):
    """Share of the map on which logits have the wrong sign; the last axis of z is the map's grid.

    Each square is crossed by four lines from left to right, of which the shares with a wrong sign are averaged. On
    its sides, and along the lines, logits count as straight.
    """
    up = ((np.arange(4) + 0.5) / 4)[:, None]

    def on_lines(z):
        z = np.asarray(z).reshape(*np.shape(z)[:-1], SIDE, SIDE)
        lines = (1 - up) * z[..., :-1, None, :] + up * z[..., 1:, None, :]
        left, right = lines[..., :-1], lines[..., 1:]
        changes = (left > 0) != (right > 0)
        return left > 0, np.where(changes, left / np.where(changes, left - right, 1), 1)

    (positive, zero), (positive_g, zero_g) = on_lines(z), on_lines(truth)
    between = abs(zero - zero_g)
    return np.where(positive != positive_g, 1 - between, between).mean(axis=(-3, -2, -1))


def crossings(z):
    """Points (x, y) at which the lines of the grid cross zero."""
    found = []
    for lines, flip in ((z, False), (z.T, True)):
        i, j = np.nonzero((lines[:, 1:] > 0) != (lines[:, :-1] > 0))
        along = j + lines[i, j] / (lines[i, j] - lines[i, j + 1])
        found.extend(np.stack([i, along] if flip else [along, i], axis=1) * 2 / (SIDE - 1) - 1)
    return found
