"""The student explorer: a 1-D task, a teacher stopped early, and the student that converges on its answers."""

import numpy as np
import traitlets

from kdlib._checks import whole
from kdlib.distillation import targets
from kdlib.explorers._base import module
from kdlib.explorers._marks import axes, dotted, followed, mark, scaled, still, words
from kdlib.explorers._task import DRAWS, NETWORK, TaskExplorer, labels
from kdlib.students import NestedStudents


class StudentExplorer(TaskExplorer):
    r"""The converged student of an infinitely wide network, drawn while its teacher and its data change.

    The task is one-dimensional and our choice. A teacher of 60 hard labels stops at ``epoch``; a
    student learns from the first ``n`` samples of a ``draw``, at soft ratio ``rho`` and
    temperature ``T``. Kernel, Cholesky factorisation and student are computed in the browser.

    In a live notebook the five traits follow the sliders and drive them; ``task`` holds the data.
    In a static page the address carries the state (``#s.rho=0.3&s.n=40``), under keys of its own,
    so that the page may hold an :class:`EffectiveLogitExplorer` too.

    Limits:
        ``rho = 0`` has infinite targets: the student is that of the labels' signs, and its picture in units of the
        threshold t.

    Raises:
        ValueError: rho outside [0, 1], T not positive, n outside 1..200, draw outside 1..6, or an
            epoch at which the teacher was not stopped.

    >>> explorer = StudentExplorer(rho=0.3, n=40)
    >>> explorer.epoch, explorer.draw
    (1024, 1)
    """

    _kind = "student"
    _esm = module("student")
    _draws = DRAWS
    _examples = (
        ("3 samples: the student errs more often than its teacher", {"n": 3}),
        ("20 samples: hard labels correct the teacher in places, and the student is ahead", {"n": 20}),
        ("200 samples: it is far ahead, and the length of its weights still grows", {"n": 200}),
        ("ρ = 1: that length settles under the teacher’s, and the teacher’s errors return", {"rho": 1, "n": 200}),
    )

    draw = traitlets.Any(1).tag(sync=True, page=True)

    @traitlets.validate("draw")
    def _draw(self, proposal):
        return whole("draw", proposal.value, 1, DRAWS, "so many draws were made")

    def picture(self):
        """Truth, teacher, targets and student as a still SVG, for pages without scripts."""
        task = self.task
        x = np.array(task["samples"][self.draw - 1])[: self.n, None]
        grid = np.linspace(-3, 3, 193)[:, None]
        teacher, z_t = self._teacher(grid), self._teacher(x)
        y_g = labels(x[:, 0], task["boundaries"])
        z = np.asarray(targets(z_t, y_g, rho=self.rho, T=self.T))
        student = NestedStudents(x, NETWORK.ntk).predict(grid, z, [self.n])[0]

        reach = max(12, abs(teacher).max(), *abs(z)) if self.rho > 0 else 1.6
        across = lambda x: 300 + 93 * x
        up = lambda z: scaled(z, reach)
        drawn = [dotted(across(grid[:, 0]), up(teacher))] if self.rho > 0 else []
        drawn.append(followed(across(grid[:, 0]), up(student)))
        drawn.extend(map(mark, across(x[:, 0]), up(z), (z_t > 0) == y_g))
        ends = [*task["boundaries"], 3]
        truth = "".join(f"M{across(a):.1f} 16H{across(b):.1f}" for a, b in zip(ends[::2], ends[1::2], strict=True))
        return still(
            f"Logits against x from -3 to 3: a student of {self.n} samples (solid) and its teacher, stopped after "
            f"{self.epoch} epochs (dotted), at rho = {self.rho:g} and T = {self.T:g}. Targets: dots, or crosses where "
            "the teacher is wrong.",
            f'<path d="{truth}" stroke="currentColor" stroke-width="6"/>',
            axes("M20 180H580"),
            drawn,
            words(30, 345, f"ρ = {self.rho:g}, T = {self.T:g}, n = {self.n}"),
            words(570, 345, "bar on top: class 1", "end"),
        )
