"""The effective-logit explorer: sliders for rho, T and z_t, with Eq. 3 solved where it is shown."""

from itertools import count
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from kdlib._checks import require_logits, require_ratios, require_temperature
from kdlib.distillation import effective_logit

_HERE = Path(__file__).parent
_number = count(1)


class EffectiveLogitExplorer(anywidget.AnyWidget):
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

    _esm = _HERE / "effective_logit.js"
    _css = _HERE / "explorer.css"

    rho = traitlets.CFloat(0.5).tag(sync=True)
    T = traitlets.CFloat(5.0).tag(sync=True)
    z_t = traitlets.CFloat(-2.0).tag(sync=True)

    @traitlets.validate("rho")
    def _ratio(self, proposal):
        require_ratios(rho=proposal.value)
        return proposal.value

    @traitlets.validate("T")
    def _temperature(self, proposal):
        require_temperature(proposal.value)
        return proposal.value

    @traitlets.validate("z_t")
    def _logit(self, proposal):
        require_logits(z_t=proposal.value)
        return proposal.value

    def _repr_mimebundle_(self, **kwargs):
        bundle, *rest = super()._repr_mimebundle_(**kwargs)
        return ({**bundle, "text/html": self.static_html()}, *rest)

    def static_html(self):
        """The explorer as a fragment of a page that has no kernel and makes no request."""
        module = (_HERE / "effective_logit.js").read_text()
        style = (_HERE / "explorer.css").read_text()
        name = f"effective-logit-{next(_number)}"
        state = f"{{rho: {self.rho!r}, T: {self.T!r}, z_t: {self.z_t!r}}}"
        return (
            f"<style>{style}</style>\n"
            f'<div class="kd-explorer" id="{name}"></div>\n'
            f"<noscript>{self.picture()}</noscript>\n"
            f'<script type="module">\n{module}\n'
            f'mount(document.getElementById("{name}"), addressModel({state}));\n</script>'
        )

    def picture(self):
        """The curves as a still SVG, for pages without scripts."""
        z_t = np.linspace(0, 10, 81)

        def curve(y_g, attributes):
            z = np.clip(effective_logit(z_t, y_g, rho=self.rho, T=self.T), -12, 12)
            halves = (
                " ".join(f"{300 + 28 * sign * a:.1f},{180 - 14 * sign * b:.1f}" for a, b in zip(z_t, z, strict=True))
                for sign in (1, -1)
            )
            return "".join(f'<polyline fill="none" stroke-width="2.5" {attributes} points="{h}"/>' for h in halves)

        return (
            f'<svg class="kd-still" viewBox="0 0 600 360" role="img" aria-label="Effective student logit against the '
            f'teacher’s logit from -10 to 10, at rho = {self.rho:g} and T = {self.T:g}. '
            'Solid: right teacher; dashed: wrong teacher.">'
            '<path d="M20 180H580M300 12V348" stroke="currentColor" opacity=".5"/>'
            + curve(1, 'stroke="#2b8cc4"')
            + curve(0, 'stroke="#cf6a1d" stroke-dasharray="8 4"')
            + f'<text x="30" y="30" fill="currentColor">ρ = {self.rho:g}, T = {self.T:g}</text>'
            '<text x="570" y="200" text-anchor="end" fill="currentColor">teacher’s logit</text></svg>'
        )
