"""The effective-logit explorer: sliders for rho, T and z_t, with Eq. 3 solved where it is shown."""

import numpy as np
import traitlets

from kdlib._checks import real
from kdlib.distillation import effective_logit
from kdlib.explorers._base import Explorer, module
from kdlib.explorers._marks import BLUE, ORANGE, axes, polyline, still, words


class EffectiveLogitExplorer(Explorer):
    """Effective logits of right and wrong teachers, as functions of rho and T.

    In a live notebook the traits ``rho``, ``T`` and ``z_t`` follow the sliders and drive them.
    Rendered into a static page the same module solves Eq. 3 in the browser, and the page's
    address carries the state (``#rho=0.3&T=2``).

    Raises:
        ValueError: rho outside [0, 1], T not positive, or a logit that is not finite.

    >>> explorer = EffectiveLogitExplorer(rho=0.3, T=2.0)
    >>> explorer.T
    2.0
    """

    _kind = "effective-logit"
    _esm = module("effective_logit")
    _examples = (
        ("T = 1, ρ = 0.5: the teacher is wrong and sure, and its student still right", {"T": 1, "z_t": -10}),
        ("ρ a little larger: the same teacher is believed", {"rho": 0.55, "T": 1, "z_t": -10}),
        ("ρ = 0.9, T = 5: a teacher that is wrong and unsure is corrected", {"rho": 0.9, "z_t": -4}),
        ("ρ = 1: the student copies its teacher, right or wrong", {"rho": 1}),
    )

    z_t = traitlets.Any(-2.0).tag(sync=True, page=True)

    @traitlets.validate("z_t")
    def _logit(self, proposal):
        return real("z_t", proposal.value)

    def picture(self):
        """The curves as a still SVG, for pages without scripts."""
        z_t = np.linspace(0, 10, 81)

        def curve(y_g, **style):
            z = np.clip(effective_logit(z_t, y_g, rho=self.rho, T=self.T), -12, 12)
            return [polyline(300 + 28 * s * z_t, 180 - 14 * s * z, **style) for s in (1, -1)]

        return still(
            f"Effective student logit against the teacher’s logit from -10 to 10, at rho = {self.rho:g} and "
            f"T = {self.T:g}. Solid: right teacher; dashed: wrong teacher.",
            axes("M20 180H580M300 12V348"),
            curve(1, color=BLUE, width=2.5),
            curve(0, color=ORANGE, width=2.5, dash="8 4"),
            words(30, 30, f"ρ = {self.rho:g}, T = {self.T:g}"),
            words(570, 200, "teacher’s logit", "end"),
        )
