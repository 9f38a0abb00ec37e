"""The effective-logit explorer: sliders for rho, T and z_t, with Eq. 3 solved where it is shown."""

import numpy as np
import traitlets

from kdlib._checks import real
from kdlib.distillation import effective_logit
from kdlib.explorers._base import Explorer, module, polyline


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
    _esm = module("distillation", "page", "effective_logit")

    z_t = traitlets.Any(-2.0).tag(sync=True, page=True)

    @traitlets.validate("z_t")
    def _logit(self, proposal):
        return real("z_t", proposal.value)

    def picture(self):
        """The curves as a still SVG, for pages without scripts."""
        z_t = np.linspace(0, 10, 81)

        def curve(y_g, style):
            z = np.clip(effective_logit(z_t, y_g, rho=self.rho, T=self.T), -12, 12)
            return "".join(polyline(300 + 28 * s * z_t, 180 - 14 * s * z, style) for s in (1, -1))

        return (
            f'<svg class="kd-still" viewBox="0 0 600 360" role="img" aria-label="Effective student logit against the '
            f'teacher’s logit from -10 to 10, at rho = {self.rho:g} and T = {self.T:g}. '
            'Solid: right teacher; dashed: wrong teacher.">'
            '<path d="M20 180H580M300 12V348" stroke="currentColor" opacity=".5"/>'
            + curve(1, 'stroke="#2b8cc4" stroke-width="2.5"')
            + curve(0, 'stroke="#cf6a1d" stroke-width="2.5" stroke-dasharray="8 4"')
            + f'<text x="30" y="30" fill="currentColor">ρ = {self.rho:g}, T = {self.T:g}</text>'
            '<text x="570" y="200" text-anchor="end" fill="currentColor">teacher’s logit</text></svg>'
        )
