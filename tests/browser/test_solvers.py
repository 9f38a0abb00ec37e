"""The explorers' own solvers, in JavaScript, against the library on the same inputs."""

import re
from itertools import product

import numpy as np
import pytest
from expected import in_python, risk_in_python
from scipy.ndimage import zoom
from tolerances import BROWSER, ROUNDING

from kdlib import beats, class_effective_logit, effective_logit
from kdlib.explorers import (
    ClassesExplorer,
    CorrectionExplorer,
    EffectiveLogitExplorer,
    InefficiencyExplorer,
    RiskExplorer,
    StudentExplorer,
)
from kdlib.explorers.correction import SIDE, crossings, wrong_share
from kdlib.networks import fully_connected


@pytest.fixture(scope="module")
def solver(evaluate):
    """effectiveLogit mapped over rows of arguments; errors by their names."""
    return lambda rows: evaluate(
        EffectiveLogitExplorer,
        """({effectiveLogit}, rows) => rows.map((row) => {
            try { return effectiveLogit(...row); } catch (error) { return error.name; }
        })""",
        rows,
    )


def assert_solves_as_the_library(solver, *grid):
    rows = [*product(*grid)]
    z_t, y_g, rho, T = np.array(rows).T
    z = np.asarray(effective_logit(z_t, y_g, rho=rho, T=T))
    in_browser = np.array(solver(rows), float)
    finite = np.isfinite(z)
    assert np.array_equal(in_browser[~finite], z[~finite])
    z, in_browser = z[finite], in_browser[finite]
    assert (np.abs(in_browser - z) <= BROWSER * np.maximum(1, np.abs(z))).all()


def test_browser_and_library_agree(solver):
    sizes = [0, 1e-3, 1, 8, 40, 1e3]
    assert_solves_as_the_library(solver, [*sizes, *(-z for z in sizes)], [0, 1],
                                 [0, 1e-300, 1e-6, 0.05, 0.5, 0.95, 1 - 1e-15, 1], [0.05, 0.5, 1, 5, 1e3])


def test_browser_and_library_agree_at_low_temperatures(solver):
    """Where the equation bends sharply at z = 0, so that Newton's method may go to and fro between its two sides."""
    assert_solves_as_the_library(solver, np.linspace(-1.5, 0, 751).tolist(), [1], [0.5, 0.8, 0.9, 0.95, 0.99],
                                 [0.05, 0.1, 0.2])
    assert_solves_as_the_library(solver, np.linspace(-20, -0.5, 391).tolist(), [1],
                                 (1 - np.logspace(-6, -0.5, 12)).tolist(), [0.05, 0.1, 0.14, 0.2])


def test_browser_refuses_what_the_library_refuses(solver):
    nan, inf = float("nan"), float("inf")
    bad = [(nan, 1, 0.5, 1), (inf, 1, 0.5, 1), (0, 2, 0.5, 1), (0, 1, -0.1, 1), (0, 1, 1.5, 1), (0, 1, nan, 1),
           (0, 1, 0.5, 0), (0, 1, 0.5, inf)]
    assert solver(bad) == ["RangeError"] * len(bad)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("depth, sigma_w, sigma_b", [(3, 1, 1), (1, 1.4, 0.5), (6, 1.4, 0.1)])
def test_kernel_in_browser_and_library_agree(evaluate, depth, sigma_w, sigma_b, d):
    far = np.linspace(-3, 3, 41)
    x = np.concatenate([far, 0.7 + 10.0 ** -np.arange(1, 16), [0.7]])
    x = np.stack([x, 0.5 - x[::-1]][:d], axis=1)
    network = {"depth": depth, "sigma_w": sigma_w, "sigma_b": sigma_b, "d": d}
    rows = evaluate(StudentExplorer, "({ntk}, [x, network]) => ntk(x, x, network).map((row) => [...row])",
                    [x.ravel().tolist(), network])
    expected = fully_connected(depth, sigma_w=sigma_w, sigma_b=sigma_b).ntk(x)
    size = np.sqrt(expected.diagonal())
    assert (np.abs(rows - expected) <= ROUNDING * size * size[:, None]).all()


@pytest.mark.parametrize("draw", [1, 3, 6])
def test_student_in_browser_and_library_agree(evaluate, task, draw):
    sizes = [1, 7, 20, 200]
    settings = [{"rho": rho, "T": T, "epoch": epoch, "draw": draw}
                for rho, T, epoch in product([0, 0.05, 0.5, 1], [0.5, 5], [16, 1024, 16384])]
    results = evaluate(
        StudentExplorer,
        """({experiment}, [task, sizes, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {teacher, norms, student} = solve(setting);
                return {teacher, norms: [...norms], curves: sizes.map((n) => [...student(n)])};
            });
        }""",
        [task, sizes, settings],
    )
    for setting, result in zip(settings, results, strict=True):
        for name, expected in in_python(task, sizes, **setting).items():
            assert (np.abs(result[name] - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()


def test_risk_in_browser_and_library_agree(evaluate, task):
    sizes = [1, 6, 20, 60, 200]
    settings = [{"rho": rho, "T": T, "epoch": epoch}
                for rho, (T, epoch) in product([0, 0.05, 0.9, 1], [(0.5, 16), (5, 1024)])]
    results = evaluate(
        RiskExplorer,
        """({experiment}, [task, sizes, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {grid, oracle, gaps, curves, distances, bounds} = solve(setting);
                const some = (rows) => sizes.map((n) => [...rows[n - 1]]);
                return {grid, oracle: [...oracle], gaps: [...gaps], curves: some(curves), distances: some(distances),
                        bounds: sizes.map(bounds)};
            });
        }""",
        [RiskExplorer().task, sizes, settings],
    )
    fine = np.linspace(-3, 3, 12_001)
    for setting, result in zip(settings, results, strict=True):
        expected = risk_in_python(task, sizes, result["grid"], **setting)
        for name in ("oracle", "curves"):
            assert (np.abs(result[name] - expected[name]) <= BROWSER * np.maximum(1, np.abs(expected[name]))).all()
        # Both are roots of differences, of which the squares are as good as what is subtracted.
        for name, whole in (("gaps", 1 + expected["gaps"][0] ** 2), ("distances", 10)):
            assert (np.abs(np.square(result[name]) - expected[name] ** 2) <= BROWSER * whole).all()
        counted = risk_in_python(task, sizes, fine, **setting)
        for name in ("risk", "power", "theorem"):
            # Lines between the points of the grid cut off the power function's arcs, so that the bound is low.
            found = np.array([bounds[name] for bounds in result["bounds"]])
            assert (np.abs(found - counted[name]) <= (0.01 if name == "power" else 1e-3)).all()
            assert (found >= [bounds["risk"] for bounds in result["bounds"]]).all()


@pytest.mark.parametrize("q, epoch", [(2, 16), (6, 1024), (12, 16384)])
def test_inefficiency_in_browser_and_library_agree(evaluate, q, epoch):
    settings = [{"q": q, "epoch": epoch, "rho": rho, "p_flip": p_flip, "n": n}
                for (rho, n), p_flip in product([(0, 2), (0.05, 94), (0.5, 2), (1, 94)], [0, 0.1, 0.5])]
    results = evaluate(
        InefficiencyExplorer,
        """({experiment}, [task, settings]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {grid, teacher, targets, student, inefficiency} = solve(setting);
                return [[...grid], teacher, targets, [...student(setting.n)], inefficiency.values, inefficiency.errors];
            });
        }""",
        [InefficiencyExplorer().task, settings],
    )
    for setting, result in zip(settings, results, strict=True):
        *curves, found = InefficiencyExplorer(**setting).solve()
        for mine, expected in zip(result, [*curves, found.values, found.errors], strict=True):
            assert (np.abs(mine - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()


def test_correction_in_browser_and_library_agree(evaluate):
    ratios = [0, 0.05, 0.5, 0.95, 1]
    settings = [{"T": T, "n": n, "epoch": epoch} for T, n, epoch in product([0.5, 5], [8, 128, 256], [16, 2048, 16384])]
    results = evaluate(
        CorrectionExplorer,
        """({experiment}, [task, settings, ratios]) => {
            const solve = experiment(task);
            return settings.map((setting) => {
                const {student, error, errors, projections} = solve(setting);
                const z = ratios.map(student);
                const parts = projections.map((all) => all.map(Object.values));
                return [z.map((z) => [...z]), z.map(error), [errors[0], errors.at(-1)], parts];
            });
        }""",
        [CorrectionExplorer().task, settings, ratios],
    )
    for setting, (z, errors, ends, parts) in zip(settings, results, strict=True):
        explorer = CorrectionExplorer(**setting)
        (expected, rates), h = explorer.solve(ratios), explorer.project()
        assert (np.abs(z - expected) <= BROWSER * np.maximum(1, np.abs(expected))).all()
        assert np.abs(errors - rates).max() <= BROWSER
        assert np.abs(ends - rates[[0, -1]]).max() <= BROWSER
        projection, cosine, derivative = np.array(parts, float).transpose(2, 1, 0)[:, 1:]
        p = [field[1:] for field in h]  # one sample has no direction in which to turn
        size = p[3] * p[4]
        assert (np.abs(projection - p[0]) <= BROWSER * size).all()
        assert (np.abs(cosine - p[0] / size) <= BROWSER).all()
        assert (np.abs(derivative - p[0] / (p[5] * p[6])) <= BROWSER * size / (p[5] * p[6])).all()


def test_map_in_browser_outlines_what_the_library_counts(evaluate):
    """Points of the outlines against sign changes along the grid; their area against the share of wrong signs."""
    task = CorrectionExplorer().task
    noise = np.random.default_rng(0).normal(size=SIDE**2)  # every second square is a saddle or a corner
    for z, close in ((np.array(task["truth"]), 1e-3), (np.array(task["teachers"][4]), 1e-3), (noise, 0.02),
                     (np.ones(SIDE**2), 1e-9), (-np.ones(SIDE**2), 1e-9)):
        loops = [np.array(loop) for loop in evaluate(CorrectionExplorer, "({outlines}, z) => outlines(z)", z.tolist())]
        points = np.concatenate([*loops, np.empty((0, 2))]) * 2 / (SIDE - 1) - 1
        inside = points[(np.abs(points) <= 1).all(axis=1)]
        expected = np.array([*crossings(z.reshape(SIDE, SIDE)), *np.empty((0, 2))]).reshape(-1, 2)
        assert len(inside) == len(expected)
        order = lambda p: p[np.lexsort(p.round(9).T)]
        assert np.abs(order(inside) - order(expected)).max(initial=0) <= BROWSER
        within = [np.clip(loop, 0, SIDE - 1) for loop in loops]
        area = sum((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2 for x, y in (loop.T for loop in within))
        assert abs(area / (SIDE - 1) ** 2 - wrong_share(z, -np.ones(SIDE**2))) <= close


def test_error_on_the_map_is_a_share_of_its_area():
    """Against counting on a grid twenty times finer, between whose points logits are bilinear too."""
    task = CorrectionExplorer().task
    fine = lambda z: zoom(np.reshape(z, (SIDE, SIDE)), (20 * (SIDE - 1) + 1) / SIDE, order=1) > 0
    for teacher in task["teachers"]:
        counted = np.mean(fine(teacher) != fine(task["truth"]))
        assert abs(wrong_share(teacher, task["truth"]) - counted) <= 1e-3


def class_rows():
    """Samples of 2 to 100 classes, logits as large as 900, at soft ratios and temperatures near all ends."""
    rng = np.random.default_rng(0)
    ends = [1e-300, 1e-6, 0.05, 0.5, 0.9, 1 - 1e-6, 1 - 1e-9, 1], [0.05, 0.5, 0.999, 1, 1.001, 2, 5, 20, 1e3]
    for K, size in product([2, 3, 5, 10, 100], [0, 1e-3, 1, 8, 40, 900]):
        for rho, T in product(*ends):
            alone = rng.integers(K) == np.arange(K)
            for z_t in (rng.uniform(-size, size, K), rng.choice([-size, size], K), size * (2 * alone - 1)):
                yield z_t.tolist(), int(rng.integers(K)), rho, T


def by_classes(rows):
    """Stacked for the library: places among the rows, and arguments, for each number of classes."""
    counts = np.array([len(row[0]) for row in rows])
    for K in np.unique(counts):
        chosen = np.flatnonzero(counts == K)
        z_t, y, rho, T = zip(*(rows[i] for i in chosen), strict=True)
        yield chosen, np.array(z_t), np.array(y), {"rho": np.array(rho), "T": np.array(T)}


def test_classes_in_browser_and_library_agree(evaluate):
    rows = list(class_rows())
    found, beaten = evaluate(
        ClassesExplorer,
        """({classEffectiveLogit, pairwise}, rows) => [
            rows.map((row) => classEffectiveLogit(...row)), rows.map((row) => pairwise(...row).beaten)]""",
        rows,
    )
    for chosen, z_t, y, settings in by_classes(rows):
        z = np.asarray(class_effective_logit(z_t, y, **settings))
        assert (np.abs([found[i] for i in chosen] - z) <= BROWSER * np.maximum(1, np.abs(z))).all()
        assert np.array_equal([beaten[i] for i in chosen], beats(z_t, y, **settings))


def test_classes_of_hard_labels_alone_are_infinite_in_the_browser_too(evaluate):
    found = evaluate(ClassesExplorer, "({classEffectiveLogit: z}) => z([3, 1, 2], 1, 0, 5).map(String)", None)
    assert found == ["-Infinity", "Infinity", "-Infinity"]


def test_classes_in_browser_refuse_what_the_library_refuses(evaluate):
    nan, inf = float("nan"), float("inf")
    bad = [([0, nan], 0, 0.5, 1), ([0, inf], 0, 0.5, 1), ([0], 0, 0.5, 1), ([0, 1], 2, 0.5, 1), ([0, 1], 0.5, 0.5, 1),
           ([0, 1], -1, 0.5, 1), ([0, 1], 0, -0.1, 1), ([0, 1], 0, 1.5, 1), ([0, 1], 0, nan, 1), ([0, 1], 0, 0.5, 0),
           ([0, 1], 0, 0.5, 1e-4), ([0, 1], 0, 0.5, 1e7)]
    errors = evaluate(
        ClassesExplorer,
        """({classEffectiveLogit}, rows) => rows.map((row) => {
            try { return classEffectiveLogit(...row); } catch (error) { return error.name; }
        })""",
        bad,
    )
    assert errors == ["RangeError"] * len(bad)


def test_classes_tell_a_live_notebook_what_moves(evaluate):
    """anywidget's model in a page: what is set is saved, and what Python sets is drawn."""
    explorer = ClassesExplorer()
    sent, note = evaluate(
        ClassesExplorer,
        """({render}, state) => {
            const sent = [], listeners = {};
            const model = {
                get: (name) => state[name],
                set: (name, value) => {
                    state[name] = value;
                    sent.push([name, value]);
                    listeners[`change:${name}`].forEach((call) => call());
                },
                save_changes: () => sent.push(["saved"]),
                on: (event, call) => (listeners[event] ??= []).push(call),
                off: () => {},
            };
            const el = document.body.appendChild(document.createElement("div"));
            render({model, el});
            const classes = el.querySelector("input[name=K]");
            classes.value = 4;
            classes.dispatchEvent(new Event("input"));
            [state.rho, state.y_g] = [0.5, 2];
            listeners["change:rho"].forEach((call) => call());
            return [sent, el.querySelector(".kd-note").textContent];
        }""",
        {**explorer.trait_values(page=True), "z_t": list(explorer.z_t), "y_g": 6},
    )
    assert sent == [["y_g", 3], ["saved"], ["z_t", [0, 5, 1.6, 0.4]], ["saved"]]
    assert "κ = 5.00" in note
    explorer.set_state({"y_g": 1, "z_t": [0, 3, 1.5]})  # what arrives in Python
    assert explorer.z_t == (0.0, 3.0, 1.5)
    with pytest.raises(ValueError, match=re.escape("y_g must be a whole number from 0 to 2, got 3: ")):
        explorer.y_g = 3
    with pytest.raises(ValueError, match=re.escape("z_t must lie between -500 and 500, got 1000: ")):
        explorer.z_t = [1000, 0, 0]
    with pytest.raises(ValueError, match=re.escape("y_g must be a whole number from 0 to 1, got 2: ")):
        explorer.y_g = 2
        explorer.z_t = [1, 2]
    assert (explorer.z_t, explorer.y_g) == ((0.0, 3.0, 1.5), 2)


STOPS = "epoch must be one of 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, got "
LINE = [({"n": 500}, "n must be a whole number from 1 to 200, got 500: "),
        ({"n": 2.5}, "n must be a whole number from 1 to 200, got 2.5: "), ({"epoch": 100}, f"{STOPS}100: "),
        ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5: "), ({"T": 0}, "T must be positive and finite, got 0: "),
        ({"T": "1e1"}, "T must be a number, got '1e1': write it without quotes")]
GRADED = [({"q": 5}, "q must be one of 2, 3, 4, 6, 8, 12, got 5: "),
          ({"n": 95}, "n must be a whole number from 2 to 94, got 95: "),
          ({"epoch": 100}, "epoch must be one of 16, 64, 256, 1024, 4096, 16384, got 100: "),
          ({"p_flip": 0.6}, "p_flip must be one of 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, got 0.6: "),
          ({"q": "many"}, "q must be one of 2, 3, 4, 6, 8, 12, got 'many': "),
          ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5: "), ({"T": 2}, "T must be one of 5.0, got 2: ")]
PLANE = [({"n": 100}, "n must be one of 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, got 100: "),
         ({"epoch": 100}, f"{STOPS}100: "), ({"epoch": "late"}, f"{STOPS}'late': "),
         ({"rho": -1}, "rho must lie in [0, 1], got -1: "),
         ({"T": 0}, "T must be positive and finite, got 0: ")]
CLASS_BARS = [({"z_t": [1]}, "z_t must hold 2 to 10 logits, got [1]: "),
              ({"z_t": 5}, "z_t must hold 2 to 10 logits, got 5: "),
              ({"z_t": [0] * 11}, "z_t must hold 2 to 10 logits, got [0, 0, 0, 0, 0, 0, ...]: "),
              ({"z_t": [0, float("nan")]}, "z_t must lie between -500 and 500, got nan: "),
              ({"z_t": "high"}, "z_t must be numeric, got 'high': "),
              ({"z_t": [1, 2], "y_g": 2}, "y_g must be a whole number from 0 to 1, got 2: "),
              ({"y_g": 0.5}, "y_g must be a whole number from 0 to 9, got 0.5: "),
              ({"rho": 1.5}, "rho must lie in [0, 1], got 1.5: "), ({"T": 0}, "T must be positive and finite, got 0: "),
              ({"T": 1e7}, "T must lie between 1e-3 and 1e6, got 1e+07: ")]


@pytest.mark.parametrize("explorer_class, bad, message", [
    *((explorer_class, *case) for explorer_class in (StudentExplorer, RiskExplorer) for case in LINE),
    (StudentExplorer, {"draw": 0}, "draw must be a whole number from 1 to 6, got 0: "),
    *((InefficiencyExplorer, *case) for case in GRADED), *((CorrectionExplorer, *case) for case in PLANE),
    *((ClassesExplorer, *case) for case in CLASS_BARS),
])
def test_explorer_refuses_bad_settings(explorer_class, bad, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        explorer_class(**bad)


def test_explorer_refuses_what_it_does_not_know():
    known = re.escape("no setting of StudentExplorer: it has T, draw, epoch, n, rho")
    with pytest.raises(TypeError, match=f"temperature is {known}"):
        StudentExplorer(temperature=2)
    with pytest.raises(TypeError, match=f"N is {known}"):
        StudentExplorer(examples=[("all samples", {"N": 200})])
    with pytest.raises(ValueError, match=re.escape("n must be a whole number from 1 to 200, got 201: ")):
        StudentExplorer(examples=[("more than all samples", {"n": 201})])
    own = StudentExplorer(n=40, examples=[("fewer samples", {"n": 4})])
    assert own.examples == [["fewer samples", {**own.examples[0][1], "n": 4, "rho": 0.5}]]
