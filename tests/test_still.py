"""Still pictures of figures: where a curve stands in them, and what is written beside it."""

import re
from html import unescape
from urllib.parse import unquote
from xml.etree.ElementTree import fromstring

import numpy as np
import plotly.graph_objects as go
import pytest

from kdlib import plots
from kdlib._still import GREY, WIDTH, _thinned, drawing, image
from kdlib.explorers import EffectiveLogitExplorer

PANEL = 78, WIDTH - 24, 430 - 56, 16  # left, right, bottom and top of a figure without a legend


def described(*traces, **layout):
    return plots.Described(go.Figure(traces, layout), "what it shows").figure


def paths(svg, **attributes):
    """The points of each path with these attributes."""
    found = [path for path in fromstring(svg).iter("path") if attributes.items() <= dict(path.attrib).items()]
    return [np.array(re.findall(r"-?[\d.]+", path.get("d")), float).reshape(-1, 2) for path in found]


def texts(svg):
    return ["".join(text.itertext()) for text in fromstring(svg).iter("text")]


def test_a_curve_stands_where_its_axes_say():
    left, right, bottom, top = PANEL
    line = go.Scatter(x=[1, 10, 100], y=[0, 3, 1], mode="lines", line_color="red")
    svg = drawing(described(line, xaxis=plots.log_axis(1, 10, 100), yaxis_range=[0, 4]))
    [points] = paths(svg, stroke="red")
    middle = (left + right) / 2
    expected = [[left, bottom], [middle, bottom + 0.75 * (top - bottom)], [right, bottom + 0.25 * (top - bottom)]]
    np.testing.assert_allclose(points, expected, atol=0.06)
    assert texts(svg)[:3] == ["1", "10", "100"]


def test_without_a_range_everything_is_inside_and_panels_that_share_an_axis_agree():
    figure = plots.stacked(["above", "below"], 500)
    figure.add_scatter(x=[0, 1], y=[5, 7], mode="markers", error_y=dict(array=[1, 4]), row=1, col=1)
    figure.add_scatter(x=[0, 4], y=[0, 1], mode="lines", line_color="red", row=2, col=1)
    svg = drawing(plots.Described(figure, "two panels").figure)
    [bars] = [path.get("d") for path in fromstring(svg).iter("path") if path.get("d").count("V") == 2]
    bars, [line] = np.array(re.findall(r"M(.+?) (.+?)V([^M]+)", bars), float), paths(svg, stroke="red")
    panels = [panel for panel in fromstring(svg).iter("svg") if panel.get("x")]
    for panel, (across, *heights) in zip(panels, (bars.T, line.T), strict=True):
        x, y, wide, high = (float(panel.get(side)) for side in ("x", "y", "width", "height"))
        assert x <= across.min() and across.max() <= x + wide
        assert y <= np.min(heights) and np.max(heights) <= y + high
    assert np.diff(bars[:, 0]) / np.diff(line[:, 0]) == pytest.approx(1 / 4, abs=0.01)


def test_bars_of_errors_lie_along_their_own_axis():
    left, right, bottom, top = PANEL
    marks = go.Scatter(x=[1, 3], y=[0, 1], mode="markers", line_color="red", error_x=dict(array=[1, 0.5]))
    svg = drawing(described(marks, xaxis_range=[0, 4], yaxis_range=[-1, 1]))
    [bars] = [path.get("d") for path in fromstring(svg).iter("path") if path.get("d").count("H") == 2]
    [first, second] = np.array(re.findall(r"M(.+?) (.+?)H([^M]+)", bars), float)
    quarter = (right - left) / 4
    assert first == pytest.approx([left, (top + bottom) / 2, left + 2 * quarter], abs=0.06)
    assert second == pytest.approx([left + 2.5 * quarter, top, left + 3.5 * quarter], abs=0.06)


@pytest.mark.parametrize("place, anchor, across, down", [("top right", "start", 6, -6), ("middle left", "end", -6, 5),
                                                         ("bottom center", "middle", 0, 17)])  # fmt: skip
def test_words_stand_beside_their_point(place, anchor, across, down):
    left, right, bottom, top = PANEL
    figure = described(xaxis_range=[0, 4], yaxis_range=[0, 1])
    svg = fromstring(drawing(plots.label(figure, 1, 0.5, "z<sub>t</sub> here", place=place)))
    [words] = [text for text in svg.iter("text") if "".join(text.itertext()) == "zt here"]
    assert words.get("text-anchor") == anchor
    assert float(words.get("x")) == pytest.approx(left + (right - left) / 4 + across, abs=0.51)
    assert float(words.get("y")) == pytest.approx((top + bottom) / 2 + down, abs=0.51)


def test_gaps_stay_open_and_values_that_a_logarithm_has_not_are_left_out():
    line = go.Scatter(x=[0, 1, 2, 3, 4, 5], y=[1, 2, None, 0, 4, 5], mode="lines", line_color="red")
    svg = drawing(described(line, yaxis_type="log"))
    [path] = [path.get("d") for path in fromstring(svg).iter("path") if path.get("stroke") == "red"]
    assert path.count("M") == 2 and "nan" not in svg


def test_a_thinned_curve_passes_within_half_a_pixel_of_every_point():
    x = np.linspace(0, 600, 2001)
    curve = np.stack([x, 200 + 150 * np.sin(x / 20) + np.where(x > 300, 40, 0)], axis=1)
    kept = _thinned(curve)
    assert len(kept) < len(curve) / 5
    along = np.linspace(0, len(kept) - 1, 100_001)
    fine = np.stack([np.interp(along, np.arange(len(kept)), kept[:, i]) for i in (0, 1)], axis=1)
    nearest = [np.hypot(*(fine - point).T).min() for point in curve[::20]]
    assert max(nearest) < 0.5


def test_legends_titles_and_labels_are_written_with_their_indices():
    figure = described(go.Scatter(x=[0, 1], y=[0, 1], name="ρ < 1"), go.Scatter(x=[0, 1], y=[1, 0], name="hidden",
                       showlegend=False), xaxis_title="logit z<sub>t</sub>, right", yaxis_tickformat=".0%")
    written = texts(drawing(figure))
    assert "ρ < 1" in written and "hidden" not in written
    assert "logit zt, right" in written and "100%" in written and "0%" in written and "-0%" not in written


def test_a_level_line_is_drawn_at_its_value():
    figure = described(go.Scatter(x=[0, 1], y=[0, 1.5], mode="lines"))
    for y, color in ((1, "red"), (4, "blue")):
        figure.add_hline(y=y, line=dict(color=color))
    [points], [above] = (paths(drawing(figure), stroke=color) for color in ("red", "blue"))
    left, right, bottom, top = PANEL
    assert top < above[0, 1] < points[0, 1]
    figure.update_yaxes(range=[0, 4])
    [points] = paths(drawing(figure), stroke="red")
    np.testing.assert_allclose(points, [[left, y := bottom + (top - bottom) / 4], [right, y]], atol=0.06)


def test_traces_that_it_cannot_draw_are_refused():
    with pytest.raises(TypeError, match="needs scatter traces, got bar"):
        drawing(go.Figure(go.Bar(x=[1], y=[2])))


def test_an_image_carries_its_source_and_its_words():
    tag = image('<svg viewBox="0 0 9 9"><text fill="currentColor">z_t ≥ 0 & "more"</text></svg>'.replace("&", "&amp;"),
                'says "so"')
    source = unescape(re.search(r'src="data:image/svg\+xml,([^"]*)"', tag)[1])
    svg = fromstring(unquote(source))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg" and svg.get("color") == GREY
    assert svg[0].text == "z_t ≥ 0 & 'more'" and 'alt="says &quot;so&quot;"' in tag


def test_figures_and_explorers_say_in_plain_text_what_they_show_and_ask_for_nothing():
    figure = plots.Described(go.Figure(go.Scatter(x=[1], y=[2])), "What it shows.")._repr_mimebundle_()
    explorer = EffectiveLogitExplorer().without_kernel()
    assert figure["text/plain"] == "What it shows." and explorer["text/plain"].startswith("Effective student logit")
    for shown in (figure, explorer):
        assert not re.search(r'(src|href)="(?!data:)', shown["text/html"])
        assert shown["text/html"].count("<img") == 1
