"""Still pictures, for viewers that run no scripts: an SVG of a figure's curves, bands and points, and its `<img>`."""

import re
from html import escape
from urllib.parse import quote

import numpy as np

GREY = "#84878c"  # at least 3:1 against white and near-black
WIDTH = 720
LINE = 20  # the height of a line of text
DASHES = {"dot": "2 4", "dash": "8 5", "dashdot": "8 4 2 4", "longdash": "12 6"}


def image(svg, alt, style="width:100%"):
    """An SVG as an image that carries its own source, which viewers show where they refuse scripts and inline SVG.

    What is drawn in `currentColor` is grey there, which is legible on light and dark.
    """
    rooted = svg.replace("<svg ", f"<svg xmlns='http://www.w3.org/2000/svg' color='{GREY}' ", 1)
    source = quote(rooted.replace('"', "'"), safe=" ='/:;,.()!*-+")
    return f'<img class="kd-still" alt="{escape(alt)}" style="{style}" src="data:image/svg+xml,{source}">'


def drawing(figure):
    """A plotly figure of scatter traces as an SVG: axes, lines, markers, bands, bars of errors, words, a legend.

    Raises:
        TypeError: for traces of other kinds.

    >>> import plotly.graph_objects as go
    >>> drawing(go.Figure(go.Scatter(x=[1, 2], y=[3, 4], mode="lines")))[:31]
    '<svg viewBox="0 0 720 430" font'
    """
    for trace in figure.data:
        if trace.type != "scatter":
            raise TypeError(f"a still picture needs scatter traces, got {trace.type}: teach kdlib/_still.py to draw it")
    layout, usual = figure.layout, figure.layout.template.layout
    colors = usual.colorway or [GREY]
    styled = [(trace, _color(trace) or colors[i % len(colors)]) for i, trace in enumerate(figure.data)
              if trace.visible is not False]
    height = layout.height or usual.height or 430
    margin = lambda side: layout.margin[side] or usual.margin[side] or 40

    legends = {name: _legend([each for each in styled if (each[0].legend or "legend") == name], len(styled))
               for name in ("legend", "legend2")}
    titles = LINE if any(note.y and note.y > 0.99 for note in layout.annotations) else 0
    top = max(margin("t"), len(legends["legend"]) * LINE + titles + 8)
    left, right, bottom = margin("l") + 12, WIDTH - max(margin("r"), 24), height - margin("b")
    across = lambda share: left + share * (right - left)
    up = lambda share: bottom - share * (bottom - top)

    axes = {}
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        letter, number = re.match(r"([xy])axis(\d*)", axis.plotly_name).groups()
        axes[letter + number] = _Axis(letter, axis, across if letter == "x" else up)
    for trace, _ in styled:
        for letter, name in (("x", trace.xaxis or "x"), ("y", trace.yaxis or "y")):
            axis = axes.setdefault(name, _Axis(letter, layout[f"{letter}axis"], across if letter == "x" else up))
            axis.sees(getattr(trace, letter), getattr(trace, f"error_{letter}").array)
            axis.margin = max(axis.margin, 0.05 * ("markers" in _mode(trace)))
    for shape in layout.shapes:
        for name, values in ((shape.xref, [shape.x0, shape.x1]), (shape.yref, [shape.y0, shape.y1])):
            if name in axes:
                axes[name].sees(values)
    for axis in axes.values():  # panels that share an axis show one range
        if first := axes.get(axis.matches):
            first.seen, first.margin = first.seen + axis.seen, max(first.margin, axis.margin)
    for axis in axes.values():
        axis.settle(axes.get(axis.matches, axis))

    parts = []
    for y_name, y in axes.items():
        if y_name[0] == "y":
            x_name = y.anchor if y.anchor in axes else "x"
            x = axes[x_name]
            parts += _frame(x, y)
            inside = [_curve(trace, color, x, y) for trace, color in styled if (trace.yaxis or "y") == y_name]
            left_, top_, wide, high = x.start, y.end, x.end - x.start, y.start - y.end
            place = f'x="{left_:.0f}" y="{top_:.0f}" width="{wide:.0f}" height="{high:.0f}"'
            parts.append(f'<svg {place} viewBox="{left_:.0f} {top_:.0f} {wide:.0f} {high:.0f}">{"".join(inside)}</svg>')
    parts += [_shape(shape, axes, across, up) for shape in layout.shapes]
    parts += [_text(across(note.x), up(note.y) - 5, note.text, "middle") for note in layout.annotations if note.text]
    for rows, first in ((legends["legend"], 0), (legends["legend2"], height - LINE * len(legends["legend2"]) - 6)):
        parts += [entry(left + x, first + LINE * (i + 0.7)) for i, row in enumerate(rows) for x, entry in row]
    look = f'font-family="system-ui, sans-serif" font-size="14" fill="{GREY}"'
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" {look}>{"".join(parts)}</svg>'


def _color(trace):
    return trace.line.color or trace.marker.color


def _mode(trace):
    return trace.mode or ("lines+markers" if len(trace.x) < 20 else "lines")


# --- Axes -----------------------------------------------------------------------------------------


class _Axis:
    """Where values stand along one side of a panel, and what is written there."""

    def __init__(self, letter, axis, place):
        self.letter, self.axis, self.log = letter, axis, axis.type == "log"
        self.matches, self.anchor = axis.matches, axis.anchor
        self.start, self.end = map(place, axis.domain or (0, 1))
        self.seen, self.margin = [], 0.05 if letter == "y" else 0

    def on_scale(self, values):
        """Values as the axis counts them, with NaN where there is none."""
        values = np.array(values, float)
        if not self.log:
            return values
        return np.log10(values, where=values > 0, out=np.full(values.shape, np.nan))

    def sees(self, values, errors=None):
        values = np.array(values, float)
        errors = 0 if errors is None else np.nan_to_num(np.array(errors, float))
        both = self.on_scale(np.concatenate([values - errors, values + errors]))
        self.seen += both[np.isfinite(both)].tolist()

    def settle(self, first):
        """The range: the one that is asked for, or what is seen at this axis, or the first that it goes with."""
        low, high = (min(first.seen), max(first.seen)) if first.seen else (0, 1)
        if self.axis.rangemode == "tozero":
            low, high = min(low, 0), max(high, 0)
        if low == high:
            low, high = low - 1, high + 1
        pad = first.margin * (high - low)
        self.low, self.high = self.axis.range or (low - pad * (low != 0 or self.axis.rangemode is None), high + pad)

    def __call__(self, values):
        """Pixels."""
        return self.start + (self.on_scale(values) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        """Values and their labels, within the range."""
        values, labels = self.axis.tickvals, self.axis.ticktext
        if values is None and self.log:
            values = 10.0 ** np.arange(np.ceil(self.low), np.floor(self.high) + 1)
            labels = [f"10<sup>{np.log10(value):.0f}</sup>" for value in values]
        elif values is None:
            rough = (self.high - self.low) / max(3, abs(self.end - self.start) / 70)
            steps = np.array([1, 2, 5, 10]) * 10 ** np.floor(np.log10(rough))
            step = steps[abs(np.log(steps / rough)).argmin()]
            values = np.arange(np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9) + 1) * step
        if labels is None:
            labels = [format(value or 0, self.axis.tickformat or ".6g").replace("-", "−") for value in values]
        inside = (self.on_scale(values) - self.low) / (self.high - self.low)
        every = zip(values, labels, inside, strict=True)
        return [(value, label) for value, label, share in every if -1e-6 < share < 1 + 1e-6]

    def grid(self, value):
        zero = value == 0 and self.axis.zeroline is not False
        return f'stroke="{GREY}" stroke-opacity="{0.7 if zero else 0.25}"'


def _frame(x, y):
    """Grid lines, labels of ticks and the titles of a panel's two axes."""
    middle = (y.start + y.end) / 2
    labelled = x.axis.showticklabels is not False
    for value, label in x.ticks():
        at = float(x(value))
        yield f'<path d="M{at:.1f} {y.start:.0f}V{y.end:.0f}" {x.grid(value)}/>'
        if labelled:
            yield _text(at, y.start + 18, label, "middle")
    for value, label in y.ticks():
        at = float(y(value))
        yield f'<path d="M{x.start:.0f} {at:.1f}H{x.end:.0f}" {y.grid(value)}/>'
        yield _text(x.start - 6, at + 5, label, "end")
    if x.axis.title.text:
        yield _text((x.start + x.end) / 2, y.start + 42, x.axis.title.text, "middle")
    if y.axis.title.text:
        yield _text(14, middle, y.axis.title.text, "middle", f' transform="rotate(-90 14 {middle:.0f})"')


def _text(x, y, text, anchor="start", more=""):
    """Text with plotly's two tags, of which SVG has none."""
    plain = escape(text, quote=False)
    for tag, shift in (("sub", 4), ("sup", -5)):
        plain = re.sub(rf"&lt;{tag}&gt;(.*?)&lt;/{tag}&gt;([^<&]*)",
                       rf'<tspan dy="{shift}" font-size="10">\1</tspan><tspan dy="{-shift}">\2</tspan>', plain)
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{more}>{plain}</text>'


# --- What is drawn in a panel --------------------------------------------------------------------

_DOWN = {"top": -6, "middle": 5, "bottom": 17}  # of words from their point, in pixels
_ASIDE = {"left": ("end", -6), "center": ("middle", 0), "right": ("start", 6)}


def _curve(trace, color, x, y):
    """A trace's band, line, bars of errors, markers and words."""
    points = np.stack([x(trace.x), y(trace.y)], axis=1)
    if trace.line.shape == "hv":
        points = np.repeat(points, 2, axis=0)
        points = np.stack([points[1:, 0], points[:-1, 1]], axis=1)
    opacity = f' opacity="{trace.opacity:g}"' if trace.opacity is not None else ""
    if trace.fill:
        return f'<path d="{_path(points)}Z" fill="{trace.fillcolor or color}"{opacity}/>'
    drawn = ""
    if "lines" in _mode(trace):
        drawn += f'<path d="{_path(points)}" {_stroke(trace.line, color)}{opacity}/>'
    for letter, axis in (("x", x), ("y", y)):
        bar = getattr(trace, f"error_{letter}")
        if bar.array is None:
            continue
        values, errors = np.array(getattr(trace, letter), float), np.nan_to_num(np.array(bar.array, float))
        ends = zip(points[:, int(letter == "x")], axis(values - errors), axis(values + errors), strict=True)
        path = "M{1:.1f} {0:.1f}H{2:.1f}" if letter == "x" else "M{0:.1f} {1:.1f}V{2:.1f}"
        bars = "".join(path.format(*each) for each in ends if np.isfinite(each).all())
        drawn += f'<path d="{bars}" stroke="{bar.color or color}" stroke-width="{bar.thickness or 2:g}"/>'
    if "markers" in _mode(trace):
        marks = "".join(_mark(trace.marker, a, b) for a, b in points if np.isfinite([a, b]).all())
        drawn += _marked(trace.marker, trace.marker.color or color, marks)
    if "text" in _mode(trace):
        vertical, _, side = (trace.textposition or "middle center").partition(" ")
        down, (anchor, aside) = _DOWN[vertical], _ASIDE[side]
        words = [trace.text] * len(points) if isinstance(trace.text, str) else trace.text
        drawn += "".join(_text(a + aside, b + down, each, anchor) for (a, b), each in zip(points, words, strict=True))
    return drawn


def _path(points):
    """Path data, with gaps where a point is missing."""
    known = np.isfinite(points).all(axis=1)
    runs = np.split(points, np.flatnonzero(np.diff(known)) + 1) if len(points) else []
    lines = (_thinned(run) for run in runs if np.isfinite(run).all())
    return "".join("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in line) for line in lines)


def _thinned(points, tolerance=0.4):
    """Douglas and Peucker's choice of points, from whose polygon none is further away than this many pixels."""
    if len(points) < 3:
        return points
    chord, away = points[-1] - points[0], points - points[0]
    length = np.hypot(*chord)
    distance = abs(chord[0] * away[:, 1] - chord[1] * away[:, 0]) / length if length else np.hypot(*away.T)
    far = distance.argmax()
    if distance[far] <= tolerance:
        return points[[0, -1]]
    return np.concatenate([_thinned(points[: far + 1])[:-1], _thinned(points[far:])])


def _stroke(line, color):
    dash = f' stroke-dasharray="{DASHES[line.dash]}"' if line.dash in DASHES else ""
    width = 2 if line.width is None else line.width
    return f'fill="none" stroke="{line.color or color}" stroke-width="{width:g}"{dash}'


def _mark(marker, x, y):
    """Path data of a marker, a circle unless it is a square, a diamond or a cross."""
    r = (marker.size or 6) / 2
    match (marker.symbol or "circle").removesuffix("-open"):
        case "square":
            return f"M{x - r:.1f} {y - r:.1f}h{2 * r:g}v{2 * r:g}h{-2 * r:g}z"
        case "diamond":
            return f"M{x - r:.1f} {y:.1f}l{r:g} {-r:g}l{r:g} {r:g}l{-r:g} {r:g}z"
        case "cross":
            return f"M{x - r:.1f} {y:.1f}h{2 * r:g}M{x:.1f} {y - r:.1f}v{2 * r:g}"
    return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0"


def _marked(marker, color, marks):
    symbol = marker.symbol or "circle"
    fill = "none" if symbol.endswith("-open") or symbol == "cross" else color
    return f'<path d="{marks}" fill="{fill}" stroke="{color}" stroke-width="{3 if symbol == "cross" else 1}"/>'


def _shape(shape, axes, across, up):
    """A straight line between values, or between shares of a panel or of the picture."""
    ends = []
    for value, reference, whole in ((shape.x0, shape.xref, across), (shape.y0, shape.yref, up),
                                    (shape.x1, shape.xref, across), (shape.y1, shape.yref, up)):
        name, _, kind = (reference or "paper").partition(" ")
        axis = axes.get(name)
        if axis is None:
            ends.append(whole(value))
        else:
            ends.append(axis.start + value * (axis.end - axis.start) if kind else float(axis(value)))
    return f'<path d="M{ends[0]:.1f} {ends[1]:.1f}L{ends[2]:.1f} {ends[3]:.1f}" {_stroke(shape.line, GREY)}/>'


# --- Legend -----------------------------------------------------------------------------------------


def _legend(styled, traces):
    """Rows of entries, each a place from the left and what draws it there."""
    rows, used = [[]], 0
    for trace, color in styled:
        if not trace.name or not (trace.showlegend if trace.showlegend is not None else traces > 1):
            continue
        length = 46 + 7.6 * len(re.sub(r"<.*?>", "", trace.name))
        if used and used + length > WIDTH - 76:
            rows, used = [*rows, []], 0
        rows[-1].append((used, _entry(trace, color)))
        used += length
    return rows if rows[0] else []


def _entry(trace, color):
    def draw(x, y):
        line = f'<path d="M{x:.0f} {y - 5:.0f}h24" {_stroke(trace.line, color)}/>' if "lines" in _mode(trace) else ""
        mark = (
            _marked(trace.marker, trace.marker.color or color, _mark(trace.marker, x + 12, y - 5))
            if "markers" in _mode(trace)
            else ""
        )
        return line + mark + _text(x + 30, y, trace.name)

    return draw
