"""neural_tangents, which computes networks and kernels by other means: a witness, where it is installed."""

from functools import partial

import pytest

from kdlib.networks import neural_tangents


def witness():
    """The package, or the test is skipped."""
    try:
        return neural_tangents()
    except ModuleNotFoundError as missing:
        pytest.skip(str(missing))


def stax_network(network):
    """Its triple (init, apply, kernel) for one of our networks."""
    stax = witness().stax
    activation = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}[network.activation]
    dense = partial(stax.Dense, W_std=network.sigma_w, b_std=network.sigma_b or None, parameterization="ntk")
    width = network.width or 1  # of no account for kernels
    hidden = [stax.serial(dense(width), activation()) for _ in range(network.depth)]
    return stax.serial(*hidden, dense(1))
