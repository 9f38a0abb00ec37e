"""Networks for images: shapes, a convolution known from elsewhere, and that seeds and precision stay their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdlib.classes import class_distillation_loss
from kdlib.classifiers import MLP, ResNet, convolve
from kdlib.training import batches_by_seed, train

KEY = jax.random.key(0)
NETWORKS = [MLP(width=8, depth=2), MLP(width=8, depth=1), ResNet((2, 4), blocks=2), ResNet((3,), blocks=1)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [8, 7])
def test_convolution_is_that_of_lax(stride, side):
    draw = np.random.default_rng(0)
    x, kernel = draw.standard_normal((5, side, side, 3)), draw.standard_normal((3, 3, 3, 4))
    expected = jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)),
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))
    result = convolve(x.transpose(3, 1, 2, 0), kernel.reshape(27, 4).T, stride)
    assert np.allclose(result.transpose(3, 1, 2, 0), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_starts_as_the_zero_function_in_single_precision(network):
    params = network.init(KEY, (6, 6, 2))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    z = network.apply(params, jnp.asarray(np.random.default_rng(0).standard_normal((5, 6, 6, 2)), jnp.float32))
    assert z.shape == (5, 10) and z.dtype == jnp.float32 and not z.any()


def test_resnet20_has_its_layers():
    """That it learns from images of this size is a test of the experiments."""
    params = ResNet((16, 32, 64), blocks=3).init(KEY, (32, 32, 3))
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert len(matrices) == 20
    # The 0.27 million of He et al., whose batch normalisation has 1,376 numbers where ours has 9.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 269_722 - 1_376 + 9


@pytest.mark.parametrize("network", [MLP(width=8, depth=2), ResNet((2, 4), blocks=1)])
def test_seeds_learn_their_own_samples_as_if_alone(network):
    seeds, n, draw = 2, 12, np.random.default_rng(0)
    x, z_t = (draw.standard_normal((seeds, n, *shape)).astype(np.float32) for shape in ((6, 6, 1), (10,)))
    y = draw.integers(0, 10, (seeds, n))
    keys = jax.random.split(KEY, seeds)
    params = jax.vmap(lambda key: network.init(key, (6, 6, 1)))(keys)

    def fit(some, *steps):
        return train(network.apply, jax.tree.map(lambda leaf: leaf[some], params),
                     batches_by_seed(x[some], z_t[some], y[some], size=6), rho=[0.0, 0.5], T=2.0, steps=steps,
                     key=keys[some], optimizer=optax.adam(0.02), loss=class_distillation_loss).records

    both, second = fit(slice(0, 2), 10, 300), fit(slice(1, 2), 10)
    for one, other in zip(jax.tree.leaves(both), jax.tree.leaves(second), strict=True):  # steps, cells, seeds
        assert one.dtype == np.float32
        assert np.allclose(one[0, :, 1:], other[0], rtol=0, atol=1e-5)  # single precision, ten steps of 0.02 apart
    apply = jax.jit(jax.vmap(network.apply))
    labels_alone = apply(jax.tree.map(lambda leaf: leaf[1, 0], both), x)
    assert labels_alone.dtype == jnp.float32 and (labels_alone.argmax(-1) == y).mean() > 0.9


def test_whole_floats_count_units():
    assert MLP(width=64.0) == MLP(width=64) and ResNet([2.0, 4.0], blocks=1.0) == ResNet((2, 4), blocks=1)
    assert type(MLP(width=64.0).width) is int


@pytest.mark.parametrize("make, message", [
    (lambda: MLP(width=0), "width must be a whole number from 1 up, got 0"),
    (lambda: MLP(classes=1), "classes must be a whole number from 2 up, got 1: two classes have two logits"),
    (lambda: ResNet((8, 4)), r"channels must not decrease, got \(8, 4\)"),
    (lambda: ResNet((8, 16), blocks=0.5), "blocks must be a whole number from 1 up, got 0.5"),
])
def test_bad_networks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
