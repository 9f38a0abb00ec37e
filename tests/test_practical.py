"""The experiments of Appendix S2 at a tiny size: shapes, pairing, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib.classifiers import MLP
from kdlib.experiments.practical import (
    COPIES,
    MODELS,
    TEACHERS,
    _cells,
    _fit,
    _logits,
    closed_form,
    disjoint_samples,
    grid,
    images,
    setting,
    transfer,
)

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
TINY = setting("digits", n=20, n_teacher=30, rho=(0.0, 0.5, 1.0), T=(1.0, 5.0), steps=4, early=1, sizes=(10, 20),
               points=50)  # fmt: skip


@pytest.fixture(autouse=True)
def a_small_network(monkeypatch):
    monkeypatch.setitem(MODELS, "mlp", MLP(width=32, depth=1))


def test_samples_of_student_and_teacher_are_disjoint():
    data = images(TINY)
    own, other = disjoint_samples(KEY, TINY, data, 20, 30)
    assert len({*own, *other}) == 50
    assert not np.array_equal(own, disjoint_samples(jax.random.key(1), TINY, data, 20)[0])
    assert abs(float(data.x.mean())) < 1e-5 and abs(float(data.x.std()) - 1) < 1e-5


def test_a_grid_has_every_teacher_and_one_student_of_hard_labels():
    run = grid(KEYS, TINY)
    assert run.students.shape == (3, 3, 2) and run.teacher.shape == run.at_samples.shape == (3,)
    assert np.array_equal(run.students[:, 0, 0], run.students[:, 0, 1])
    assert len(set(run.students[:, 0, 0])) == 1  # whose teacher does not matter
    assert len({students.tobytes() for students in run.students}) == 3  # else none could be taken for another
    one = grid(KEYS, TINY, which=["comparable"])
    assert np.array_equal(one.students[0], run.students[TEACHERS.index("comparable")])


def test_resnet20_takes_images_of_the_size_of_cifar():
    """At a tiny size, on noise: nothing is learnt, but every step of the way is taken."""
    draw = np.random.default_rng(0)
    x, z_t = (jnp.asarray(draw.standard_normal((1, 4, *shape)), jnp.float32) for shape in ((32, 32, 3), (10,)))
    chosen = setting("cifar10", "resnet20", size=2)
    params = _fit(jax.random.split(KEY, 1), chosen, x, z_t, jnp.arange(4)[None], rho=0.9, T=5.0, steps=2).params
    z = _logits(chosen, params, x)
    assert z.shape == (1, 4, 10) and np.isfinite(z).all() and z.any()


def test_transfer_and_closed_form_at_a_tiny_size(monkeypatch):
    risk = transfer(KEYS, TINY).risk
    assert risk.shape == (len(COPIES), 2) and ((risk >= 0) & (risk <= 1)).all()
    monkeypatch.setattr("kdlib.experiments.practical.DESCENT", (3, 0.5))
    run = closed_form(KEY, TINY)
    assert run.kernel.shape == run.networks.shape == (3, 3, 2)
    assert run.kernel[TEACHERS.index("comparable")].max() < 0.5  # trained to the end, unlike the networks


def test_cells_are_the_grid():
    (rho, T), place = _cells((0.0, 0.9, 1.0), (2.0, 5.0))
    assert len(rho) == 5
    for i, r in enumerate((0.0, 0.9, 1.0)):
        for j, t in enumerate((2.0, 5.0)):
            assert rho[place[i, j]] == r and (r == 0 or T[place[i, j]] == t)


@pytest.mark.parametrize("change, message", [
    (dict(model="vgg"), "model must be one of mlp, resnet, resnet20, got 'vgg'"),
    (dict(rho=(0.5, 1.0)), r"rho must increase from 0 to 1, got \[0.5, 1.0\]"),
    (dict(rho=(0.0, 1.2)), r"rho must lie in \[0, 1\], got 1.2"),
    (dict(T=()), r"T must be a list of one or more numbers, got \(\)"),
    (dict(T=(0.0,)), "T must be positive and finite, got 0"),
    (dict(early=1000), "early must be below steps, 1000, got 1000"),
    (dict(n=0), "n must be a whole number from 1 up, got 0"),
    (dict(sizes=(20, 10)), r"sizes must increase, got \[20, 10\]"),
    (dict(n_teacher=100), "n_teacher must be at least n, 200, got 100"),
])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        setting(**change)


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValueError, match="digits must have 1400 training samples for student and teacher, got 1297"):
        grid(KEYS, setting("digits", n_teacher=1200))
