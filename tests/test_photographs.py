"""The experiments on CIFAR-10, on pictures that are drawn here: no download, a second of training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib.experiments.photographs import (
    GRID,
    ForecastRun,
    GridRun,
    PhotographSetting,
    augmented,
    forecast,
    grid,
    pictures,
    score,
)

KEYS = jax.random.split(jax.random.key(0), 3)
TINY = replace(GRID.cases["drawn"], channels=(4,), n=20, n_teacher=40, steps=60, early=10, rho=(0.0, 0.9, 1.0),
               points=100)  # fmt: skip


def test_an_augmented_picture_is_a_cut_of_the_picture_or_of_its_mirror_image():
    x = jnp.arange(2 * 16 * 16, dtype=jnp.float32).reshape(2, 16, 16, 1) + 1
    seen = np.array([augmented(key, x) for key in jax.random.split(KEYS[0], 40)])
    found = set()
    for picture in seen[:, 1, :, :, 0]:
        padded = {mirror: np.pad(x[1, :, ::-1, 0] if mirror else x[1, :, :, 0], 2) for mirror in (False, True)}
        places = [(mirror, i, j) for mirror, whole in padded.items() for i in range(5) for j in range(5)
                  if np.array_equal(whole[i : i + 16, j : j + 16], picture)]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 20 and {mirror for mirror, *_ in found} == {False, True}


def test_forecast_and_grid_have_the_same_teachers():
    expected, found = forecast(KEYS, TINY), grid(KEYS, TINY)
    assert np.array_equal(expected.teacher, found.teacher) and len(set(found.teacher)) == 3
    assert expected.repaired.shape == expected.closed_form.shape == found.students.shape == (3, 3)
    assert (expected.repaired[:, 0] == 1).all() and (expected.repaired[:, -1] == 0).all()  # labels alone, teacher alone
    assert len(set(found.students[:, 0])) == 1  # one student of labels alone serves all teachers
    assert ((found.repaired >= 0) & (found.repaired <= 1)).all()


def test_forecasts_are_scored_by_the_criteria():
    # Two teachers, rho = 0, 0.9, 1, three repetitions. The closed form chooses 0.9 for one teacher and 1 for the other.
    noise = np.array([-0.01, 0.0, 0.01])[:, None, None] * np.array([[1], [3]])
    each = lambda *rows: np.array([rows] * 3)
    none = np.zeros((3, 2))
    expected = ForecastRun(none, none, each([1.0, 0.6, 0.0], [1.0, 0.8, 0.0]), each([0.5] * 3, [0.5] * 3),
                           each([0.9, 0.8, 0.85], [0.9, 0.8, 0.7]))
    students = each([0.3, 0.34, 0.4], [0.5, 0.41, 0.4]) + noise * np.array([1, 1, -1])
    found = score(TINY, expected, GridRun(none, students, each([0.95, 0.45, 0.05], [0.85, 0.8, 0.3])))
    assert found.ratio.tolist() == [0.9, 1.0] and found.pays.tolist() == [True, False]
    # Best on the other repetitions: 0 for the first teacher; for the second 1, or 0.9 where the other two say so.
    best = [np.delete(students[:, i], r, axis=0).mean(0).argmin() for r in range(3) for i in range(2)]
    lost = [[students[r, i, i + 1] - students[r, i, best[2 * r + i]] for i in range(2)] for r in range(3)]
    assert np.isclose(found.regret["forecast"].value, np.mean(lost))
    assert np.isclose(found.regret["forecast"].error, np.std(np.mean(lost, axis=1), ddof=1) / 3**0.5)
    assert found.outcomes == ["hit", "neither"]
    assert np.allclose(found.off, [[-0.05, -0.15, 0.05], [-0.15, 0.0, 0.3]]) and found.hits == 3
    poor = each([0.5, 0.44, 0.4], [0.3, 0.34, 0.4])
    assert score(TINY, expected, GridRun(none, poor, expected.repaired)).outcomes == ["miss", "miss"]


def test_pictures_are_normalised_and_have_ten_classes():
    data = pictures("drawn", 50)
    assert abs(float(data.x.mean())) < 1e-5 and abs(float(data.x.std()) - 1) < 1e-5
    assert set(data.y) == set(range(10)) and len(data.x_test) == len(data.y_test) == 50


@pytest.mark.parametrize("change, message", [
    (dict(dataset="imagenet"), "dataset must be one of cifar10, drawn, got 'imagenet'"),
    (dict(channels=()), "channels must have a number for each stage"),
    (dict(T=0.0), "T must be positive and finite, got 0"),
    (dict(rho=(0.5, 1.0)), r"rho must increase from 0 to 1, got \[0.5, 1.0\]"),
    (dict(learning_rate=0.0), "learning_rate must be positive and finite, got 0"),
])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PhotographSetting(**change)
