"""Training several residual networks: one behind the other against side by side, and our convolution against XLA's own.

    python benchmarks/classifiers.py

A step of the training loop is a gradient of every network. The promise: ``train(..., in_turn=True)`` is at least 1.5
times as fast as many small networks side by side, which ``jax.vmap`` makes of them, and no slower than a few larger
ones, and both times ours is at least twice as fast as XLA's convolution: inside a loop that one leaves its fast path on
a CPU. Where torch is installed, a step of the larger network is timed there, too.
"""

import jax
import jax.numpy as jnp
from _timing import seconds

from kdlib import classifiers
from kdlib.classifiers import ResNet

STEPS = 3


def convolve_by_xla(x, kernel, stride=1):
    kernel = kernel.reshape(kernel.shape[0], 3, 3, -1)  # features, 3, 3, channels
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)),
                                        dimension_numbers=("CHWN", "OHWI", "CHWN"))


def step(network, shape, count, *, in_turn):
    """Seconds of a step of `count` networks on 32 images of theirs, and the weights after the steps."""
    keys = jax.random.split(jax.random.key(0), count)
    params = jax.vmap(lambda key: network.init(key, shape))(keys)
    params = jax.tree.map(lambda leaf: leaf + jnp.float32(0.1), params)  # scales of zero would hide the branches
    x = jax.random.normal(keys[0], (count, 32, *shape), jnp.float32)

    def descend(params, x):
        loss = lambda params: (network.apply(params, x) ** 2).mean()
        move = lambda i, params: jax.tree.map(lambda p, slope: p - 1e-5 * slope, params, jax.grad(loss)(params))
        return jax.lax.fori_loop(0, STEPS, move, params)

    if in_turn:
        descend = jax.custom_batching.sequential_vmap(descend)
    descend = jax.jit(jax.vmap(descend))
    result = jax.block_until_ready(descend(params, x))
    return seconds(lambda: jax.block_until_ready(descend(params, x))) / STEPS, result


def by_torch(network, shape):
    """Seconds of a step of one network with the same layers."""
    import torch
    from torch.nn.functional import conv2d, pad, relu

    stem = torch.randn(network.channels[0], shape[2], 3, 3, requires_grad=True)
    blocks, before = [], network.channels[0]
    for c in network.channels:
        blocks.append([torch.randn(c, before, 3, 3, requires_grad=True), torch.randn(c, c, 3, 3, requires_grad=True)])
        before = c
    last = torch.randn(before, 10, requires_grad=True)
    x = torch.randn(32, shape[2], *shape[:2]).contiguous(memory_format=torch.channels_last)

    def gradient():
        h = conv2d(x, stem, padding=1)
        for i, (first, second) in enumerate(blocks):
            stride = 2 if i else 1
            branch = conv2d(relu(conv2d(relu(h), first, stride=stride, padding=1)), second, padding=1)
            h = pad(h[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, branch.shape[1] - h.shape[1])) + 0.1 * branch
        ((relu(h).mean((2, 3)) @ last) ** 2).mean().backward()

    gradient()
    return seconds(gradient)


def main():
    ours = classifiers.convolve
    for network, shape, count in ((ResNet((6, 12), blocks=1), (8, 8, 1), 20), (ResNet((8, 16, 32), blocks=1),
                                                                             (32, 32, 3), 2)):
        time, result = step(network, shape, count, in_turn=True)
        beside, same = step(network, shape, count, in_turn=False)
        classifiers.convolve = convolve_by_xla
        try:
            peer, other = step(network, shape, count, in_turn=True)
        finally:
            classifiers.convolve = ours
        for theirs in (same, other):
            for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(theirs), strict=True):
                assert jnp.allclose(a, b, rtol=1e-3, atol=1e-3 * jnp.abs(b).max())
        print(f"  {count:2} networks, images of {shape[0]} x {shape[1]}: {1e3 * time / count:6.2f} ms each, "
              f"{beside / time:4.1f}x as fast as side by side, {peer / time:5.1f}x as with XLA's convolution")
    try:
        print(f"  one of the larger in torch: {1e3 * by_torch(network, shape):6.2f} ms")
    except ModuleNotFoundError:
        print("  torch is not installed")


if __name__ == "__main__":
    print("A training step of residual networks")
    main()
