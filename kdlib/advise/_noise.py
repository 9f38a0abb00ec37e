r"""Labels of which some are wrong: each counts by its posterior, where Eq. 2 then has a closed form.

If a share p of the labels was exchanged for another class, all of them alike, and the teacher's probabilities
:math:`\pi(z_t)` are those of the truth without the label, then given the label y the truth is class k with probability

.. math:: \tilde y_k \propto \pi_k(z_t)\, \Bigl[(1 - p)\, 1\{k = y\} + \frac{p}{K - 1}\, 1\{k \ne y\}\Bigr].

In place of the 0-1 label it makes Eq. 2 a mixture of two soft labels. At T = 1 its minimiser is
:math:`\pi(\hat z) = \rho\, \pi(z_t) + (1 - \rho)\, \tilde y`, which at :math:`\rho = 0` is finite: the label lifts its
own logit by :math:`\log[(1-p)(K-1)/p]`, and no more. For other T there is no such form.
"""

import numpy as np
from scipy.special import log_softmax


def of_classes(z_t):
    """Logits of both classes, where one stands for two."""
    return np.stack([-z_t / 2, z_t / 2], 1) if z_t.ndim == 1 else z_t


def log_posterior(z_t, y_g, noise):
    """Of all classes, (n, K), for logits (n, K)."""
    K = z_t.shape[1]
    given = np.arange(K) == y_g[:, None]
    return log_softmax(z_t + np.where(given, np.log1p(-noise), np.log(noise / (K - 1))), axis=1)


def targets(z_t, y_g, rho, noise):
    """Centred logits of the minimisers at T = 1, (n, cells, K)."""
    with np.errstate(divide="ignore"):
        soft, hard = np.log(rho)[:, None], np.log1p(-rho)[:, None]
    z = np.logaddexp(soft + log_softmax(z_t, axis=1)[:, None], hard + log_posterior(z_t, y_g, noise)[:, None])
    return z - z.mean(-1, keepdims=True)
