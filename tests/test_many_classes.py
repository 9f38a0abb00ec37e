"""Chapter 7's experiments: what they record is what the library says of one student at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib.classes import beats, class_targets
from kdlib.classifiers import MLP
from kdlib.experiments import many_classes as experiment
from kdlib.experiments.many_classes import EPOCHS, MAIN, MIXTURES, RATIOS, NetworkSetting, Setting
from kdlib.inefficiency import class_weight_norms
from kdlib.networks import fully_connected
from kdlib.risk import class_transfer_risk
from kdlib.students import NestedStudents
from kdlib.teachers import train_kernel_teacher

SETTING = Setting(classes=4, depth=1, T=3)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def recorded():
    """A task with few samples and test points, and its run."""
    with pytest.MonkeyPatch.context() as smaller:
        for name, value in dict(SIZES=np.array([20, 60]), AT=np.array([10, 60]), TEACHER_SAMPLES=50,
                                TEST_POINTS=200).items():
            smaller.setattr(experiment, name, value)
        yield experiment.draw_task(KEY, SETTING), experiment.repetition(KEY, SETTING)


def test_risks_norms_and_errors_are_those_of_one_student_at_a_time(recorded):
    task, run = recorded
    soft = task.z_t[..., MAIN]
    for i, size in enumerate((20, 60)):
        students = NestedStudents(task.x[:size], SETTING.kernel)
        learnt = lambda z, students=students: students.predict(task.x_test, z, [len(students)])[0]
        for j in (0, 2, 4):
            z = class_targets(soft[:size], soft[:size].argmax(axis=1), rho=RATIOS[j], T=3)
            assert run.risk[i, j] == class_transfer_risk(task.z_t_test[..., MAIN], learnt(z))
            if size == 60:
                assert run.norms[1, j] == pytest.approx(class_weight_norms(students, z)[-1])
        for e, j in ((0, 0), (3, 5), (2, 12)):
            z = class_targets(task.z_t[:size, :, e], task.y[:size], rho=MIXTURES[j], T=3)
            assert run.error[i, e, j] == np.mean(learnt(z).argmax(axis=1) != task.y_test)
    assert run.teacher[1] == np.mean(task.z_t_test[..., 1].argmax(axis=1) != task.y_test)


def test_no_student_is_longer_than_its_oracle_the_teacher(recorded):
    task, _ = recorded
    soft, (i, j) = task.z_t[..., MAIN], np.triu_indices(4, 1)
    norms = NestedStudents(task.x, SETTING.kernel).weight_norms(soft[:, i] - soft[:, j])[-1]
    lengths = task.lengths[i, j, MAIN]
    assert (norms <= lengths * (1 + 1e-9)).all() and (norms > 0.5 * lengths).all()


def test_a_teacher_of_two_classes_is_the_teacher_of_one_logit():
    x = np.random.default_rng(5).standard_normal((40, 2))
    y, kernel = (x[:, 0] > 0).astype(int), fully_connected(2).ntk
    a = experiment.train_softly(kernel(x, x), y, 2)
    binary = train_kernel_teacher(x, y, kernel, epochs=EPOCHS)
    assert np.allclose(a.sum(axis=2), 0)
    difference = np.abs(a[..., 1] - a[..., 0] - binary.coefficients).max(axis=1)
    scale = np.abs(binary.coefficients).max()
    assert (difference[:2] < 1e-10 * scale).all() and (difference < 0.01 * scale).all()


def test_sureness_is_what_the_pairwise_rule_compares_with_kappa():
    z_t, y = 3 * np.random.default_rng(5).standard_normal((300, 5)), np.arange(300) % 5
    for rho, T in ((0.8, 1.0), (0.95, 4.0)):
        right = np.asarray(beats(z_t, y, rho=rho, T=T).all(axis=-1))
        assert np.array_equal(right, experiment.sureness(z_t, y, T=T) < T * (1 - rho) / rho)
        assert 0 < right.mean() < 1


def test_shifted_images_begin_with_those_that_are_not():
    x = jnp.asarray(np.random.default_rng(5).standard_normal((2, 4, 5, 1)))
    shifted = experiment.shifted(x, 1)
    assert shifted.shape == (18, 4, 5, 1) and np.array_equal(shifted[:2], x)
    assert np.array_equal(shifted[2:4, 1:, 1:], x[:, :-1, :-1]) and (shifted[2:4, 0] == x.min()).all()
    assert np.array_equal(experiment.shifted(x, 0), x)


def test_a_student_corrects_some_of_the_mistakes_that_its_teacher_makes(monkeypatch):
    monkeypatch.setattr(experiment, "OWN", 60)
    monkeypatch.setattr(experiment, "NETWORK", MLP(width=16, depth=1))
    short, shifts = (experiment.corrections(KEY, NetworkSetting(steps=20, shifts=shifts)) for shifts in (0, 1))
    assert (short.mistakes.sum(axis=1) == short.mistakes.sum(axis=1)[0]).all() and short.mistakes.any()
    assert (short.corrected <= short.mistakes).all() and short.corrected.any()
    assert np.array_equal(short.mistakes, shifts.mistakes)  # the same samples and teacher
    assert not np.array_equal(short.error, shifts.error)


@pytest.mark.parametrize("make, message", [
    (lambda: Setting("digits", classes=3), "classes must be 10 for digits, got 3"),
    (lambda: Setting("sphere"), "data must be one of plane, digits, got 'sphere'"),
    (lambda: Setting(classes=1), "classes must be a whole number from 2 up, got 1"),
    (lambda: Setting(T=0), "T must be positive and finite, got 0"),
    (lambda: NetworkSetting("mnist"), "dataset must be one of digits, fashion_mnist, got 'mnist'"),
    (lambda: NetworkSetting(decay=-1), r"decay must lie in \[0, inf\), got -1"),
])
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
