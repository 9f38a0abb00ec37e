"""The risk explorer: Theorem 1 and the power function's bound, seen as angles and as functions."""

import numpy as np

from kdlib.distillation import targets
from kdlib.explorers._base import module
from kdlib.explorers._marks import GREEN, axes, dotted, followed, polyline, scaled, still, words
from kdlib.explorers._task import NETWORK, TaskExplorer
from kdlib.risk import weight_gaps
from kdlib.students import NestedStudents


class RiskExplorer(TaskExplorer):
    r"""Transfer risk and two bounds of it, drawn while the sample, the teacher and the targets change.

    The task is :class:`StudentExplorer`'s, but hard labels agree with the teacher, as in Section 3. A student of
    ``n`` samples answers otherwise than its oracle only where :math:`|z_*(x)| < \text{gap}_n P_n(x)`, hence only
    where :math:`|z_*(x)| \le \text{gap}_n \sqrt{\Theta(x, x)}`, which is Theorem 1. Kernel, factorisation and
    all 200 students are computed in the browser.

    In a live notebook the four traits follow the sliders and drive them; ``task`` holds the data.
    In a static page the address carries the state (``#r.rho=1&r.n=40``).

    Limits:
        At ``rho = 1`` the oracle is the teacher. At ``0 < rho < 1`` the student of all 200 samples stands in
        for it, as targets jump; all bounds are then zero at n = 200. ``rho = 0`` has infinite
        targets: the students are those of the labels' signs, with logits in units of the threshold t.
        The rest is as at other ratios below 1.

    Raises:
        ValueError: rho outside [0, 1], T not positive, n outside 1..200, or an epoch at which the teacher was
            not stopped.

    >>> explorer = RiskExplorer(rho=1.0, n=40)
    >>> explorer.epoch, explorer.T
    (1024, 5.0)
    """

    _kind = "risk"
    _esm = module("risk")
    _examples = (
        ("6 samples: the curve of features enters the wedge where student and oracle disagree", {"rho": 1, "n": 6}),
        ("A teacher of 64 epochs, 50 samples: the strip is narrow, and Theorem 1 says something",
         {"rho": 1, "n": 50, "epoch": 64}),
        ("ρ = 0.9, all 200 samples: angle and bounds vanish, as the oracle is compared with itself",
         {"rho": 0.9, "n": 200}),
    )

    def picture(self):
        """Oracle, student and the band around it as a still SVG, for pages without scripts."""
        x = np.array(self.task["samples"][0])[:, None]
        grid = np.linspace(-3, 3, 193)[:, None]
        z_t = self._teacher(x)
        students = NestedStudents(x, NETWORK.ntk)
        z = targets(z_t, z_t > 0, rho=self.rho, T=self.T)
        student, last = students.predict(grid, z, [self.n, len(x)])
        oracle, norm = last, None
        if self.rho == 1:
            oracle, norm = self._teacher(grid), self.task["weight_norms"][self.task["epochs"].index(self.epoch)]
        error = weight_gaps(students, z, norm=norm)[self.n - 1] * students.distance(grid, [self.n])[0]
        reach = 1.2 * abs(oracle).max()
        at = lambda z: (300 + 93 * grid[:, 0], scaled(z, reach))
        return still(
            f"Logits against x from -3 to 3: the oracle (dotted) and a student of {self.n} samples (thick), with a "
            f"band around it (thin) that the oracle cannot leave, at rho = {self.rho:g} and T = {self.T:g}.",
            axes("M20 180H580"),
            dotted(*at(oracle)),
            followed(*at(student)),
            [polyline(*at(student + s * error), GREEN) for s in (1, -1)],
            words(30, 345, f"ρ = {self.rho:g}, T = {self.T:g}, n = {self.n}"),
        )
