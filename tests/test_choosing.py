"""Chapter 8's experiments: the truth beside which the advisor is judged, and how it is counted."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from kdlib.classes import class_targets
from kdlib.datasets import load
from kdlib.distillation import distillation_loss, targets
from kdlib.experiments import advice as experiment
from kdlib.experiments.advice import Drawn, NetworkSetting, Run, Setting, regrets
from kdlib.networks import fully_connected

KEY = jax.random.key(3)
CELLS = np.array([(1, 1), (0.9, 4), (0.5, 2), (0, 1)], [("rho", float), ("T", float)])


def drawn(K, d=3, n=60, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2 * n, d)), 2 * rng.normal(size=(2 * n, K))
    y = np.array([rng.choice(K, p=p) for p in softmax(z, axis=1)])
    z = z[:, 1] - z[:, 0] if K == 2 else z
    return Drawn(x[:n], y[:n], z[:n], x[n:], y[n:], z[n:])


@pytest.mark.parametrize("K", [2, 4])
def test_the_truth_is_the_error_of_one_student_at_a_time(K):
    some, kernel = drawn(K), fully_connected(1).ntk
    errors = experiment.student_errors(some, CELLS, (20, 60), kernel)
    for row, n in zip(errors, (20, 60), strict=True):
        for error, (rho, T) in zip(row, CELLS, strict=True):
            z = np.asarray((targets if K == 2 else class_targets)(some.z_t[:n], some.y[:n], rho=rho, T=T))
            z_s = kernel(some.x_test, some.x[:n]) @ np.linalg.solve(kernel(some.x[:n], some.x[:n]), z)
            assert error == np.mean((z_s > 0 if K == 2 else z_s.argmax(axis=1)) != some.y_test)


def test_linear_students_meet_their_targets_or_are_at_the_minimum_of_the_loss():
    some = drawn(2, d=30)
    errors = experiment.student_errors(some, CELLS, (20, 60), None)
    z = np.asarray(targets(some.z_t[:20], some.y[:20], rho=0.9, T=4))
    assert errors[0, 1] == np.mean((some.x_test @ np.linalg.pinv(some.x[:20]) @ z > 0) != some.y_test)

    few = drawn(2)  # three features
    weights = experiment.least_loss(few, 60, CELLS)
    for w, (rho, T) in zip(weights.T, CELLS, strict=True):
        slope = jax.grad(lambda w, rho=rho, T=T: distillation_loss(few.x @ w, few.z_t, few.y, rho=rho, T=T))(w)
        assert np.abs(slope).max() < 1e-6
    of_labels = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(few.x, few.y)
    assert np.allclose(weights[:, 3], of_labels.coef_[0], atol=1e-4)


@pytest.mark.parametrize("K, kernel", [(2, fully_connected(1).ntk), (3, fully_connected(1).ntk), (2, None)])
def test_the_one_shot_weight_has_the_smallest_squared_error_on_samples_left_out(K, kernel):
    some = drawn(K, n=25)
    if K == 2:
        p, e = 2 * expit(some.z_t)[:, None] - 1, 2.0 * some.y[:, None] - 1
    else:
        p, e = softmax(some.z_t, axis=1) - 1 / K, np.eye(K)[some.y] - 1 / K

    def student(rest, x, xi):
        z = xi * p[rest] + (1 - xi) * e[rest]
        if kernel:
            return kernel(x, some.x[rest]) @ np.linalg.solve(kernel(some.x[rest], some.x[rest]), z)
        return x @ np.linalg.lstsq(some.x[rest], z, rcond=None)[0]

    def left_out(xi):
        return sum(np.sum((e[i] - student(np.delete(np.arange(25), i), some.x[[i]], xi)[0]) ** 2) for i in range(25))

    weight, error = experiment.one_shot(some, 25, kernel)
    around = [left_out(weight + step) for step in (-1e-3, 0, 1e-3)]
    assert around[1] < min(around[0], around[2]) and np.isclose(around[0], around[2], rtol=1e-6)
    z_s = student(np.arange(25), some.x_test, weight)
    assert error == np.mean((z_s[:, 0] > 0 if K == 2 else z_s.argmax(axis=1)) != some.y_test)


def given(**changes):
    """A piece of advice to move from the second of four cells to the third."""
    cells = np.zeros(4, [(name, float) for name in ("rho", "T", "estimate", "mistakes")])
    cells["rho"], cells["T"] = CELLS["rho"], CELLS["T"]
    cells["estimate"], cells["mistakes"] = [0.4, 0.3, 0.2, 0.5], [0.1, 0.1, 0.2, 0.3]
    forecast = lambda n: SimpleNamespace(low=0.1, error=0.2, high=n / 1000)
    return SimpleNamespace(**dict(rho=0.5, T=2.0, verdict="move", cells=cells, avoid=((1.0, 1.0), (0.0, 1.0)),
                                  forecast=forecast) | changes)  # fmt: skip


def test_advice_is_counted_as_the_protocol_says():
    error = np.array([0.3, 0.2, 0.1, 0.1])
    found = experiment.judged(given(), error)
    assert found == dict(verdict=1, advised=0.1, smallest=0.1, fewest=0.25, avoided=2, worse=1, harmful=False)
    found = experiment.judged(given(rho=0.9, T=4.0, verdict="keep", avoid=((0.5, 2.0), (0.0, 1.0))), error)
    assert (found["verdict"], found["advised"], found["worse"], found["harmful"]) == (0, 0.2, 0, True)
    found = experiment.judged(given(avoid=()), error)
    assert (found["avoided"], found["worse"], found["harmful"]) == (0, 0, False)
    found = experiment.ahead(given(), 100, {200: error, 300: error})
    assert found["forecast"] == [(0.1, 0.2, 0.2), (0.1, 0.2, 0.4)]
    assert found["later"][0] == 0.1 and np.isnan(found["later"][1])


def test_regrets_are_points_above_the_best_cell_of_the_same_draw():
    blank = {name: None for name in Run.__dataclass_fields__}
    error = np.array([[[0.3, 0.2, 0.1, 0.4]], [[0.2, 0.3, 0.2, 0.1]]])  # draws, sizes, cells
    run = Run(**blank | dict(rho=np.tile(CELLS["rho"], (2, 1)), T=np.tile(CELLS["T"], (2, 1)), error=error,
                             advised=np.array([[0.1], [0.2]]), smallest=np.array([[0.2], [0.1]]),
                             fewest=np.array([[0.15], [0.1]]), one_shot=np.array([[0.05], [0.2]])))  # fmt: skip
    expected = {"the advisor": [0, 10], "smallest estimate": [10, 0], "default": [10, 20], "rho = 1": [20, 10],
                "rho = 0": [30, 0], "random": [15, 10], "fewest mistakes": [5, 0], "one-shot": [-5, 10],
                "best elsewhere": [30, 10]}  # fmt: skip
    found = regrets(run)
    assert list(found) == list(expected)
    for way, points in expected.items():
        assert found[way].ravel() == pytest.approx(points), way


def test_a_draw_has_no_input_twice_and_its_teacher_has_seen_no_sample(monkeypatch):
    seen = []

    class Noted(LogisticRegression):
        def fit(self, x, y):
            seen.append(x)
            return super().fit(x, y)

    monkeypatch.setattr(experiment, "untrained", lambda name, seed: Noted())
    some = experiment.draw(KEY, "iris")
    inputs = np.concatenate([*seen, some.x, some.x_test])
    assert len(seen[0]) == 40 and len(some.x) == len(some.y) == len(some.z_t) == 50
    assert len(np.unique(inputs, axis=0)) == len(inputs)
    again, other = experiment.draw(KEY, "iris"), experiment.draw(jax.random.key(4), "iris")
    assert np.array_equal(again.x, some.x) and not np.array_equal(other.x, some.x)


@pytest.mark.parametrize("name", [name for name, task in experiment.TASKS.items()
                                  if task.source != "fashion_mnist"])  # fmt: skip
def test_every_task_has_samples_classes_and_finite_logits(name, monkeypatch):
    monkeypatch.setattr(experiment, "untrained", lambda name, seed: LogisticRegression(max_iter=100))
    some = experiment.draw(KEY, name)
    K = some.y.max() + 1
    assert len(some.x) == experiment.TASKS[name].largest and len(some.x_test) >= 50
    assert set(some.y) == set(some.y_test) == set(range(K)) and some.z_t.shape[1:] == (() if K == 2 else (K,))
    assert np.isfinite(some.z_t).all() and np.isfinite(some.x).all()


def test_without_fashion_mnist_its_tasks_are_left_out_with_a_line(monkeypatch, tmp_path):
    def offline(name, **more):
        if name == "fashion_mnist":
            raise ConnectionError("it must be reachable")
        return load(name, **more)

    experiment.images.cache_clear()
    monkeypatch.setattr(experiment, "load", offline)
    few = {name: Setting(name) for name in ("iris", "shoes")}
    monkeypatch.setitem(experiment.JUDGED.__dict__, "cases", few)
    monkeypatch.setattr(type(experiment.JUDGED), "path", lambda self, case, folder=None: tmp_path / "none.npz")
    said = []
    found = experiment.results(experiment.JUDGED, draws=2, say=said.append)
    assert list(found) == ["iris"] and said == ["shoes is left out: it must be reachable"]


@pytest.mark.parametrize("make, message", [
    (lambda: Setting("mnist"), "task must be one of iris, wine, .*got 'mnist'"),
    (lambda: Setting(depth=0), "depth must be a whole number from 1 up, got 0"),
    (lambda: NetworkSetting("iris"), "task must be one of digits_boosting, .*got 'iris'"),
    (lambda: NetworkSetting(steps=0), "steps must be a whole number from 1 up, got 0"),
])
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_networks_of_all_cells_learn(monkeypatch):
    monkeypatch.setattr(experiment, "SAMPLES", 60)
    some = drawn(3)
    seen = some._replace(x_test=some.x, y_test=some.y)
    error = experiment.network_errors(KEY, seen, CELLS, 300)
    assert error.shape == (4,) and error[3] < 0.2 < np.mean(some.y != np.bincount(some.y).argmax())
