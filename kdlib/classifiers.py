r"""Networks for images, as practice has them: K logits, standard parametrisation, single precision (Appendix S2).

Each is an object with ``init(key, shape)``, which draws weights for images of ``shape = (height, width, channels)``,
and ``apply(params, x)``, which maps images of shape (n, height, width, channels) to logits of shape (n, K). The hidden
weights have variance 2 / fan-in, biases are zero, and so is the last layer: training starts from the zero function.

The paper's settings for practical networks are in an appendix that is not available; these are our choice. Nothing
here has a state besides its weights, and the convolution is a product of matrices, so that ``jax.vmap`` over
weights turns many small networks into large products: ``benchmarks/classifiers.py`` measures what that saves.

Sources: K. He, X. Zhang, S. Ren and J. Sun, *Deep residual learning for image recognition*, CVPR 2016 (ResNet-20, its
shortcuts without parameters, and the order of *Identity mappings in deep residual networks*, ECCV 2016); S. De and
S. L. Smith, *Batch normalization biases residual blocks towards the identity function in deep networks*, NeurIPS 2020
(a scale that starts at zero in place of batch normalisation, whose statistics would tie a student to its batch).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu
from jaxtyping import Array, Float, PyTree

from kdlib._checks import shown, whole


@dataclass(frozen=True)
class MLP:
    """Fully connected ReLU network on flattened pixels.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
        classes: number of logits, K.

    Raises:
        ValueError: a number that is not whole, or below 1; fewer than 2 classes.

    >>> network = MLP(width=32, depth=2)
    >>> params = network.init(jax.random.key(0), (8, 8, 1))
    >>> network.apply(params, jnp.ones((5, 8, 8, 1))).shape
    (5, 10)
    """

    width: int = 64
    depth: int = 2
    classes: int = 10

    def __post_init__(self):
        _set(self, width=whole("width", self.width), depth=whole("depth", self.depth), classes=_classes(self.classes))

    def init(self, key: Array, shape: tuple[int, int, int]) -> PyTree:
        """Weights for images of the given shape."""
        fan_in = [int(np.prod(shape)), *[self.width] * (self.depth - 1)]
        keys = jax.random.split(key, self.depth)
        hidden = [(_he(key, n, self.width), jnp.zeros(self.width, jnp.float32))
                  for key, n in zip(keys, fan_in, strict=True)]
        return [*hidden, _last(self.width, self.classes)]

    def apply(self, params: PyTree, x: Float[Array, "n height width channels"]) -> Float[Array, "n K"]:
        """Logits of images."""
        x = x.reshape(len(x), -1)
        *hidden, (W, b) = params
        for V, c in hidden:
            x = relu(x @ V + c[None])
        return x @ W + b[None]


@dataclass(frozen=True)
class ResNet:
    r"""Residual network of stages that halve the image and change its channels.

    A stem, :math:`3 \times 3`; then in each stage ``blocks`` of

    .. math:: x \leftarrow \text{shortcut}(x) + s \cdot C_2 * g\bigl(C_1 * g(x)\bigr),

    with g = ReLU and a learnt scale s that starts at zero; then the mean over the image and one dense layer.
    ``ResNet((16, 32, 64), blocks=3)`` has the 20 layers of the ResNet-20 for CIFAR-10.

    Args:
        channels: one number for each stage, not decreasing.
        blocks: of each stage.
        classes: number of logits, K.

    Raises:
        ValueError: a number that is not whole, or below 1; channels that decrease; fewer than 2 classes.

    >>> network = ResNet((4, 8), blocks=1)
    >>> params = network.init(jax.random.key(0), (8, 8, 1))
    >>> network.apply(params, jnp.ones((5, 8, 8, 1))).shape
    (5, 10)
    """

    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = 3
    classes: int = 10

    def __post_init__(self):
        if isinstance(self.channels, str) or not np.iterable(self.channels) or not len(self.channels):
            raise ValueError(f"channels must have a number for each stage, got {shown(self.channels)}: "
                             "write (16, 32, 64)")
        channels = tuple(whole("channels", value, remedy="they count features") for value in self.channels)
        if (np.diff(channels) < 0).any():
            raise ValueError(f"channels must not decrease, got {shown(channels)}: shortcuts only add channels")
        _set(self, channels=channels, blocks=whole("blocks", self.blocks), classes=_classes(self.classes))

    def init(self, key: Array, shape: tuple[int, int, int]) -> PyTree:
        """Weights for images of the given shape."""
        keys = iter(jax.random.split(key, 1 + 2 * self.blocks * len(self.channels)))
        stem, blocks, before = _he(next(keys), 9 * shape[2], self.channels[0]).T, [], self.channels[0]
        for c in self.channels:
            for _ in range(self.blocks):
                first, second = _he(next(keys), 9 * before, c).T, _he(next(keys), 9 * c, c).T
                blocks.append((first, second, jnp.zeros((), jnp.float32)))
                before = c
        return stem, blocks, _last(before, self.classes)

    def apply(self, params: PyTree, x: Float[Array, "n height width channels"]) -> Float[Array, "n K"]:
        """Logits of images."""
        stem, blocks, (W, b) = params
        x = convolve(x.transpose(3, 1, 2, 0), stem)  # samples last, so that shifts move whole rows of memory
        for i, (first, second, scale) in enumerate(blocks):
            stride = 2 if i and i % self.blocks == 0 else 1
            branch = convolve(relu(convolve(relu(x), first, stride)), second)
            grown = branch.shape[0] - x.shape[0]
            x = jnp.pad(x[:, ::stride, ::stride], [(0, grown)] + [(0, 0)] * 3) + scale * branch
        return relu(x).mean((1, 2)).T @ W + b[None]


def convolve(
    x: Float[Array, "channels height width n"], kernel: Float[Array, "features nine_channels"], stride: int = 1
) -> Float[Array, "features height2 width2 n"]:
    """Convolution with 3 x 3 kernels and zeros around the image: one matrix, times the nine shifted images."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]
    patches = jnp.concatenate(shifted)
    return (kernel @ patches.reshape(len(patches), -1)).reshape(-1, *patches.shape[1:])


def _he(key, fan_in, fan_out):
    return jax.random.normal(key, (fan_in, fan_out), jnp.float32) * np.float32(np.sqrt(2 / fan_in))


def _last(fan_in, classes):
    return jnp.zeros((fan_in, classes), jnp.float32), jnp.zeros(classes, jnp.float32)


def _classes(value):
    return whole("classes", value, 2, remedy="two classes have two logits")


def _set(network, **checked):
    """The values as they were checked: a width of 64.0 is 64."""
    for name, value in checked.items():
        object.__setattr__(network, name, value)
