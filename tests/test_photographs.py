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
TINY = replace(GRID.cases["drawn"], n=20, n_teacher=40, steps=6, early=2, rho=(0.0, 0.9, 1.0))


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
    assert np.array_equal(expected.teacher, found.teacher)
    assert expected.repaired.shape == expected.closed_form.shape == found.students.shape == (3, 3)
    assert (expected.repaired[:, 0] == 1).all() and (expected.repaired[:, -1] == 0).all()  # labels alone, teacher alone
    assert len(set(found.students[:, 0])) == 1  # one student of labels alone serves all teachers
    assert ((found.repaired >= 0) & (found.repaired <= 1)).all()


def test_forecasts_are_scored_by_the_criteria():
    # Two repetitions, one teacher; rho = 0, 0.9, 1. The closed form chooses 0.9; students are best at 0 both times.
    rho = (0.0, 0.9, 1.0)
    many = lambda *values: np.array([[values]] * 2) + np.array([0.0, 0.01])[:, None, None]
    expected = ForecastRun(many(0.4)[..., 0], many(0.4)[..., 0], many(1.0, 0.6, 0.0), many(0.5, 0.4, 0.6),
                           many(0.9, 0.8, 0.85))
    found = score(replace(TINY, rho=rho), expected, GridRun(many(0.4)[..., 0], many(0.3, 0.34, 0.4),
                                                              many(0.95, 0.45, 0.1 + 1e-9)))
    assert found.ratio == [0.9] and found.pays.all() and found.outcomes == ["hit"]
    assert np.allclose([found.regret[name].value for name in ("forecast", "0.9", "1")], [0.04, 0.04, 0.1])
    assert np.isclose(found.gain[0].value, 0.1)
    assert np.allclose(found.off, [[-0.05, -0.15, 0.1]]) and found.hits == 1
    poor = score(replace(TINY, rho=rho), expected, GridRun(many(0.4)[..., 0], many(0.5, 0.44, 0.4), expected.repaired))
    assert poor.outcomes == ["miss"] and poor.hits == 3


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
