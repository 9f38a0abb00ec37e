"""One look for every figure, in a live notebook and in the static book."""

import json
from hashlib import sha256

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from kdlib._still import GREY, drawing, image
from kdlib.statistics import mean_error

# Told apart by common colour-vision deficiencies, and at least 3:1 against white and near-black.
PALETTE = {"blue": "#2b8cc4", "orange": "#cf6a1d", "green": "#2f9a72", "pink": "#c8619c", "grey": GREY}

# From soft to hard, cool to warm: an ordered scale of nearly equal lightness.
ORDERED = [PALETTE["blue"], "#6a82cf", "#a371bd", "#cc6391", PALETTE["orange"]]

_AXIS = dict(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.7)", title_standoff=8)

_TEMPLATE = go.layout.Template(
    layout=dict(
        colorway=list(PALETTE.values()),
        font=dict(family="system-ui, sans-serif", size=14, color=PALETTE["grey"]),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=dict(l=66, r=16, t=16, b=56),
        height=430,
        legend=dict(orientation="h", x=0, y=1.02, xanchor="left", yanchor="bottom"),
        xaxis=_AXIS,
        yaxis=_AXIS,
    )
)


class Described:
    """A plotly figure in the book's look, with a text alternative that states what it shows.

    Displayed live it is plotly's own output. In a page it is a still picture, until, in the book, it draws
    itself with the site's one copy of plotly.js, fetched on first use.

    Raises:
        TypeError: when displayed, if the figure has other traces than scatter, of which there is no still picture.

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
            "text/html": self._html(content.replace("</", "<\\/")),
            "text/plain": self.alt,
        }

    def _html(self, content):
        height = self.figure.layout.height or _TEMPLATE.layout.height
        still = image(drawing(self.figure), self.alt, "width:100%;height:100%;object-fit:contain")
        name = sha256(content.encode()).hexdigest()[:12]
        return f"""<div class="kd-figure" data-figure="{name}" style="height:{height}px">{still}</div>
<script type="module">
const root = document.documentElement.dataset.content_root; // of the book's pages
if (root !== undefined) {{
  await (globalThis.kdPlotly ??= new Promise((resolve) => {{
    const script = document.createElement("script");
    script.src = root + "_static/plotly/plotly-basic.min.js";
    script.onload = resolve;
    document.head.append(script);
  }}));
  const host = document.querySelector('[data-figure="{name}"]:has(.kd-still)');
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", host.firstChild.alt);
  host.still = host.firstChild; // for whoever wants the picture
  host.replaceChildren();
  const {{data, layout}} = {content};
  if (host.clientWidth && host.clientWidth < 480) {{ // on a phone, smaller letters
    Object.assign(layout, {{font: {{...layout.font, size: 12}}, margin: {{l: 54, r: 8, ...layout.margin}}}});
    for (const note of layout.annotations ?? []) note.font = {{...note.font, size: 13}};
  }}
  Plotly.newPlot(host, data, layout, {{displayModeBar: false}});
  new ResizeObserver(() => {{ // its place may change without the window
    const {{width}} = host._fullLayout ?? {{}};
    if (width && host.clientWidth && width !== host.clientWidth) Plotly.Plots.resize(host);
  }}).observe(host);
}}
</script>"""


def stacked(titles, height, *, x_title="number of samples n", **layout):
    """Panels one above the other, with one x axis and a legend on top."""
    figure = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, subplot_titles=titles,
                           vertical_spacing=0.25 / (len(titles) + 1))  # fmt: skip
    figure.update_xaxes(title=x_title, row=len(titles), col=1)
    above = 26 / (height - 130)  # room for the title of the first panel, as a share of all panels
    return figure.update_layout(height=height, legend_y=1 + above, **layout)


def log_axis(*values, **more):
    """A logarithmic axis with ticks at these values, in plain notation."""
    return dict(type="log", tickvals=list(values), ticktext=[f"{value:g}" for value in values], **more)


def band(figure, x, runs, color, name, *, row=None, errors=1, legend=True, log=False, **line):
    """The mean over runs as a line, and a band of some standard errors about it.

    Args:
        figure: of plotly, or of :func:`stacked`.
        x: where; runs: their values there, one row for each run.
        row: of a stacked figure.
        errors: half the width of the band, in standard errors.
        legend: whether the line has an entry there.
        log: whether the y axis is logarithmic: then means of 0 are left out, and the band ends at a fifth of the mean.
        line: of plotly, such as ``dash="dot"``.

    >>> figure = band(go.Figure(), [1, 2], [[1.0, 2.0], [3.0, 2.0]], "#2b8cc4", "means")
    >>> figure.data[1].y.tolist(), figure.data[0].y
    ([2.0, 2.0], (3.0, 2.0, 2.0, 1.0))
    """
    x, (mean, error) = np.asarray(x), mean_error(runs)
    low, high = mean - errors * error, mean + errors * error
    if log:
        x, mean, low, high = (values[mean > 0] for values in (x, mean, np.maximum(low, mean / 5), high))
    place = dict(row=row, col=1) if row else {}
    figure.add_scatter(x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=color, opacity=0.15,
                       line=dict(width=0), mode="lines", hoverinfo="skip", name=name, legendgroup=name,
                       showlegend=False, **place)
    figure.add_scatter(x=x, y=mean, mode="lines", name=name, legendgroup=name, showlegend=legend,
                       line=dict(color=color, width=2.5) | line, **place)
    return figure


def label(figure, x, y, text, *, row=None, place="top right"):
    """Words at a point, such as the name of the curve that passes there, which then needs no legend.

    Args:
        figure: of plotly, or of :func:`stacked`.
        x: the point, as the axes count; y: likewise.
        text: the words.
        row: of a stacked figure.
        place: where the words stand, seen from the point: top, middle or bottom, then left, center or right.

    >>> label(go.Figure(), 100, 0.5, "hard labels").data[0].mode
    'text'
    """
    where = dict(row=row, col=1) if row else {}
    return figure.add_scatter(x=[x], y=[y], text=[text], mode="text", textposition=place, hoverinfo="skip",
                              showlegend=False, **where)


def say(**values):
    """Numbers for the prose: each glued under its name, underscores read as hyphens."""
    from myst_nb import glue

    for name, value in values.items():
        plain = value.item() if hasattr(value, "item") else value
        glue(name.replace("_", "-"), plain, display=False)
