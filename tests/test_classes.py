"""K classes against independent oracles: mpmath at 60 digits and more, scipy, the two-class functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from kdlib.classes import class_distillation_loss
from kdlib.distillation import distillation_loss

logits = st.floats(-1e3, 1e3)
labels = st.sampled_from([0, 1])
temperatures = st.floats(np.log(0.05), np.log(1e3)).map(lambda u: float(np.exp(u)))


# --- The loss ---------------------------------------------------------------------------------------


@given(logits, logits, logits, logits, labels, st.floats(0, 1), temperatures)
def test_two_logits_and_their_difference_have_one_loss(s_0, s_1, t_0, t_1, y_g, rho, T):
    both = class_distillation_loss([s_0, s_1], [t_0, t_1], y_g, rho=rho, T=T)
    one = distillation_loss(s_1 - s_0, t_1 - t_0, y_g, rho=rho, T=T)
    assert float(both) == pytest.approx(float(one), rel=1e-9, abs=1e-11)


def test_loss_of_classes_against_its_formula():
    (z_s, z_t), y = 3 * np.random.default_rng(0).normal(size=(2, 6, 4)), np.array([0, 1, 2, 3, 1, 1])
    p, q, r = softmax(z_t / 3, axis=1), softmax(z_s / 3, axis=1), softmax(z_s, axis=1)
    expected = -0.7 * (p * np.log(q)).sum(1) - 0.3 * np.log(r[np.arange(6), y])
    each = class_distillation_loss(z_s, z_t, y, rho=0.7, T=3.0, mean=False)
    assert np.allclose(each, expected, rtol=1e-13)
    assert float(class_distillation_loss(z_s, z_t, y, rho=0.7, T=3.0)) == pytest.approx(expected.mean())
    assert np.allclose(class_distillation_loss(z_s + 7, z_t - 9, y, rho=0.7, T=3.0, mean=False), expected, rtol=1e-12)
    assert class_distillation_loss(np.float32(z_s), z_t, y, rho=0.7, T=3.0).dtype == jnp.float32
    extreme = class_distillation_loss([[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]], [1], rho=0.5, T=0.05)
    assert np.isfinite(extreme)


@pytest.mark.parametrize("precision", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("T", [0.1, 0.5, 1.0, 5.0])
def test_a_masked_class_adds_nothing_to_the_loss_or_its_gradient(precision, T):
    z_s, z_t = jnp.array([1.0, -0.5, 0.25], precision), jnp.array([0.5, 2.0, -1.0], precision)
    masked = lambda z: jnp.append(z, jnp.finfo(precision).min)
    loss = lambda z_s, z_t: class_distillation_loss(z_s, z_t, 1, rho=0.5, T=T)
    value, slopes = jax.value_and_grad(loss)(masked(z_s), masked(z_t))
    expected, expected_slopes = jax.value_and_grad(loss)(z_s, z_t)
    assert value == expected and value.dtype == precision
    np.testing.assert_array_equal(slopes, jnp.append(expected_slopes, 0))


def test_a_class_that_only_the_student_masks_costs_a_finite_loss():
    low = float(jnp.finfo(jnp.float32).min)
    loss = class_distillation_loss(jnp.array([0.0, low], jnp.float32), [0.0, 1.0], 0, rho=0.5, T=0.5)
    assert loss > 1e37 and np.isfinite(loss)


def test_half_precision_only_rounds_the_result():
    z_s, z_t = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float16)
    half, full = (class_distillation_loss(z.astype(kind), z_t, np.arange(5) % 4, rho=0.7, T=3.0, mean=False)
                  for z, kind in ((z_s, np.float16), (z_s, np.float32)))
    np.testing.assert_array_equal(half, np.asarray(full).astype(np.float16))


# --- Bad input --------------------------------------------------------------------------------------

ONE = [[1.0, 2.0]]
SINGLE = np.array(ONE, np.float32)


@pytest.mark.parametrize("call, message", [
    (lambda: class_distillation_loss(ONE, ONE, [2], rho=0.5, T=1),
     "y_g must be classes from 0 to 1, got 2: number the classes from 0, .* subtract 1 from labels that begin with 1"),
    (lambda: class_distillation_loss(ONE, ONE, [0.5], rho=0.5, T=1), "y_g must be classes from 0 to 1, got 0.5"),
    (lambda: class_distillation_loss(ONE, ONE, 1, rho=0.5, T=1), r"must have shape \(n, K\) and y_g"),
    (lambda: class_distillation_loss([[1.0]], [[1.0]], [0], rho=0.5, T=1), "give K >= 2 logits"),
    (lambda: class_distillation_loss(ONE, ONE, [0], rho=0.5, T=[1, 2]), "rho and T must be numbers"),
    (lambda: class_distillation_loss([[1.0, np.inf]], ONE, [0], rho=0.5, T=1), "z_s must be finite, got inf"),
    (lambda: class_distillation_loss(SINGLE, ONE, [0], rho=0.5, T=1e-50),
     r"T must lie between 1e-38 and 3e\+38 in float32, the precision of z_s, got 1e-50: give z_s in double"),
    (lambda: class_distillation_loss(SINGLE, ONE, [0], rho=0.5, T=1e50), r"T must lie between .*, got 1e\+50"),
    (lambda: class_distillation_loss(SINGLE, [[1e39, 0.0]], [0], rho=0.5, T=1),
     r"z_t must lie between -3e\+38 and 3e\+38, so that float32 holds them divided by T, got 1e\+39: subtract"),
    (lambda: class_distillation_loss(SINGLE, [[3e38, 0.0]], [0], rho=0.5, T=0.5), r"z_t must lie .* got 3e\+38"),
    (lambda: class_distillation_loss([[-1e300, 1e308]], ONE, [0], rho=0.5, T=0.5), r"z_s must lie .* got 1e\+308"),
])
def test_bad_input_names_the_rule_the_value_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()
