"""The explorer of K classes: a teacher's answer, and whom the label beats in its converged student."""

import numpy as np
import traitlets
from jax.nn import softmax

from kdlib._checks import numeric, require, shown, temperature, whole
from kdlib.classes import beats, class_effective_logit
from kdlib.explorers._base import Explorer, module
from kdlib.explorers._marks import BLUE, GREEN, ORANGE, axes, polyline, still, words

MOST, LARGEST = 10, 500  # classes, and the size of a logit


class ClassesExplorer(Explorer):
    r"""One sample of K classes: the teacher's distribution as bars to drag, and the student that it makes.

    Bars show the teacher's probabilities :math:`q_k` at temperature ``T``, and beside them those of the student, whose
    logits are :func:`~kdlib.classes.class_effective_logit`. A line at :math:`q_y + \kappa` is the pairwise rule of
    :func:`~kdlib.classes.beats`: the label beats every class whose bar ends below it. Two more charts show the logits,
    with mean zero, and the probabilities at temperature 1.

    In a live notebook the traits ``z_t``, ``y_g``, ``rho`` and ``T`` follow the bars and sliders and drive them.
    In a static page the address carries the state (``#k.z_t=0,3,1&k.y_g=0&k.rho=0.9``), under keys of its own.

    Limits:
        ``rho = 0`` has infinite logits, which are not drawn; the probabilities are those of the limit.

    Raises:
        ValueError: z_t not 2 to 10 logits from -500 to 500; y_g not one of their classes; rho outside [0, 1]; T outside
            [1e-3, 1e6].

    >>> explorer = ClassesExplorer(z_t=[0, 3, 1], y_g=0, rho=0.9)
    >>> explorer.z_t, explorer.T
    ((0.0, 3.0, 1.0), 5.0)
    """

    _kind = "classes"
    _esm = module("classes")
    _examples = (
        ("A confident mistake, ρ = 1: the student repeats it", {"rho": 1}),
        ("ρ = 0.9: the line has passed the end of its bar, and the label wins", {"rho": 0.9}),
        ("In doubt between many, but a little surer of one: this one wins",
         {"z_t": [9 * (k == 6) for k in range(MOST)]}),
        ("Torn between this one and another: neither is sure enough against the label",
         {"z_t": [9 * (k in (3, 6)) for k in range(MOST)]}),
        ("T = 1: the label rises, and the wrong classes keep the teacher’s ratios", {"rho": 0.5, "T": 1}),
        ("T = 5: they draw together, and keep their order", {"rho": 0.5}),
    )

    # Confident and wrong, as the page's button of this name has it.
    z_t = traitlets.Any((0.0, 5.0, 1.6, 0.4, 3.2, 2.0, 12.0, 3.6, 2.4, 1.2)).tag(sync=True, page=True)
    y_g = traitlets.Any(1).tag(sync=True, page=True)
    rho = traitlets.Any(0.95).tag(sync=True, page=True)

    @traitlets.validate("z_t")
    def _logits(self, proposal):
        z_t = numeric("z_t", proposal.value)
        if z_t.ndim != 1 or not 2 <= len(z_t) <= MOST:
            raise ValueError(f"z_t must hold 2 to {MOST} logits, got {shown(proposal.value)}: give one for each class")
        _class(self.y_g, z_t)
        require("z_t", z_t, f"lie between {-LARGEST} and {LARGEST}", lambda z: abs(z) <= LARGEST,
                "larger ones are not drawn")
        return tuple(z_t.tolist())

    @traitlets.validate("y_g")
    def _label(self, proposal):
        return _class(proposal.value, self.z_t)

    @traitlets.validate("T")
    def _temperature(self, proposal):
        require("T", temperature("T", proposal.value), "lie between 1e-3 and 1e6", lambda T: (T >= 1e-3) & (T <= 1e6),
                "beyond, digits of the logits are lost")
        return float(proposal.value)

    def picture(self):
        """The bars and the threshold as a still SVG, for pages without scripts."""
        z_t, y, rho, T = np.array(self.z_t), self.y_g, self.rho, self.T
        z = np.asarray(class_effective_logit(z_t, y, rho=rho, T=T))
        q = np.asarray(softmax(z_t / T))
        s = np.asarray(softmax(z / T)) if rho > 0 else np.eye(len(q))[y]
        beaten = np.asarray(beats(z_t, y, rho=rho, T=T))
        kappa = T * (1 - rho) / rho if rho > 0 else np.inf
        width, up = 540 / len(q), lambda p: 310 - 280 * p

        def bar(k, p, start, style):
            return f'<rect x="{40 + width * (k + start):.1f}" y="{up(p):.1f}" width="{0.38 * width:.1f}" ' \
                   f'height="{280 * p:.1f}" {style}/>'

        styles = np.where(beaten, 'fill="currentColor" opacity=".4"', f'fill="{ORANGE}"')
        styles[y] = f'fill="{BLUE}"'
        drawn = [bar(k, q[k], 0.1, styles[k]) + bar(k, s[k], 0.52, f'fill="{GREEN}"')
                 + words(round(40 + width * (k + 0.5), 1), 328, k, "middle") for k in range(len(q))]
        line = polyline([40, 580], [up(q[y] + kappa)] * 2, ORANGE, 2, "8 4")
        ahead = ", ".join(map(str, np.flatnonzero(~beaten))) or "none"
        return still(
            f"Probabilities of the classes at temperature {T:g}, teacher’s and student’s, for the label {y} at "
            f"rho = {rho:g}. Classes that the label does not beat: {ahead}.",
            axes("M40 310H580"),
            drawn,
            line if q[y] + kappa <= 1 else "",
            words(40, 350, f"ρ = {rho:g}, T = {T:g}"),
            words(580, 350, "class", "end"),
        )


def _class(y_g, z_t):
    return whole("y_g", y_g, 0, len(z_t) - 1, "the classes are those of z_t, from 0; set y_g before a shorter z_t")
