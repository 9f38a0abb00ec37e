"""What the explorers share: a life without a kernel, and most of them the soft ratio and the temperature."""

import json
from pathlib import Path

import anywidget
import traitlets

from kdlib._checks import ratio, temperature

_HERE = Path(__file__).parent


def module(*pieces):
    """One ES module from pieces of JavaScript, each of which may use those before it."""
    return "\n".join((_HERE / f"{piece}.js").read_text("utf-8") for piece in pieces)


def polyline(x, y, style):
    """A curve in a still SVG."""
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline fill="none" {style} points="{points}"/>'


class Embedded(anywidget.AnyWidget):
    """A figure or a form that computes where it is shown.

    A subclass names its kind, as its module does, and the module, ``_esm``; it tags with ``page=True``
    the traits that a static page needs to begin with.
    """

    _kind = ""

    _css = (_HERE / "explorer.css").read_text("utf-8")

    def _repr_mimebundle_(self, **kwargs):
        bundle, *rest = super()._repr_mimebundle_(**kwargs)
        return ({**bundle, "text/html": self.static_html()}, *rest)

    def static_html(self):
        """What is shown, as a fragment of a page that has no kernel and makes no request."""
        state = json.dumps(self.trait_values(page=True), separators=(",", ":"))
        return (
            f"<style>{self._css}</style>\n"
            f'<div class="kd-explorer kd-{self._kind}"></div>\n'
            f"<noscript>{self.picture()}</noscript>\n"
            f'<script type="module">\n{self._esm}\n'
            f'mount(document.querySelector(".kd-{self._kind}:empty"), {state});\n</script>'
        )

    def picture(self):
        """A still picture of the present state, for pages without scripts."""
        raise NotImplementedError


class Explorer(Embedded):
    """A figure with sliders, among them the soft ratio and the temperature."""

    rho = traitlets.Any(0.5).tag(sync=True, page=True)
    T = traitlets.Any(5.0).tag(sync=True, page=True)

    @traitlets.validate("rho")
    def _ratio(self, proposal):
        return ratio("rho", proposal.value)

    @traitlets.validate("T")
    def _temperature(self, proposal):
        return temperature(proposal.value)
