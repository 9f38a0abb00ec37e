"""The figures' common pieces."""

import numpy as np
import plotly.graph_objects as go
import pytest

from kdlib import plots


def test_on_a_logarithmic_axis_a_band_ends_above_zero_and_means_of_zero_are_left_out():
    runs = np.array([[0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    fill, line = plots.band(go.Figure(), [1, 2, 3], runs, "#2b8cc4", "shares", log=True).data
    assert line.x.tolist() == [2, 3] and line.y.tolist() == [2.0, 0.5]
    assert min(fill.y) == pytest.approx(0.1)


def test_a_band_stands_in_its_row_and_has_one_entry_in_the_legend():
    figure = plots.stacked(["above", "below"], 500)
    for row in (1, 2):
        plots.band(figure, [1, 2], np.eye(2), "#2b8cc4", "both", row=row, legend=row == 1, dash="dot")
    lines = [trace for trace in figure.data if trace.fill is None]
    assert [line.showlegend for line in lines] == [True, False] and lines[1].yaxis == "y2"
    assert all(line.line.dash == "dot" and line.line.width == 2.5 for line in lines)
    assert figure.layout.xaxis2.title.text == "number of samples n" and figure.layout.xaxis.title.text is None


def test_ticks_of_a_logarithmic_axis_are_plain():
    assert plots.log_axis(0.001, 10, 1000)["ticktext"] == ["0.001", "10", "1000"]


def test_what_is_said_is_a_plain_number_under_a_name_with_hyphens(monkeypatch):
    import myst_nb

    said = {}
    monkeypatch.setattr(myst_nb, "glue", lambda name, value, display: said.update({name: (value, display)}))
    plots.say(best_rho=np.float64(0.9), runs=np.int64(20), text="never")
    assert said == {"best-rho": (0.9, False), "runs": (20, False), "text": ("never", False)}
    assert type(said["best-rho"][0]) is float
