"""Training: exact small cases, and that no interrupt costs anything."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdlib import effective_logit, fully_connected
from kdlib.tasks import sample_inputs
from kdlib.training import batches_by_seed, full_batch, mini_batches, online_batches, train

KEY = jax.random.key(0)
X = sample_inputs(KEY, 6, 2)
Z_T = jnp.array([-3.0, 2.0, 0.5, -1.0, 4.0, 1.0])
Y_G = jnp.array([0, 1, 1, 1, 0, 1])
network = fully_connected(1, width=32)


def logits_as_weights(w, x):
    """Every sample's logit is a weight of its own, whatever x."""
    return w


def test_free_logits_descend_to_the_effective_logits():
    rho, T = jnp.array([1.0, 0.5, 0.1]), jnp.array([3.0, 1.0, 5.0])
    done = train(logits_as_weights, jnp.zeros(6), full_batch(X, Z_T, Y_G), rho=rho, T=T, steps=4000, key=KEY,
                 optimizer=optax.sgd(20.0, momentum=0.9, nesterov=True))
    expected = effective_logit(Z_T[None], Y_G[None], rho=rho[:, None], T=T[:, None])
    assert np.allclose(done.params, expected, rtol=1e-9, atol=1e-9)


def test_steps_of_two_gradients_each_are_half_as_many():
    settings = dict(rho=[0.3, 0.6], T=2.0, key=KEY)
    one, other = (
        train(logits_as_weights, jnp.zeros(6), full_batch(X, Z_T, Y_G), steps=steps, optimizer=optimizer, **settings)
        for steps, optimizer in ((10, optax.MultiSteps(optax.sgd(1.0), 2)), (5, optax.sgd(1.0)))
    )
    assert np.allclose(one.params, other.params, rtol=1e-12)


def test_a_step_is_the_gradient_of_the_mean_loss():
    done = train(logits_as_weights, jnp.zeros(6), full_batch(X, Z_T, Y_G), rho=0.3, T=2.0, steps=1, key=KEY,
                 optimizer=optax.sgd(1.0))
    slope = 0.3 / 2 * (0.5 - jax.nn.sigmoid(Z_T / 2)) + 0.7 * (0.5 - Y_G)
    assert np.allclose(done.params, -slope / 6, rtol=1e-14)


def students(**changes):
    """Two seeds in three cells, with what `changes` says otherwise."""
    keys = jax.random.split(KEY, 2)
    weights = jax.vmap(lambda key: network.init(key, 2))(keys)
    settings = dict(rho=jnp.array([1.0, 0.5, 0.0]), T=2.0, steps=[3, 8], key=keys, optimizer=optax.adam(0.01),
                    record=lambda params: network.apply(params, X))
    batch = changes.pop("batch", mini_batches(X, Z_T, Y_G, size=2))
    return train(network.apply, changes.pop("params", weights), batch, **settings | changes)


def test_cells_and_seeds_are_trained_as_if_alone():
    together = students()
    assert together.records.shape == (2, 3, 2, 6)
    keys = jax.random.split(KEY, 2)
    for cell, rho in enumerate([1.0, 0.5, 0.0]):
        for seed, key in enumerate(keys):
            alone = students(rho=rho, key=key, params=network.init(key, 2))
            assert np.allclose(together.records[:, cell, seed], alone.records, rtol=1e-10, atol=1e-10)
    in_turn = students(in_turn=True)
    assert np.allclose(in_turn.records, together.records, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch", [full_batch(X, Z_T, Y_G), mini_batches(X, Z_T, Y_G, size=2),
                                   online_batches(lambda key: (sample_inputs(key, 4, 2), Z_T[:4], Y_G[:4]))])
def test_records_on_the_way_change_nothing(batch):
    recorded, straight = students(batch=batch, steps=[3, 8, 20]), students(batch=batch, steps=20)
    for one, other in zip(jax.tree.leaves(recorded.params), jax.tree.leaves(straight.params), strict=True):
        assert np.array_equal(one, other)


def test_a_step_is_an_array_whenever_a_batch_is_drawn():
    done = students(batch=lambda key, step: (X, step.astype(float) * Z_T, Y_G))
    assert np.isfinite(done.records).all()


def test_old_style_keys_are_keys():
    batch = mini_batches(X, Z_T, Y_G, size=2)
    old = students(batch=batch, key=jax.random.PRNGKey(0), params=network.init(KEY, 2))
    assert np.array_equal(old.records, students(batch=batch, key=KEY, params=network.init(KEY, 2)).records)


@pytest.mark.parametrize("rate, steps", [(np.inf, 8), (1e200, [2, 400])])
def test_divergence_is_an_error(rate, steps):
    with pytest.raises(ValueError, match=r"weights must stay finite, .*: lower the learning rate"):
        students(optimizer=optax.sgd(rate), steps=steps)


def test_mini_batches_show_every_sample_once_an_epoch():
    batch = mini_batches(jnp.arange(6.0)[:, None], Z_T, Y_G, size=2)
    seen = np.array([batch(KEY, step)[0].ravel() for step in range(6)]).reshape(2, 6)
    assert np.array_equal(np.sort(seen, axis=1), np.tile(np.arange(6), (2, 1)))
    assert not np.array_equal(seen[0], seen[1])


def test_seeds_with_samples_of_their_own_are_trained_as_if_alone():
    keys, weights = jax.random.split(KEY, 2), jnp.zeros((2, 2))
    x, z_t, y_g = jnp.stack([X, 2 * X]), jnp.stack([Z_T, -Z_T]), jnp.stack([Y_G, 1 - Y_G])
    settings = dict(rho=[1.0, 0.5], T=2.0, steps=20, optimizer=optax.sgd(0.1))
    linear = lambda w, x: x @ w
    both = train(linear, weights, batches_by_seed(x, z_t, y_g, size=4), key=keys, **settings)
    for i in range(2):
        own = slice(i, i + 1)
        alone = train(linear, weights[own], batches_by_seed(x[own], z_t[own], y_g[own], size=4), key=keys[own],
                      **settings)
        assert np.allclose(both.params[:, own], alone.params, rtol=1e-12)
    with pytest.raises(ValueError, match="a batch with arrays for each seed must come with as many keys"):
        train(linear, weights[0], batches_by_seed(x, z_t, y_g, size=4), key=KEY, **settings)
    with pytest.raises(ValueError, match=r"x, z_t, y_g must have the same first two axes, \(seeds, n\)"):
        batches_by_seed(x, z_t[0], y_g, size=4)
    with pytest.raises(ValueError, match="z_t must be finite, got nan"):
        batches_by_seed(x, z_t.at[0, 0].set(jnp.nan), y_g, size=4)


def test_another_loss_is_descended():
    square = lambda z_s, z_t, y_g, *, rho, T: jnp.mean((z_s - rho * z_t) ** 2)
    done = train(logits_as_weights, jnp.zeros(6), full_batch(X, Z_T, Y_G), rho=[1.0, 0.5], T=1.0, steps=1, key=KEY,
                 optimizer=optax.sgd(3.0), loss=square)
    assert np.allclose(done.params, [Z_T, Z_T / 2])


def test_bad_training_arguments_are_refused():
    with pytest.raises(ValueError, match=r"steps must increase, got \[5, 5\]"):
        students(steps=[5, 5])
    with pytest.raises(ValueError, match=r"rho must lie in \[0, 1\], got 1.5"):
        students(rho=1.5)
    with pytest.raises(ValueError, match=r"f must return logits of the teacher's shape, \(6,\), got \(6, 1\)"):
        train(lambda w, x: (x @ w)[:, None], jnp.zeros(2), full_batch(X, Z_T, Y_G), rho=1, T=1, steps=1, key=KEY,
              optimizer=optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"key must be a JAX key, got 0: write jax.random.key\(0\)"):
        students(key=0)
    with pytest.raises(ValueError, match="every leaf of params must have a first axis over the 2 seeds"):
        students(params=network.init(KEY, 2))
    with pytest.raises(ValueError, match=r"z_t must have shape \(n,\), got \(6, 1\)"):
        full_batch(X, Z_T[:, None], Y_G)
    with pytest.raises(ValueError, match="x must be finite, got nan"):
        full_batch(X.at[0].set(jnp.nan), Z_T, Y_G)
    with pytest.raises(ValueError, match=r"steps must be a number or a list of some, got shape \(0,\)"):
        students(steps=[])
    with pytest.raises(ValueError, match=r"steps must be numeric, got \[\[1\], \[1, 2\]\]"):
        students(steps=[[1], [1, 2]])
    with pytest.raises(ValueError, match=r"optimizer must have init and update, .* write optax.sgd"):
        students(optimizer=optax.sgd)
    with pytest.raises(ValueError, match="shapes must broadcast"):
        students(T=jnp.ones(2))
    with pytest.raises(ValueError, match=r"rho and T must be numbers or vectors, got shapes \(0,\) and \(\)"):
        students(rho=[])
    with pytest.raises(ValueError, match="size must be a whole number from 1 to 6, got 7"):
        mini_batches(X, Z_T, Y_G, size=7)
    with pytest.raises(ValueError, match="must have one row for each sample, got x 6, z_t 6, y_g 5"):
        full_batch(X, Z_T, Y_G[:5])


@pytest.mark.parametrize("change, message", [
    (dict(y_g=lambda y, z: y + 1), "y_g must be 0 or 1, got 2 .*: encode the two classes"),
    (dict(y_g=lambda y, z: y[..., None]), r"y_g must have shape \(seeds, n\) .*, got \(1, 6, 1\) and \(1, 6\)"),
    (dict(z_t=lambda y, z: jnp.stack([z, -z, 0 * z], axis=-1), y_g=lambda y, z: y + 2),
     "y_g must be classes from 0 to 2, got 3 .*: number the classes from 0, in the order"),
    (dict(size=2.5), "size must be a whole number from 1 up, got 2.5"),
    (dict(size="4"), "size must be a whole number from 1 up, got '4': write it without quotes"),
])
def test_labels_of_all_seeds_are_checked_where_they_are_given(change, message):
    """Inside a traced step nothing could tell."""
    arrays = {name: change.get(name, lambda y, z, own=own: own)(Y_G[None], Z_T[None])
              for name, own in (("z_t", Z_T[None]), ("y_g", Y_G[None]))}
    with pytest.raises(ValueError, match=message):
        batches_by_seed(X[None], **arrays, size=change.get("size", 4))


@pytest.mark.parametrize("x, y_g, message", [
    (X, 2 * Y_G - 1, "y_g must be 0 or 1, got -1"), (X, Y_G + 1, "y_g must be 0 or 1, got 2"),
    (X, Y_G[:, None], r"z_s, z_t, y_g must have one shape for the same samples, .* y_g \(6, 1\), which would pair all"),
    (X * jnp.nan, Y_G, "x must be finite, got nan .*: repair what draws the samples"),
])
@pytest.mark.parametrize("kind", ["drawn", "by hand", "for seeds"])
def test_what_is_drawn_is_checked_before_the_first_step(x, y_g, message, kind):
    draw = lambda key, step: (x, Z_T, y_g)
    batch, key, weights = online_batches(lambda key: draw(key, 0)) if kind == "drawn" else draw, KEY, jnp.zeros(2)
    if kind == "for seeds":
        key, weights = jax.random.split(KEY, 2), jnp.zeros((2, 2))
    with pytest.raises(ValueError, match=message):
        train(lambda w, x: x @ w, weights, batch, rho=[0.5, 0.6], T=1.0, steps=1, key=key, optimizer=optax.sgd(0.1))


def test_a_batch_is_three_arrays():
    with pytest.raises(ValueError, match=r"batch must return x, z_t and y_g, got .*: give the three as a tuple"):
        students(batch=lambda key, step: (X, Z_T))
