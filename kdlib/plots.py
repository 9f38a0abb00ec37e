"""One look for every figure, and the renderer that puts plotly's figures into the static book."""

import json
from itertools import count

import plotly.graph_objects as go
import plotly.io as pio

# Told apart by common colour-vision deficiencies, and at least 3:1 against white and near-black.
PALETTE = {"blue": "#2b8cc4", "orange": "#cf6a1d", "green": "#2f9a72", "pink": "#c8619c", "grey": "#84878c"}

# From soft to hard, cool to warm: an ordered scale of equal lightness, read with the legend.
ORDERED = ["#2b8cc4", "#6a82cf", "#a371bd", "#cc6391", "#cf6a1d"]

_number = count(1)


def use():
    """Make the book's theme and renderer plotly's defaults."""
    pio.templates["kdlib"] = go.layout.Template(
        layout=dict(
            colorway=list(PALETTE.values()),
            font=dict(family="system-ui, sans-serif", size=14, color="#84878c"),
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            margin=dict(l=60, r=16, t=16, b=56),
            height=420,
            hovermode="closest",
            legend=dict(orientation="h", x=0, y=1.02, xanchor="left", yanchor="bottom"),
            xaxis=_AXIS,
            yaxis=_AXIS,
        )
    )
    pio.templates.default = "kdlib"
    pio.renderers["kdlib"] = _BookRenderer()
    pio.renderers.default = "kdlib"


_AXIS = dict(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.7)", ticks="", title_standoff=8)


def described(figure, alt):
    """Attach a text alternative that states what the figure shows."""
    return figure.update_layout(meta={"alt": alt})


class _BookRenderer(pio.base_renderers.MimetypeRenderer):
    """Plotly's own mimetype for live notebooks, and HTML that draws itself in a static page."""

    def to_mimebundle(self, figure):
        bundle = super().to_mimebundle(figure)
        return {**bundle, "text/html": figure_html(bundle["application/vnd.plotly.v1+json"])}


def figure_html(figure):
    """A figure as an HTML fragment that loads the site's one plotly bundle, once, on first use."""
    name = f"kd-figure-{next(_number)}"
    meta = figure["layout"].get("meta") or {}
    alt = meta.get("alt")
    if not alt:
        raise ValueError("a figure must state what it shows, got no text: call plots.described(figure, alt)")
    height = figure["layout"].get("height") or pio.templates["kdlib"].layout.height
    content = json.dumps({"data": figure["data"], "layout": figure["layout"]}).replace("</", "<\\/")
    return f"""<div class="kd-figure" id="{name}" role="img" style="height:{height}px"></div>
<script type="module">
const figure = {content};
const host = document.getElementById("{name}");
host.setAttribute("aria-label", figure.layout.meta.alt);
globalThis.plotlyLoaded ??= new Promise((resolve) => {{
  const script = document.createElement("script");
  script.src = document.documentElement.dataset.content_root + "_static/plotly/plotly-basic.min.js";
  script.onload = resolve;
  document.head.append(script);
}});
await globalThis.plotlyLoaded;
Plotly.newPlot(host, figure.data, figure.layout, {{responsive: true, displayModeBar: false}});
</script>"""
