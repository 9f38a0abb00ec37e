"""The advisor in the page: its JavaScript against the library, and the page with files of many kinds."""

from types import SimpleNamespace

import numpy as np
import pytest
from tolerances import BROWSER

from kdlib import advise
from kdlib.explorers._base import module

ADVICE = SimpleNamespace(_esm=module("advice"))


def task(n=150, K=2, seed=0, noise=1.0, d=3):
    """Inputs, a teacher that errs in places of its own, and labels; z_t (n,) for two classes, else (n, K)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    truth = np.stack([np.sin(2 * x[:, k % d]) + x[:, (k + 1) % d] * (1 - 2 * (k % 2)) for k in range(K)], 1) * 2
    y = (truth + 0.3 * rng.normal(size=(n, K))).argmax(1)
    z = truth + noise * rng.normal(size=(n, K))
    return (x, z[:, 1] - z[:, 0], y) if K == 2 else (x, z, y)


def given(x, z_t, y):
    return {"x": x.ravel().tolist(), "z": (z_t[:, None] if z_t.ndim == 1 else z_t).tolist(), "y": y.tolist()}


def in_browser(evaluate, x, z_t, y, *, held_out=None, **settings):
    others = given(*held_out) if held_out else None
    return evaluate(ADVICE, """({advise}, {x, held_out, ...rest}) => {
        const list = ({x, ...others}) => ({x: Float64Array.from(x), ...others});
        const {best, ...found} = advise({...list({x}), ...rest, held_out: held_out && list(held_out)});
        return found;
    }""", {**given(x, z_t, y), "d": x.shape[1], "held_out": others, **settings})


def worse(z_t):
    return -3 * z_t


SORTED = np.argsort(task(K=3)[2], kind="stable")
FEW = task(30, seed=4)
TWICE = [np.concatenate([values, values[:20]]) for values in task(K=3, seed=5)]
CASES = {
    "two classes": (task(), {}),
    "a teacher mostly wrong": ((task(300)[0], worse(task(300)[1]), task(300)[2]), {}),
    "three classes": (task(K=3), {}),
    "seven classes of five features": (task(200, K=7, d=5, seed=2), {"depth": 1}),
    "sorted by class": ([values[SORTED] for values in task(K=3)], {"depth": 5}),
    "two columns of logits": ((task()[0], np.stack([-task()[1] / 2, task()[1] / 2], 1), task()[2]), {}),
    "few": (FEW, {}),
    "eight": (task(8, seed=3), {}),
    "copies": (TWICE, {}),
    "one label": ((task()[0], task()[1], np.ones(150, int)), {}),
    "a teacher that has seen the labels": ((task(300)[0], 4 * (2 * task(300)[2] - 1.0), task(300)[2]), {}),
    "a teacher that knows nothing": ((task(K=3)[0], np.zeros((150, 3)), task(K=3)[2]), {"default": (0.5, 1)}),
    "another default": (task(seed=6), {"default": (0.3, 7.0), "reluctance": 0}),
    "an end as default": (task(seed=7), {"default": (0, 3), "cells": [(0.5, 2), (1, 9), (0.5, 2)]}),
    "large features": ((1e4 * task()[0], *task()[1:]), {}),
    "unlike features": ((task()[0] * [1, 1, 1e3], *task()[1:]), {}),
    "held out": (task(), {"held_out": task(90, seed=1)}),
    "held out, three classes": (task(K=3), {"held_out": task(310, K=3, seed=1)}),
    "held out, seen before": (task(), {"held_out": [values[:60] for values in task()]}),
    "held out, two": (task(), {"held_out": [values[:2] for values in task(seed=1)]}),
    "held out, a teacher that has seen the labels": (
        (task()[0], 4 * (2 * task()[2] - 1.0), task()[2]), {"held_out": task(300, seed=1)}),
}


@pytest.mark.parametrize("case", CASES)
def test_advice_in_browser_and_library_agree(evaluate, case):
    arrays, settings = CASES[case]
    ours, there = advise(*arrays, **settings), in_browser(evaluate, *arrays, **settings)
    assert (there["rho"], there["T"], there["verdict"]) == (ours.rho, ours.T, ours.verdict)
    for name in ours.cells.dtype.names:
        assert [cell[name] for cell in there["cells"]] == pytest.approx(ours.cells[name].tolist(), rel=0, abs=BROWSER)
    assert [tuple(cell) for cell in there["avoid"]] == list(ours.avoid)
    assert there["sizes"] == ours.sizes.tolist()
    for name, curve in ours.curves.items():
        assert there["curves"][name] == pytest.approx(curve.tolist(), abs=BROWSER)
    assert (there["perfect"], there["useless"]) == pytest.approx((ours.perfect, ours.useless), abs=BROWSER)
    assert {int(times): tuple(trials) for times, trials in there["coverage"].items()} == ours.coverage
    for found in there["forecasts"]:
        assert (found["error"], found["low"], found["high"]) == pytest.approx(ours.forecast(found["n"]), abs=BROWSER)
    assert there["more"] == ours.more
    assert there["warnings"] == list(ours.warnings)
    assert there["report"] == [" ".join(sentence.split()) for sentence in str(ours).split("\n\n")]
