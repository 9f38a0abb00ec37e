"""Synthetic tasks: the moments of inputs, mixtures by hand, the rate of flips, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib.tasks import GaussianMixture, flip_signs, labels, random_mixture, sample_inputs

KEY = jax.random.key(0)
X = sample_inputs(KEY, 6, 2)


@pytest.mark.parametrize(
    "distribution, second, fourth", [("normal", 1, 3), ("uniform", 1 / 3, 1 / 5), ("sphere", 1, 1.8)]
)
def test_inputs_have_the_moments_of_their_distribution(distribution, second, fourth):
    x = np.asarray(sample_inputs(KEY, 100_000, 3, distribution=distribution))
    for power, moment in ((1, 0), (2, second), (4, fourth)):
        values = x**power
        assert (np.abs(values.mean(axis=0) - moment) < 5 * values.std(axis=0) / np.sqrt(len(x)) + 1e-12).all()


def test_whole_floats_are_numbers_of_inputs():
    assert np.array_equal(sample_inputs(KEY, 1e1, np.float32(2)), sample_inputs(KEY, 10, 2))


def test_a_mixture_is_the_sum_of_its_modes():
    mixture = random_mixture(KEY, 4, 2, widths=(0.3, 0.8))
    assert ((mixture.widths > 0.3) & (mixture.widths < 0.8)).all() and (jnp.abs(mixture.centers) <= 1).all()
    by_hand = [
        sum(a * np.exp(-np.sum((x - c) ** 2) / s**2)
            for a, c, s in zip(mixture.amplitudes, mixture.centers, mixture.widths, strict=True))
        for x in X
    ]
    assert np.allclose(mixture(X), by_hand, rtol=1e-12)
    assert np.array_equal(random_mixture(KEY, 3, 2, widths=0.5).widths, [0.5] * 3)


def test_a_mixture_may_be_made_and_called_under_jit():
    traced = jax.jit(lambda key, x: random_mixture(key, 3, 2, widths=0.5)(x))(KEY, X)
    assert np.allclose(traced, random_mixture(KEY, 3, 2, widths=0.5)(X), rtol=1e-12)


def test_flips_come_at_their_rate():
    z = jnp.full(100_000, 2.0)
    flipped = np.asarray(flip_signs(KEY, z, p_flip=0.3))
    assert set(flipped) == {-2.0, 2.0}
    assert abs((flipped < 0).mean() - 0.3) < 5 * np.sqrt(0.21 / len(z))
    assert np.array_equal(flip_signs(KEY, z, p_flip=0), z) and np.array_equal(flip_signs(KEY, z, p_flip=1), -z)


MODES = dict(amplitudes=[1.0, 2.0], centers=[[0.0], [1.0]], widths=[0.5, 0.5])


@pytest.mark.parametrize("call, message", [
    (lambda: sample_inputs(KEY, 1, 1, distribution="cube"),
     "distribution must be one of normal, uniform, sphere, got 'cube'"),
    (lambda: sample_inputs(KEY, 2.5, 1), "n must be a whole number from 1 up, got 2.5"),
    (lambda: sample_inputs(KEY, 5, "2"), "d must be a whole number from 1 up, got '2': write it without quotes"),
    (lambda: random_mixture(KEY, 0, 2, widths=1), "q must be a whole number from 1 up, got 0"),
    (lambda: random_mixture(KEY, 3, 2, widths=0), "widths must be positive and finite, got 0"),
    (lambda: random_mixture(KEY, 3, 2, widths=(0.8, 0.3)), r"widths must be \(smallest, largest\), got \(0.8, 0.3\)"),
    (lambda: random_mixture(KEY, 3, 2, widths=[0.5] * 3), r"widths must be a number or two, got shape \(3,\)"),
    (lambda: GaussianMixture(**MODES | {"widths": [0.5]}), r"must have shapes .*, got \(\(2,\), \(2, 1\), \(1,\)\)"),
    (lambda: GaussianMixture(**MODES | {"amplitudes": [1.0, np.nan]}), "amplitudes must be finite, got nan"),
    (lambda: GaussianMixture(**MODES)(X), r"x must have shape \(n, 1\), got \(6, 2\): one row for each input"),
    (lambda: GaussianMixture(**MODES)([0.0, 1.0]), r"x must have shape \(n, 1\), got \(2,\)"),
    (lambda: labels([np.nan]), "z must be finite, got nan"),
    (lambda: flip_signs(KEY, [1.0], p_flip=1.2), r"p_flip must lie in \[0, 1\], got 1.2"),
    (lambda: flip_signs(KEY, [1.0], p_flip="0.1"), "p_flip must be a number, got '0.1': write it without quotes"),
    (lambda: flip_signs(KEY, [np.nan], p_flip=0.1), "z must be numbers, got nan"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
