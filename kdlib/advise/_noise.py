r"""Labels of which some are wrong: each counts by its posterior, in Eq. 2 at any temperature.

If a share p of the labels was exchanged for another class, all of them alike, and the teacher's probabilities
:math:`\pi(z_t)` are those of the truth without the label, then given the label y the truth is class k with probability

.. math:: \tilde y_k \propto \pi_k(z_t)\, \Bigl[(1 - p)\, 1\{k = y\} + \frac{p}{K - 1}\, 1\{k \ne y\}\Bigr].

Eq. 2 is linear in the label, so that with :math:`\tilde y` in its place it is what one expects of the loss with the
true label. Its minimiser solves

.. math:: \frac{\rho}{T}\, \pi_k(\hat z/T) + (1-\rho)\, \pi_k(\hat z) = r_k, \qquad
          r_k = \frac{\rho}{T}\, \pi_k(z_t/T) + (1-\rho)\, \tilde y_k.

At T = 1 that is a mixture of two soft labels, and at :math:`\rho = 0` it is finite: the label lifts its own logit by
:math:`\log[(1-p)(K-1)/p]`, and no more.
"""

import numpy as np
from scipy.special import log_softmax, logsumexp


def of_classes(z_t):
    """Logits of both classes, where one stands for two."""
    return np.stack([-z_t / 2, z_t / 2], 1) if z_t.ndim == 1 else z_t


def log_posterior(z_t, y_g, noise):
    """Of all classes, (n, K), for logits (n, K)."""
    K = z_t.shape[1]
    given = np.arange(K) == y_g[:, None]
    return log_softmax(z_t + np.where(given, np.log1p(-noise), np.log(noise / (K - 1))), axis=1)


def targets(z_t, y_g, rho, T, noise):
    r"""Centred logits of the minimisers, (n, cells, K).

    With :math:`\sum_k e^{z_k} = 1` and :math:`A = \log\sum_k e^{z_k/T}` each class has an equation of its own,

        log(rho/T e^(z/T - A) + (1 - rho) e^z) = log r,

    whose left side is convex and increases from slope 1/T to slope 1 or back: from the right, Newton's method
    decreases to the root. Its roots increase with A, and so does log sum_k e^(z_k), which has to be zero: Newton's
    method again, in the bracket that 1 <= K and Jensen's inequality give A, from 0 to (1 - 1/T) log K.
    """
    z_t, posterior = z_t[:, None], log_posterior(z_t, y_g, noise)[:, None]
    rho, T = rho[:, None], T[:, None]
    with np.errstate(divide="ignore"):
        soft, hard = np.log(rho / T), np.log1p(-rho)
    log_r = np.logaddexp(soft + log_softmax(z_t / T, axis=-1), hard + posterior)
    ends = np.sort(np.stack([0 * T, (1 - 1 / T) * np.log(z_t.shape[-1])]), axis=0)
    low, high = (np.broadcast_to(end, (*log_r.shape[:-1], 1)) for end in ends)
    A, z = (low + high) / 2, np.inf
    for _ in range(100):
        z, share = _roots(log_r, soft - A, hard, T, z)
        excess = logsumexp(z, axis=-1, keepdims=True)
        low, high = np.where(excess < 0, A, low), np.where(excess < 0, high, A)
        slope = (np.exp(z - excess) * share / (share / T + 1 - share)).sum(-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = A - excess / slope
        new = np.where((low <= new) & (new <= high), new, (low + high) / 2)
        if (np.abs(new - A) * slope <= 1e-14 * (1 + T)).all():
            break
        A = new
    return z - z.mean(-1, keepdims=True)


def _roots(log_r, soft, hard, T, start):
    """Roots z of log(e^(soft + z / T) + e^(hard + z)) = log_r, and the share of the first term there."""
    z = np.minimum(start, np.minimum(T * (log_r - soft), log_r - hard))  # beyond, one term alone is larger than both
    for _ in range(100):
        first, both = soft + z / T, np.logaddexp(soft + z / T, hard + z)
        share = np.exp(first - both)
        step = (both - log_r) / (share / T + 1 - share)
        z = z - step
        if (np.abs(step) <= 1e-14 * (1 + np.abs(z))).all():
            break
    return z, share
