"""The checks at the public boundary: what they return, and what their errors say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdlib import effective_logit
from kdlib._checks import choice, precision, real, require_whole, shown, whole

positive = lambda v: (v > 0) & (v < np.inf)


@pytest.mark.parametrize("value", [7, 7.0, np.float32(7), np.int8(7), np.array(7.0), jnp.array(7, jnp.bfloat16)])
def test_whole_numbers_of_every_type_become_ints(value):
    found = whole("n", value, 7, 7)
    assert found == 7 and type(found) is int


def test_large_whole_numbers_keep_every_digit():
    assert whole("seed", 2**60 + 1) == 2**60 + 1
    assert whole("n", 1e3) == 1000


@pytest.mark.parametrize("value, message", [
    (0, "n must be a whole number from 1 up, got 0: write n = 1, for example"),
    (2.5, "n must be a whole number from 1 up, got 2.5: "),
    ("2e2", "n must be a whole number from 1 up, got '2e2': write it without quotes"),
    ("many", "n must be a whole number from 1 up, got 'many': write n = 1"),
    (None, "n must be a whole number from 1 up, got None: "),
    (True, "n must be a whole number from 1 up, got True: "),
    (np.nan, "n must be a whole number from 1 up, got nan: "),
    (np.inf, "n must be a whole number from 1 up, got inf: "),
    ([3], r"n must be a whole number from 1 up, got [3]: "),
    (1e300, "n must be a whole number from 1 to 9223372036854775807, got 1e+300: "),
    (jax.random.key(0), "n must be a whole number from 1 up, got Array"),
])
def test_what_is_no_whole_number_is_refused(value, message):
    with pytest.raises(ValueError) as error:
        whole("n", value)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("value, message", [
    (0, "T must be positive and finite, got 0: T = 1 is a start"),
    ("1e1", "T must be a number, got '1e1': write it without quotes"),
    (None, "T must be a number, got None: T = 1 is a start"),
    (True, "T must be a number, got True: "),
    ([1.0], r"T must be a number, got [1.0]: "),
    (np.nan, "T must be positive and finite, got nan: "),
])
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(ValueError) as error:
        real("T", value, "be positive and finite", positive, "T = 1 is a start")
    assert str(error.value).startswith(message)
    assert real("T", 3, "be positive and finite", positive, "") == 3.0


def test_a_choice_is_the_option_itself():
    assert choice("model", "mlp", {"mlp": 1, "resnet": 2}) == "mlp"
    found = choice("epoch", 16.0, [16, 32])
    assert found == 16 and type(found) is int
    for bad in ("16", 17, None, True, [16]):
        with pytest.raises(ValueError, match=r"epoch must be one of 16, 32, got .*: choose one of these"):
            choice("epoch", bad, [16, 32])


@pytest.mark.parametrize("value, message", [
    ("1e1", "z_t must be numeric, got '1e1': write it without quotes"),
    (["1", "2"], r"z_t must be numeric, got \['1', '2'\]: give a number, or an array of some without text"),
    ([1, None], r"z_t must be numeric, got \[1, None\]: "),
    (1 + 2j, r"z_t must be numeric, got \(1\+2j\): .* or imaginary parts"),
    ([[1.0]] * 3000 + [[1.0, 2.0]], r"z_t must be numeric, got \[\[1.0\], .*\.\.\.\]: give all its rows one length"),
    (np.array(["2020-01-01"], "M8[D]"), r"z_t must be numeric, got ndarray of shape \(1,\) and type datetime64\[D\]: "),
    (10**400, r"z_t must be numeric, got 10{76}\.\.\.: "),
    (None, "z_t must be numeric, got None: "),
])
def test_what_is_not_numeric_is_refused_with_a_short_message(value, message):
    with pytest.raises(ValueError, match=message) as error:
        effective_logit(value, 1, rho=0.5, T=1.0)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


class BFloat16:
    """As a tensor of torch, which NumPy cannot read in this type."""

    __module__ = "torch"
    shape, dtype = (2,), "torch.bfloat16"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_a_tensor_that_numpy_cannot_read_is_told_how():
    with pytest.raises(ValueError, match=r"got BFloat16 of shape \(2,\) .*: write z_t.detach\(\).cpu\(\).float\(\)"):
        effective_logit(BFloat16(), 1, rho=0.5, T=1.0)


def test_numbers_of_other_types_count():
    expected = effective_logit([1.0, 2.0], [1, 0], rho=0.5, T=1.0)
    for kind in (object, np.float16, np.int8, jnp.bfloat16):
        found = effective_logit(np.array([1, 2]).astype(kind), np.array([True, False]), rho=0.5, T=1.0)
        assert np.array_equal(found, expected)
    traced = jax.jit(lambda z: effective_logit([z, z + 1], [1, 0], rho=0.5, T=1.0))(1.0)
    assert np.allclose(traced, expected, rtol=1e-12)


def test_values_are_shown_with_the_digits_that_matter():
    assert [shown(v) for v in (1.5, 1e-3, np.float64(0), np.nan)] == ["1.5", "0.001", "0", "nan"]
    assert shown(1 + 1e-12) == "1.000000000001"
    with pytest.raises(ValueError, match=r"rho must lie in \[0, 1\], got 1.000000000001: "):
        effective_logit(1.0, 1, rho=1 + 1e-12, T=1.0)


def test_whole_numbers_beyond_integers_are_refused():
    with pytest.raises(ValueError, match=r"sizes must be whole numbers from 1 up, got 1e\+300"):
        require_whole("sizes", [1, 1e300], "")


def test_precision_is_that_of_the_type_in_which_a_value_comes():
    assert precision(np.float32(1)) == precision(jnp.ones(2, jnp.float32)) == 2**-23
    assert precision([1.0]) == precision(1) == precision(np.ones(2, int)) == 2**-52
