"""What an :class:`~kdlib.advise.Advice` says, in words and in a figure."""

import numpy as np

from kdlib.statistics import as_far_as


def name(cell):
    rho, T = cell
    return {1: "the teacher alone (rho = 1)", 0: "the labels alone (rho = 0)"}.get(rho, f"rho = {rho:.4g}, T = {T:g}")


def sentences(advice, *, brief=False):
    share = lambda value: f"{100 * value:.1f} %"
    default, N = name(advice.default), int(advice.sizes[-1])
    yield {"move": f"Move from {default} to {name((advice.rho, advice.T))}.",
           "keep": f"Keep {default}.",
           "undecided": f"Undecided: there is no reason to leave {default}."}[advice.verdict]
    now, double, four = (advice.forecast(n) for n in (N, 2 * N, 4 * N))
    yield (f"Mistakes: {share(now.error)} with {N} samples, {share(double.error)} expected with {2 * N} "
           f"({share(double.low)} to {share(double.high)}) and {share(four.error)} with {4 * N} "
           f"({share(four.low)} to {share(four.high)}).")
    if brief:
        return
    held = [f"{inside} of {tried} trials at {times} times as many"
            for times, (inside, tried) in advice.coverage.items() if tried]
    if held:
        yield f"Such bands, made from fewer samples, held what came later in {' and '.join(held)}."
    yield {"labels": "More labelled samples would help.",
           "queries": "More samples would help, and the teacher's answers to them will do: they need no labels.",
           "neither": "Neither more labels nor more answers of the teacher would clearly help."}[advice.more]
    best, *gain = advice._gain
    of = {tuple(cell)[:2]: cell["mistakes"] for cell in advice.cells}
    yield (f"The least loss, on {advice.judged} samples, is that of {name(best)}: {as_far_as(*gain)} below the "
           f"default's ({share(of[best])} of mistakes against {share(of[advice.default])}). What was chosen for being "
           "small will be less so elsewhere.")
    if advice.avoid:
        yield "Avoid " + "; ".join(map(name, advice.avoid)) + "."
    yield (f"A teacher that always put the given label first would lead to {share(advice.perfect)} of mistakes at "
           f"best, and one that knew nothing, to {share(advice.useless)}.")
    yield from (f"Warning: {warning}" for warning in advice.warnings)


def drawn(advice):
    from kdlib.plots import ORDERED, PALETTE, log_axis, make_subplots

    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.2, subplot_titles=["mistakes, %", "loss of each cell"])
    line = lambda x, y, name, row, **look: figure.add_scatter(
        x=x, y=y, name=name, mode=look.pop("mode", "lines"), row=row, col=1, **look)
    ahead = np.append(advice.sizes, np.rint(advice.sizes[-1] * 2 ** np.linspace(0.25, 2, 8)))
    expected, low, high = 100 * np.array([advice.forecast(n) for n in ahead]).T
    color = PALETTE["blue"]
    line([*ahead, *ahead[::-1]], [*high, *low[::-1]], "band", 1, fill="toself", fillcolor=color, opacity=0.15,
         line=dict(width=0), hoverinfo="skip", showlegend=False)
    for name, look in dict(soft=("teacher alone", "green", "dot"), hard=("labels alone", "pink", "dash"),
                           default=("default", "orange", "dashdot")).items():
        line(advice.sizes, 100 * advice.curves[name], look[0], 1, line=dict(color=PALETTE[look[1]], dash=look[2]))
    line(ahead, expected, "chosen, and its forecast", 1, line=dict(color=color, width=2.5))
    ticks = np.rint(advice.sizes[-1] * 2.0 ** np.arange(-4, 3))
    figure.update_xaxes(title="number of samples n", row=1, col=1, **log_axis(*ticks))

    inner = advice.cells[(advice.cells["rho"] > 0) & (advice.cells["rho"] < 1)]
    strength = lambda cells: cells["T"] ** 2 * (1 - cells["rho"]) / cells["rho"]
    least, most = (strength(inner).min() / 3, strength(inner).max() * 3) if len(inner) else (0.3, 3.0)
    for i, T in enumerate(np.unique(inner["T"])):
        some = np.sort(inner[inner["T"] == T], order="rho")[::-1]
        line(strength(some), some["estimate"], f"T = {T:g}", 2, mode="lines+markers", error_y=dict(array=some["error"]),
             line=dict(color=ORDERED[2 * i % 5]))
    ends = advice.cells[(advice.cells["rho"] == 0) | (advice.cells["rho"] == 1)]
    line(np.where(ends["rho"] == 1, least, most), ends["estimate"], "rho = 1, rho = 0", 2, mode="markers",
         error_y=dict(array=ends["error"]), marker=dict(color=PALETTE["grey"], symbol="diamond", size=9))
    ticks = 10.0 ** np.arange(np.ceil(np.log10(least)), np.log10(most))
    figure.update_xaxes(title="strength of the labels, T² (1 - rho) / rho", row=2, col=1, **log_axis(*ticks))
    return figure.update_layout(height=760, legend_y=1.04)
