"""Speed of the explorers: one tick of a slider, from the event to curves that are laid out.

    make bench

Every tick solves Eq. 3 afresh and redraws. Next to it, what a reader would otherwise get: plotly
redrawing the same two curves, of 161 points each and computed beforehand, which favours the peer.
The student's ticks solve for 200 samples and all sizes; the kernels of its draws and their factorisations are made
ready when somebody comes to the explorer, here half a second before the first tick. The inefficiency's solve for 16
runs of 128 samples, the correction's for 256 samples at 17 soft ratios, on a map of 37 x 37 points. That of ten classes
solves for one sample and draws 60 bars.
Promise: a tick takes at most 4 ms of the effective logit's sliders and of the ten classes', and of the other explorers'
at most 16 ms, the time of one frame.
"""

import sys
from pathlib import Path
from statistics import median

import numpy as np

from kdlib import effective_logit

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "book"))
from chromium import launched  # noqa: E402

PAGES = ROOT / "_build/html/book"
PAGE = PAGES / "02_problem_setup.html"
INEFFICIENCY, CORRECTION = PAGES / "04_data_inefficiency.html", PAGES / "05_imperfect_teacher.html"
CLASSES = PAGES / "07_many_classes.html"
TICKS = 60

# All loops end each tick by asking for a size, which makes the browser lay out what was drawn.
TICK = """([explorer, name, values]) => {
    const slider = document.querySelector(`${explorer} input[name=${name}]`);
    const curve = document.querySelector(`${explorer} svg :is(path.kd-right, path.kd-fit)`);
    return values.map((value) => {
        const start = performance.now();
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
        curve.getBBox();
        return performance.now() - start;
    });
}"""

PLOTLY = """async ([x, curves]) => {
    const host = document.querySelector(".kd-effective-logit").appendChild(document.createElement("div"));
    const {width, height} = document.querySelector(".kd-effective-logit svg").getBoundingClientRect();
    const layout = {width, height, xaxis: {range: [-10, 10]}, yaxis: {range: [-12, 12]}};
    const times = [];
    for (const pair of curves) {
        const start = performance.now();
        await Plotly.react(host, pair.map((y) => ({x, y, mode: "lines"})), layout);
        host.querySelector(".js-line").getBBox();
        times.push(performance.now() - start);
    }
    return times;
}"""


def main():
    rho = np.linspace(0.05, 0.95, TICKS)
    z_t = np.linspace(-10, 10, 161)
    curves = effective_logit(np.tile(z_t, (2, 1)), [[0], [1]], rho=rho[:, None, None], T=5.0)
    with launched() as browser:
        page = browser.new_page()

        def ticks(explorer, name, values):
            return page.evaluate(TICK, [explorer, name, values])

        draws = []
        for _ in range(TICKS // 5):  # the page comes with the first of six draws
            page.goto(PAGE.as_uri())
            page.locator(".kd-figure svg.main-svg .trace").first.wait_for(state="attached")
            page.locator(".kd-student input[name=draw]").focus()
            page.wait_for_timeout(500)
            draws += ticks(".kd-student", "draw", [2, 3, 4, 5, 6])
        ours = median(ticks(".kd-effective-logit", "rho", rho.tolist()))
        plotly = median(page.evaluate(PLOTLY, [z_t.tolist(), np.asarray(curves).tolist()]))
        student = {
            "rho": ticks(".kd-student", "rho", rho.tolist()),
            "n": ticks(".kd-student", "n", list(range(TICKS // 2))),  # stops of the slider, not sizes
            "epoch": ticks(".kd-student", "epoch", list(range(11))),
            "a new draw": draws,
        }
        page.goto(INEFFICIENCY.as_uri())
        page.locator(".kd-figure svg.main-svg .trace").first.wait_for(state="attached")
        inefficiency = {
            "rho": ticks(".kd-inefficiency", "rho", rho.tolist()),
            **{name: ticks(".kd-inefficiency", name, list(range(stops)))
               for name, stops in (("q", 6), ("epoch", 6), ("p_flip", 9), ("n", TICKS))},
        }
        page.goto(f"{CORRECTION.as_uri()}#c.n=256")
        page.locator(".kd-figure svg.main-svg .trace").first.wait_for(state="attached")
        correction = {
            "rho": ticks(".kd-correction", "rho", rho.tolist()),
            "T": ticks(".kd-correction", "T", np.linspace(-1, 1.3, 47).tolist()),
            **{name: ticks(".kd-correction", name, list(range(11))) for name in ("epoch", "n")},
        }
        page.goto(CLASSES.as_uri())
        page.locator(".kd-figure svg.main-svg .trace").first.wait_for(state="attached")
        classes = {
            "rho": ticks(".kd-classes", "rho", rho.tolist()),
            "T": ticks(".kd-classes", "T", np.linspace(-1, 1.3, 47).tolist()),
            "y_g": ticks(".kd-classes", "y_g", [*range(10)] * 6),
        }
    print(f"explorer, one tick of a slider (median of {TICKS})\n")
    print(f"  solve, draw and lay out          {ours:5.1f} ms")
    print(f"  Plotly.react, curves given       {plotly:5.1f} ms  ({plotly / ours:.0f}x)")
    for explorer, sliders in (("student", student), ("inefficiency", inefficiency), ("correction", correction),
                              ("ten classes", classes)):
        print(f"\n{explorer}, one tick (median, and the slowest of ten)\n")
        for name, times in sliders.items():
            print(f"  {name:<32} {median(times):5.1f} ms  {np.quantile(times, 0.9):5.1f} ms")


if __name__ == "__main__":
    main()
