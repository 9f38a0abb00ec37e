"""The bound beside trained networks: at a tiny size, and where it must hold."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kdlib.experiments.trained_networks import KERNELS, TrainedSetting, _auc, repetition

TINY = TrainedSetting(width=16, depth=1, n=20, oracle=40, n_teacher=30, steps=20, points=100)


def test_the_area_is_scikit_learns():
    rng = np.random.default_rng(0)
    found, score = rng.random(50) < 0.3, rng.integers(0, 9, 50).astype(float)  # with ties
    assert _auc(found, score) == pytest.approx(roc_auc_score(found, score), rel=1e-12)
    assert np.isnan(_auc(np.zeros(5, bool), score[:5]))


def test_a_run_has_every_kernel():
    run = repetition(jax.random.key(0), TINY)
    assert run.bound.shape == run.beyond.shape == run.used.shape == run.ranked.shape == (len(KERNELS),)
    assert ((run.bound >= 0) & (run.bound <= 1)).all() and run.moved > 0
    assert (run.beyond <= 0.01 + (run.used > 1)).all()  # who keeps 99 points of 100 leaves one in 100 beyond


def test_after_one_step_the_kernel_has_moved_less_and_more_is_left_to_learn():
    run = repetition(jax.random.key(1), replace(TINY, steps=1))
    longer = repetition(jax.random.key(1), replace(TINY, steps=200))
    assert run.moved < longer.moved and run.unlearnt > longer.unlearnt


@pytest.mark.parametrize("change, message", [
    (dict(oracle=10), "oracle must be at least n, 20, got 10"),
    (dict(dataset="cifar10"), "dataset must be one of digits, fashion_mnist, got 'cifar10'"),
    (dict(width=0), "width must be a whole number from 1 up, got 0"),
])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValueError, match="digits must have 1400 training samples for student and teacher, got 1297"):
        repetition(jax.random.key(0), replace(TINY, oracle=1370))
