"""One look for every figure, in a live notebook and in the static book."""

import json

import plotly.graph_objects as go
import plotly.io as pio

# Told apart by common colour-vision deficiencies, and at least 3:1 against white and near-black.
PALETTE = {"blue": "#2b8cc4", "orange": "#cf6a1d", "green": "#2f9a72", "pink": "#c8619c", "grey": "#84878c"}

# From soft to hard, cool to warm: an ordered scale of nearly equal lightness.
ORDERED = [PALETTE["blue"], "#6a82cf", "#a371bd", "#cc6391", PALETTE["orange"]]

_AXIS = dict(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.7)", title_standoff=8)

_TEMPLATE = go.layout.Template(
    layout=dict(
        colorway=list(PALETTE.values()),
        font=dict(family="system-ui, sans-serif", size=14, color=PALETTE["grey"]),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=dict(l=60, r=16, t=16, b=56),
        height=430,
        legend=dict(orientation="h", x=0, y=1.02, xanchor="left", yanchor="bottom"),
        xaxis=_AXIS,
        yaxis=_AXIS,
    )
)


class Described:
    """A plotly figure in the book's look, with a text alternative that states what it shows.

    Displayed live it is plotly's own output; in the static book it draws itself with the site's one
    copy of plotly.js, fetched on first use.

    >>> Described(go.Figure(), "An empty figure.")
    An empty figure.
    """

    def __init__(self, figure, alt):
        self.figure = figure.update_layout(template=_TEMPLATE)
        self.alt = alt

    def __repr__(self):
        return self.alt

    def _repr_mimebundle_(self, **kwargs):
        content = pio.to_json(self.figure, validate=False)
        return {
            "application/vnd.plotly.v1+json": json.loads(content),
            "text/html": self._static_html(content.replace("</", "<\\/")),
            "text/plain": self.alt,
        }

    def _static_html(self, content):
        # Scripts run in the order of the page: the first figure without a label is this one.
        height = self.figure.layout.height or _TEMPLATE.layout.height
        return f"""<div class="kd-figure" role="img" style="height:{height}px"></div>
<script type="module">
const host = document.querySelector(".kd-figure:not([aria-label])");
host.setAttribute("aria-label", {json.dumps(self.alt)});
globalThis.kdPlotly ??= new Promise((resolve) => {{
  const script = document.createElement("script");
  script.src = document.documentElement.dataset.content_root + "_static/plotly/plotly-basic.min.js";
  script.onload = resolve;
  document.head.append(script);
}});
await globalThis.kdPlotly;
const {{data, layout}} = {content};
Plotly.newPlot(host, data, layout, {{responsive: true, displayModeBar: false}});
</script>"""
