"""Chapter 3's experiments: what their runs must satisfy whatever the draw, and what they refuse."""

import jax
import numpy as np
import pytest
from tolerances import STORED

from kdlib.experiments.transfer_risk import (
    BOUND_SIZES,
    CASES,
    DESCENT,
    LENGTH_SIZES,
    MAIN,
    ORACLES,
    SIZES,
    STUDENTS,
    DescentSetting,
    OracleSetting,
    Setting,
    ground_truth,
    proven_angle,
)
from kdlib.tasks import sample_inputs


def stored(experiment, case):
    found = experiment.stored(experiment.cases[case])
    return found.first(experiment.count(case))


@pytest.fixture(params=STUDENTS.cases)
def students(request):
    return stored(STUDENTS, request.param)


def test_no_risk_is_above_a_bound_of_the_same_points(students):
    at = np.searchsorted(LENGTH_SIZES, BOUND_SIZES)
    assert np.array_equal(LENGTH_SIZES[at], BOUND_SIZES)
    for bound in (students.theorem[:, at], students.teacher_side, students.student_side, students.phuong_lampert):
        assert (students.risk_beside_bounds <= bound + STORED).all()
    assert (students.teacher_side <= students.theorem[:, at] + STORED).all()


def test_lengths_grow_and_angles_fall_with_the_samples(students):
    assert (np.diff(students.norms) >= -STORED * students.norms[..., 1:]).all()
    assert (np.diff(students.angles_by_epoch) <= STORED).all() and (np.diff(students.angles) <= STORED).all()


def test_pure_soft_labels_of_the_main_teacher_are_the_same_student_twice(students):
    assert np.array_equal(students.risk[:, 0], students.risk_by_epoch[:, MAIN])
    assert np.array_equal(students.norms[:, 0], students.norms_by_epoch[:, MAIN])
    shared = np.isin(SIZES, BOUND_SIZES)
    assert np.array_equal(students.risk[:, 0, shared], students.risk_beside_bounds[:, np.isin(BOUND_SIZES, SIZES)])


def test_a_student_s_length_is_the_teacher_s_times_the_cosine_of_their_angle(students):
    teacher = students.norms_by_epoch / np.cos(students.angles_by_epoch)
    assert np.allclose(teacher, teacher[..., :1], rtol=1e-4)


@pytest.mark.parametrize("case", CASES.cases)
def test_theorem_1_holds_in_every_case(case):
    runs = stored(CASES, case)
    assert not runs.broken.any() and not runs.ours_broken.any() and (runs.improvement <= STORED).all()


def test_larger_oracles_are_longer_and_see_their_students_at_larger_angles():
    runs, sizes = stored(ORACLES, ""), OracleSetting().sizes
    assert (np.diff(runs.oracle_norms) >= -STORED * runs.oracle_norms[..., 1:]).all()
    assert np.allclose(runs.oracle_norms[..., -1], runs.norms[..., sizes == OracleSetting().N][..., 0], rtol=STORED)
    assert (np.diff(runs.p) >= 0).all() and (runs.closest[:, 0] < runs.closest[:, 1:].T).all()


def test_descent_on_pure_soft_labels_finds_the_teacher():
    """Its weights turn towards the teacher's, with the same lengths and the same angles to features in the end."""
    runs = stored(DESCENT, "")
    assert (np.diff(runs.to_teacher[..., 0]) < 0).all() and (runs.lengths[:, -1, 0] < runs.teacher_length).all()
    assert np.allclose(runs.p_of_descent[:, 0], runs.p_of_samples[:, 0], atol=0.03)


def test_an_angle_that_no_feature_is_nearer_to_its_oracle_than():
    """On a circle: inputs at 0, 10 and 30 degrees, of which the last is of the other class, 30 degrees away at most."""
    places = np.radians([0, 10, 30])
    assert np.isclose(np.degrees(proven_angle(np.cos(places - places[:, None]), np.array([1.0, 2.0, -1.0]))), 60)


def test_classes_are_of_equal_size():
    x = sample_inputs(jax.random.key(1), 500, 2)
    assert np.sum(np.asarray(ground_truth(jax.random.key(0), x)(x)) > 0) == 250


def test_bad_settings_are_refused():
    for message, make in {
        "d must be a whole number from 1 up, got 0": lambda: Setting(d=0),
        "d must be a whole number from 2 up, got 1": lambda: DescentSetting(d=1),
        "N must be a whole number from 500 up, got 100": lambda: OracleSetting(N=100),
        "T must be positive and finite, got 0": lambda: Setting(T=0),
    }.items():
        with pytest.raises(ValueError, match=message):
            make()
