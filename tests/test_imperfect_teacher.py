"""Chapter 5's experiment: what a repetition records is what the library says of one student at a time."""

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from kdlib.distillation import effective_logit
from kdlib.experiments import imperfect_teacher as experiment
from kdlib.experiments.imperfect_teacher import EPOCHS, RATIOS, Setting
from kdlib.hard_labels import ground_truth_cosine, hard_label_projection
from kdlib.students import NestedStudents
from kdlib.tasks import labels

SETTING = Setting(d=3, depth=1, T=3, sizes=(16, 40))


@pytest.fixture(scope="module")
def recorded():
    """A task with few labels and test points, and its run."""
    with pytest.MonkeyPatch.context() as smaller:
        smaller.setattr(experiment, "TEACHER_SAMPLES", 300)
        smaller.setattr(experiment, "TEST_POINTS", 200)
        key = jax.random.key(5)
        return experiment.draw_task(key, SETTING), experiment.repetition(key, SETTING)


def test_errors_are_those_of_one_student_at_a_time(recorded):
    task, run = recorded
    students = NestedStudents(task.x, SETTING.kernel)
    wrong = lambda z: (z > 0) != (task.z_g_test > 0)
    for i, e, j, k in [(0, 0, 0, 3), (1, 5, 2, 7), (1, 10, 4, 11)]:
        T = SETTING.temperatures[j]
        z = effective_logit(task.z_t[:, e], labels(task.z_g), rho=RATIOS[k], T=T)
        student = wrong(students.predict(task.x_test, z, SETTING.sizes)[i])
        assert run.error[i, e, j, k] == student.mean()
        if T == SETTING.T:
            assert run.shared[i, e, k] == (student & wrong(task.z_t_test[:, e])).mean()
        assert run.teacher[e] == wrong(task.z_t_test[:, e]).mean()


def test_temperatures_and_teachers_do_not_matter_where_they_have_no_say(recorded):
    _, run = recorded
    soft, hard = run.error[..., 0], run.error[..., -1]
    assert (soft == soft[:, :, :1]).all() and (hard == hard[:, :1, :1]).all()
    assert (run.shared <= run.error[:, :, SETTING.temperatures.index(SETTING.T)]).all()
    assert (run.shared <= run.teacher[:, None]).all()


def test_angles_are_those_of_the_students_of_each_size(recorded):
    task, run = recorded
    y_g, at_T = labels(task.z_g), SETTING.temperatures.index(SETTING.T)
    for i, n in enumerate(SETTING.sizes):
        students = NestedStudents(task.x[:n], SETTING.kernel)
        for e in (0, 8):
            z_t = task.z_t[:n, e]
            for k, truth in enumerate(experiment.stand_ins(task.z_g)):
                parts = hard_label_projection(students, z_t, y_g[:n], truth[:n], T=SETTING.T)
                length = parts.correction[-1] * parts.complement[-1]
                assert run.turn[k, i, e] == pytest.approx(parts.projection[-1] / length, rel=1e-6)
                cosines = [ground_truth_cosine(students, z_t, y_g[:n], truth[:n], rho=rho, T=SETTING.T)[-1]
                           for rho in RATIOS]
                order = spearmanr(np.negative(cosines), run.error[i, e, at_T]).statistic
                assert run.along_ratio[k, i, e] == pytest.approx(order)
            length = NestedStudents(task.x, SETTING.kernel).weight_norms(task.z_g)[-1]
            soft = ground_truth_cosine(students, z_t, y_g[:n], task.z_g[:n], rho=1.0, T=SETTING.T, norm=length)
            assert run.cosine[i, e] == pytest.approx(soft[-1])


def test_classes_are_of_equal_size_and_teachers_improve(recorded):
    task, run = recorded
    assert np.mean(task.z_g_test > 0) == 0.5 and task.z_t.shape == (40, len(EPOCHS))
    assert run.teacher[-1] < run.teacher[0]


def test_ranks_are_correlated_as_scipy_does():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 9)), rng.integers(0, 3, (4, 9))
    one_by_one = [spearmanr(*pair).statistic for pair in zip(a, b, strict=True)]
    assert np.allclose(experiment.rank_correlation(a, b), one_by_one)


def test_the_main_students_size_joins_the_others():
    assert experiment.sizes_with(100) == (16, 32, 64, 100, 128, 256, 512, 1024)
    assert Setting(sizes=list(experiment.sizes_with(512))) == Setting()
    with pytest.raises(ValueError, match="n must be a whole number from 64 to 1024, got 10"):
        experiment.sizes_with(10)
    with pytest.raises(ValueError, match="T must be positive and finite, got 0"):
        Setting(T=0)
