"""Data that several files of tests use."""

import numpy as np


def task(n=150, K=2, seed=0, noise=1.0, d=3):
    """Inputs, a teacher that is wrong in places of its own, and labels: z_t (n,) for two classes, else (n, K)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    truth = np.stack([np.sin(2 * x[:, k % d]) + x[:, (k + 1) % d] * (1 - 2 * (k % 2)) for k in range(K)], 1) * 2
    y = (truth + 0.3 * rng.normal(size=(n, K))).argmax(1)
    z = truth + noise * rng.normal(size=(n, K))
    return (x, z[:, 1] - z[:, 0], y) if K == 2 else (x, z, y)
