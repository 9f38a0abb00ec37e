r"""A linear head on frozen features: students of more samples than features, which do not reach their targets.

Student m minimises Eq. 2 over the weights of K logits, :math:`f(x) = W x`,

.. math:: \sum_{i \le m} \ell_i(W x_i) + \frac{p}{2} \lVert W \rVert^2,

by Newton's method with halved steps; two classes have the logits :math:`\mp z/2`. The penalty p keeps weights finite
where labels alone could be separated. Without sample i it is, after one of Newton's steps,

.. math:: f_{-i} = f_i + A_i (1 - H_i A_i)^{-1} g_i, \qquad
          A_i = x_i^\top \Bigl(\sum_j H_j \otimes x_j x_j^\top + p\Bigr)^{-1} x_i,

with g and H the first and second derivatives of a sample's loss by its logits.

Source: K. Rad and A. Maleki, *A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
cross-validation*, Journal of the Royal Statistical Society B 82, 2020.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import log_softmax, softmax

from kdlib.advise._noise import log_posterior, of_classes


def predictions(x, z_t, y_g, cells, sizes, penalty, x_test=None, noise=0.0):
    """Of shape (sizes, samples, cells, K): at the samples, of students that have not seen each; or at test inputs."""
    z_t = of_classes(z_t)
    result = np.empty((len(sizes), len(x if x_test is None else x_test), len(cells), z_t.shape[1]))
    for c, (rho, T) in enumerate(cells):
        hard = np.exp(log_posterior(z_t, y_g, noise)) if noise and T == 1 else np.eye(z_t.shape[1])[y_g]
        weights = np.zeros((z_t.shape[1], x.shape[1]))
        for s in np.argsort(sizes)[::-1]:  # the weights of more samples are a good start
            m = sizes[s]
            loss = _Loss(x[:m], softmax(z_t[:m] / T, axis=1), hard[:m], rho, T, penalty)
            weights, factor = loss.minimise(weights)
            result[s, :, c] = (x if x_test is None else x_test) @ weights.T
            if x_test is None:
                result[s, :m, c] = loss.without_each(weights, factor)
    return result


class _Loss:
    """Eq. 2 summed over samples, with the penalty, as a function of the weights (K, d)."""

    def __init__(self, x, soft, hard, rho, T, penalty):
        self.x, self.soft, self.hard, self.rho, self.T, self.penalty = x, soft, hard, rho, T, penalty

    def value(self, weights):
        f = self.x @ weights.T
        soft, hard = self.soft * log_softmax(f / self.T, axis=1), self.hard * log_softmax(f, axis=1)
        return -(self.rho * soft + (1 - self.rho) * hard).sum() + self.penalty / 2 * (weights**2).sum()

    def derivatives(self, weights):
        """By the logits of each sample: (m, K) and (m, K, K)."""
        f = self.x @ weights.T
        s, p = softmax(f / self.T, axis=1), softmax(f, axis=1)
        curved = lambda q: q[:, :, None] * np.eye(q.shape[1]) - q[:, :, None] * q[:, None]
        g = self.rho / self.T * (s - self.soft) + (1 - self.rho) * (p - self.hard)
        return g, self.rho / self.T**2 * curved(s) + (1 - self.rho) * curved(p)

    def minimise(self, weights):
        """The weights, and the Cholesky factor of the second derivative there."""
        for _ in range(100):
            g, H = self.derivatives(weights)
            slope = (g.T @ self.x + self.penalty * weights).ravel()
            factor = cho_factor(self._curvature(H))
            step = cho_solve(factor, slope)
            if slope @ step <= 1e-16 * (1 + len(self.x)):
                break
            now, size = self.value(weights), 1.0
            while size > 1e-10 and self.value(new := weights - size * step.reshape(weights.shape)) > (
                now - 1e-4 * size * (slope @ step)
            ):
                size /= 2
            weights = new
        return weights, factor

    def _curvature(self, H):
        K, d = H.shape[1], self.x.shape[1]
        total = np.empty((K, d, K, d))
        for k in range(K):
            for j in range(k + 1):
                total[k, :, j] = total[j, :, k] = self.x.T @ (H[:, k, j, None] * self.x)
        total = total.reshape(K * d, K * d)
        total[np.diag_indices(K * d)] += self.penalty
        return total

    def without_each(self, weights, factor):
        K, d = weights.shape
        g, H = self.derivatives(weights)
        inverse = cho_solve(factor, np.eye(K * d)).reshape(K, d, K, d)
        A = np.stack([np.stack([((self.x @ inverse[k, :, j]) * self.x).sum(1) for j in range(K)], 1)
                      for k in range(K)], 1)  # fmt: skip
        moved = np.linalg.solve(np.eye(K) - H @ A, g[..., None])
        return self.x @ weights.T + (A @ moved)[..., 0]
