"""The experiments of Chapter 4, at a size at which they take no time."""

from itertools import product

import jax
import numpy as np
import pytest
from tolerances import TRACE

from kdlib import NestedStudents, data_inefficiency
from kdlib.experiments import data_inefficiency as at_scale
from kdlib.tasks import sample_inputs

KEY = jax.random.key(0)


def needed(setting):
    """What the chapter computes from the norms at some numbers of samples: sizes and a window."""
    four, curve = (setting.sizes, 1.35), (setting.curve_sizes, 1.35)
    middle, window = setting.decade
    return four, ([middle], window), curve


@pytest.mark.parametrize("n_max", [100, 101, 256, 1000, 4321])
def test_norms_are_kept_wherever_a_slope_needs_them(n_max):
    """Data inefficiency refuses norms that lack an end of a window."""
    graded, curves = (at_scale.GradedSetting(n_max=n_max, curves=curves) for curves in (False, True))
    lessons, transition = at_scale.LessonsSetting(n_max=n_max), at_scale.TransitionSetting(n_max=n_max)
    constants, network = at_scale.ConstantsSetting(n_max=n_max), at_scale.NetworkSetting(n_max=n_max)
    four, decade, curve = needed(lessons)
    kept = [
        (graded.at, four), (curves.at, four), (curves.at, curve),
        (lessons.at, four), (lessons.at, decade), (lessons.curve_at, curve),
        (transition.at, four), (transition.decade_at, decade),
        (constants.at, decade), (constants.at, (constants.sizes[:-1], 1.35)),
        (network.at, ([n_max // 3, n_max], 1.35)),
    ]
    for at, (sizes, window) in kept:
        assert len(data_inefficiency(np.ones((2, len(at))), sizes, at=at, window=window).sizes) == len(sizes)
    assert n_max in graded.at and set(lessons.sizes) <= set(lessons.at)
    assert max(constants.at) == n_max and max(map(max, (graded.at, lessons.at, transition.at))) == lessons.samples


def test_a_longer_series_begins_with_the_runs_of_the_shorter_one():
    few, many = (at_scale.GradedSetting(n_max=100, curves=curves) for curves in (True, False))
    a, b = (at_scale.GRADED.repetition(at_scale.GRADED.key(setting, 0, 3), setting) for setting in (few, many))
    shared = np.isin(few.at, many.at)
    for name in ("shrinking", "equal", "flipped", "flipped_exactly", "zero", "random"):
        assert np.array_equal(getattr(a, name)[shared], getattr(b, name)), name


def test_the_series_of_soft_ratios_begins_with_the_lessons():
    setting, longer = at_scale.LessonsSetting(n_max=100), at_scale.TransitionSetting(n_max=100)
    short = at_scale.taught(at_scale.LESSONS.key(setting, 0, 3), setting)
    long = at_scale.from_soft_to_hard(at_scale.TRANSITION.key(longer, 0, 3), longer)
    at = lambda places: short.ratios[np.isin(setting.at, places)]
    assert np.allclose(long.soft, at(longer.at)[..., 0], rtol=TRACE)
    assert np.allclose(long.signs, at(longer.at)[..., -1], rtol=TRACE)
    assert np.allclose(long.decade, at(longer.decade_at), rtol=TRACE)
    first = np.isin(setting.curve_at, setting.at)
    assert np.allclose(short.first_ratios[first], short.ratios[np.isin(setting.at, setting.curve_at), 0], rtol=TRACE)


def test_experiments_draw_independently_of_each_other_and_of_the_teachers():
    salts = {(name, d): each.salt(setting(d=d)) for d in range(1, 11) for name, each, setting in (
        ("graded", at_scale.GRADED, at_scale.GradedSetting), ("lessons", at_scale.LESSONS, at_scale.LessonsSetting),
        ("constants", at_scale.CONSTANTS, at_scale.ConstantsSetting),
        ("networks", at_scale.NETWORKS, at_scale.NetworkSetting))}
    assert len(set(salts.values())) == len(salts)
    assert max(salts.values()) < 700  # where those of the teachers begin


def test_the_mean_over_all_flips_is_that_over_every_pattern_of_signs():
    x = sample_inputs(KEY, 6, 2)
    z, z_0 = np.array([1.0, -2.0, 0.5, 3.0, -1.0, 0.7]), np.linspace(-1, 1, 6)[:, None]
    students = NestedStudents(x, at_scale.GradedSetting().network.ntk)
    exactly = at_scale.over_all_flips(students, z, z_0)
    for j, p in enumerate(at_scale.FLIPS):
        mean = np.zeros(6)
        for flipped in product((False, True), repeat=6):
            chance = np.prod(np.where(flipped, p, 1 - p))
            mean += chance * students.weight_norms(np.where(flipped, -z, z) - z_0[:, 0]) ** 2
        assert exactly[:, j] == pytest.approx(np.sqrt(mean), rel=TRACE)


def test_teachers_err_less_the_later_they_stop_and_are_trained_once():
    setting = at_scale.TransitionSetting(n_max=100)
    wrong = at_scale.from_soft_to_hard(KEY, setting).wrong
    assert wrong.shape == (at_scale.TRUTHS, len(at_scale.EPOCHS))
    assert (wrong[:, -1] < wrong[:, 0]).all() and wrong[:, -1].max() < 0.2
    assert at_scale.LessonsSetting(n_max=200).lessons is setting.lessons


@pytest.mark.parametrize("arguments, message", [
    (dict(n_max=50), "n_max must be a whole number from 100 up, got 50"),
    (dict(d=2, activation="erf"), "d must be a whole number from 5 up, got 2: in fewer dimensions samples soon seem"),
    (dict(activation="tanh"), "activation must be one of relu, erf, gelu, got 'tanh'"),
    (dict(T=0), "T must be positive and finite, got 0"),
])
def test_settings_without_a_meaning_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        at_scale.LessonsSetting(**arguments)
