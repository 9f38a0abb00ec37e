"""Speed of the explorer: one tick of a slider, from the event to curves that are laid out.

    make bench

Every tick solves Eq. 3 afresh and redraws. Next to it, what a reader would otherwise get: plotly
redrawing the same two curves, of 161 points each and computed beforehand, which favours the peer.
Promise: a tick takes at most 4 ms.
"""

import os
import shutil
import sys
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import sync_playwright

from kdlib import effective_logit

PAGE = Path(__file__).parents[1] / "_build/html/book/02_problem_setup.html"
TICKS = 60

# Both loops end each tick by asking for a size, which makes the browser lay out what was drawn.
EXPLORER = """(ratios) => {
    const slider = document.querySelector(".kd-explorer input[name=rho]");
    const curve = document.querySelector(".kd-explorer svg path.kd-right");
    return ratios.map((rho) => {
        const start = performance.now();
        slider.value = rho;
        slider.dispatchEvent(new Event("input"));
        curve.getBBox();
        return performance.now() - start;
    });
}"""

PLOTLY = """async ([x, curves]) => {
    const host = document.querySelector(".kd-explorer").appendChild(document.createElement("div"));
    const {width, height} = document.querySelector(".kd-explorer svg").getBoundingClientRect();
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
    chromium = os.environ.get("KDLIB_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        sys.exit("no Chromium: install Debian's chromium or Google Chrome, or set KDLIB_CHROMIUM to its path")
    rho = np.linspace(0.05, 0.95, TICKS)
    z_t = np.linspace(-10, 10, 161)
    curves = effective_logit(z_t, np.array([[0], [1]]), rho=rho[:, None, None], T=5.0)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        page.locator(".kd-figure svg.main-svg .trace").first.wait_for(state="attached")
        ours = median(page.evaluate(EXPLORER, rho.tolist()))
        plotly = median(page.evaluate(PLOTLY, [z_t.tolist(), np.asarray(curves).tolist()]))
    print(f"explorer, one tick of a slider (median of {TICKS})\n")
    print(f"  solve, draw and lay out          {ours:5.1f} ms")
    print(f"  Plotly.react, curves given       {plotly:5.1f} ms  ({plotly / ours:.0f}x)")


if __name__ == "__main__":
    main()
