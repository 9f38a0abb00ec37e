"""The experiments of Appendix S2: their shapes at a tiny size, and a cell of the stored runs anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib import practical
from kdlib.practical import _cells, _fit, _logits, _samples, closed_form, grid, images, setting, transfer

KEY = jax.random.key(0)
TINY = dict(n=20, n_teacher=30, rho=(0.0, 0.5, 1.0), T=(1.0, 5.0), steps=4, early=1, sizes=(10, 20), seeds=3, points=50)


def test_samples_of_student_and_teacher_are_disjoint():
    chosen = setting("digits", **TINY)
    data = images(chosen)
    own, other = _samples(KEY, chosen, data, 20, 30)
    assert own.shape == (3, 20) and other.shape == (3, 30)
    assert all(len({*a, *b}) == 50 for a, b in zip(own, other, strict=True))
    assert not np.array_equal(own[0], own[1])
    assert abs(float(data.x.mean())) < 1e-5 and abs(float(data.x.std()) - 1) < 1e-5


def test_a_grid_has_every_teacher_and_one_student_of_hard_labels():
    results = grid(KEY, setting("digits", **TINY))
    assert list(results) == ["under-trained", "comparable", "better"]
    for result in results.values():
        assert result["students"].shape == (3, 2, 3) and result["teacher"].shape == result["at samples"].shape == (3,)
        assert np.array_equal(result["students"][0, 0], result["students"][0, 1])
    assert np.array_equal(*(results[name]["students"][0] for name in ("comparable", "better")))


def test_resnet20_takes_images_of_the_size_of_cifar():
    """At a tiny size, on noise: nothing is learnt, but every step of the way is taken."""
    x, z_t = jax.random.normal(KEY, (1, 4, 32, 32, 3), jnp.float32), jax.random.normal(KEY, (1, 4, 10), jnp.float32)
    chosen = setting("cifar10", "resnet20", size=2)
    params = _fit(jax.random.split(KEY, 1), chosen, x, z_t, jnp.arange(4)[None], rho=0.9, T=5.0, steps=2).params
    z = _logits(chosen, params, x)
    assert z.shape == (1, 4, 10) and np.isfinite(z).all() and z.any()


def test_transfer_and_closed_form_at_a_tiny_size():
    risk = transfer(KEY, setting("digits", **TINY))["risk"]
    assert risk.shape == (3, 3, 2) and ((risk >= 0) & (risk <= 1)).all()
    result = closed_form(KEY, setting("digits", **TINY), which=["comparable"], steps=3)["comparable"]
    assert result["kernel"].shape == result["networks"].shape == (3, 2, 3)
    assert result["kernel"].max() < 0.5  # trained to the end, unlike the networks


def test_cells_are_the_grid():
    (rho, T), place = _cells((0.0, 0.9, 1.0), (2.0, 5.0))
    assert len(rho) == 5
    for i, r in enumerate((0.0, 0.9, 1.0)):
        for j, t in enumerate((2.0, 5.0)):
            assert rho[place[i, j]] == r and (r == 0 or T[place[i, j]] == t)


@pytest.mark.parametrize("change, message", [
    (dict(model="vgg"), "model must be mlp, resnet, resnet20, got 'vgg'"),
    (dict(rho=(0.5, 1.0)), r"rho must increase from 0 to 1, got \[0.5, 1.0\]"),
    (dict(rho=(0.0, 1.2)), r"rho must lie in \[0, 1\], got 1.2"),
    (dict(T=()), "T must be a list of temperatures, got none"),
    (dict(T=(0.0,)), "T must be positive and finite, got 0"),
    (dict(seeds=2), "seeds must be a whole number from 3 up, got 2"),
    (dict(early=1000), "early must be below steps, 1000, got 1000"),
    (dict(n=0), "n must be a whole number from 1 up, got 0"),
    (dict(sizes=(20, 10)), r"sizes must increase, got \[20, 10\]"),
])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        setting(**change)


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValueError, match="digits must have 1400 training samples for student and teacher, got 1297"):
        grid(KEY, setting("digits", n_teacher=1200))
    with pytest.raises(ValueError, match=r"which must name some of .*, got \['best'\]"):
        grid(KEY, setting("digits", **TINY), which=["best"])


def test_the_command_writes_what_stored_reads(tmp_path, monkeypatch):
    monkeypatch.setitem(practical.EXPERIMENTS, "grid", lambda key, setting: {"comparable": {"teacher": np.ones(2) / 3}})
    practical.main(["grid", "digits", "mlp", "--output", str(tmp_path / "practical_grid_digits_mlp.json")])
    (tmp_path / "stored").mkdir()
    (tmp_path / "practical_grid_digits_mlp.json").rename(tmp_path / "stored/practical_grid_digits_mlp.json")
    monkeypatch.setattr(practical, "files", lambda package: tmp_path)
    run = practical.stored("grid", "digits", "mlp")
    assert run["results"]["comparable"]["teacher"].tolist() == [0.33333, 0.33333] and run["setting"]["n"] == 200
    assert practical.stored("grid", "digits", "resnet20") is None


def test_one_cell_of_the_stored_run_comes_out_again():
    run = practical.stored("grid", "digits", "mlp")
    before = run["results"]["comparable"]
    again = grid(jax.random.key(run["seed"]), setting("digits", "mlp", rho=(0.0, 0.9, 1.0), T=(5.0,)),
                 which=["comparable"])["comparable"]
    old = before["students"][[run["setting"]["rho"].index(r) for r in (0.0, 0.9, 1.0)],
                             run["setting"]["T"].index(5.0)]
    # Single precision on another machine changes some answers in a thousand; seeds differ by more.
    assert np.allclose(again["teacher"], before["teacher"], atol=0.02)
    assert np.abs(again["students"][:, 0] - old).mean() < 0.005
