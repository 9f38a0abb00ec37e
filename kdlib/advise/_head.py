r"""A linear head on frozen features: students of more samples than features, which do not reach their targets.

Student m minimises Eq. 2 over the weights of K logits, :math:`f(x) = W x`,

.. math:: \sum_{i \le m} \ell_i(W x_i) + \frac{p}{2} \lVert W \rVert^2,

by Newton's method with halved steps; two classes have the logits :math:`\mp z/2`. The penalty p keeps weights finite
where labels alone could be separated. It also leaves two things to look for in less room: the weights of all classes
add up to zero, so that :math:`W = C U` with K - 1 orthonormal columns in C, and they are combinations of the samples.

Without sample i the student is, after one of Newton's steps, in the coordinates :math:`u = C^\top f` of its logits

.. math:: u_{-i} = u_i + A_i (1 - H_i A_i)^{-1} g_i, \qquad
          A_i = x_i^\top \Bigl(\sum_j H_j \otimes x_j x_j^\top + p\Bigr)^{-1} x_i,

with g and H the first and second derivatives of a sample's loss by these.

Source: K. Rad and A. Maleki, *A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
cross-validation*, Journal of the Royal Statistical Society B 82, 2020.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, helmert
from scipy.linalg.lapack import dpotri
from scipy.special import log_softmax, softmax

from kdlib.advise._noise import log_posterior, of_classes


def predictions(x, z_t, y_g, cells, sizes, penalty, x_test=None, noise=0.0):
    """Of shape (sizes, samples, cells, K): at the samples, of students that have not seen each; or at test inputs."""
    z_t = of_classes(z_t)
    K, d = z_t.shape[1], x.shape[1]
    hard = np.exp(log_posterior(z_t, y_g, noise)) if noise else np.eye(K)[y_g]
    soft = [softmax(z_t / T, axis=1) for _, T in cells]
    judged = x if x_test is None else x_test
    result = np.empty((len(sizes), len(judged), len(cells), K))
    weights, start = {}, np.zeros((K - 1, d))
    for s in np.argsort(sizes)[::-1]:  # the weights of more samples, or of the cell before, are a good start
        m = sizes[s]
        span = np.linalg.qr(x[:m].T)[0] if m < d else np.eye(d)
        own, there = x[:m] @ span, judged @ span
        for c, (rho, T) in enumerate(cells):
            loss = _Loss(own, soft[c][:m], hard[:m], rho, T, penalty)
            found, factor = loss.minimise(weights.get(c, start) @ span)
            weights[c] = start = found @ span.T
            u = there @ found.T
            if x_test is None:
                u[:m] = loss.without_each(found, factor)
            result[s, :, c] = u @ loss.classes
    return result


class _Loss:
    """Eq. 2 summed over samples, with the penalty, as a function of the weights U, (K - 1, d)."""

    def __init__(self, x, soft, hard, rho, T, penalty):
        self.x, self.soft, self.hard, self.rho, self.T, self.penalty = x, soft, hard, rho, T, penalty
        self.classes = helmert(soft.shape[1])  # C^T

    def value(self, weights):
        f = self.x @ weights.T @ self.classes
        soft, hard = self.soft * log_softmax(f / self.T, axis=1), self.hard * log_softmax(f, axis=1)
        return -(self.rho * soft + (1 - self.rho) * hard).sum() + self.penalty / 2 * (weights**2).sum()

    def derivatives(self, weights):
        """By the coordinates of each sample's logits: (m, K - 1) and (m, K - 1, K - 1)."""
        C = self.classes.T
        f = self.x @ weights.T @ C.T
        s, p = softmax(f / self.T, axis=1), softmax(f, axis=1)
        curved = lambda q: (C.T * q[:, None]) @ C - (q @ C)[:, :, None] * (q @ C)[:, None]
        g = self.rho / self.T * (s - self.soft) + (1 - self.rho) * (p - self.hard)
        return g @ C, self.rho / self.T**2 * curved(s) + (1 - self.rho) * curved(p)

    def minimise(self, weights):
        """The weights, and the Cholesky factor of the second derivative there."""
        for _ in range(100):
            g, H = self.derivatives(weights)
            slope = (g.T @ self.x + self.penalty * weights).ravel()
            try:
                factor = cho_factor(self._curvature(H), lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                raise ValueError("x must have features that tell a head's weights apart, got some that do not beside a "
                                 f"penalty of {self.penalty:g}: bring them to a size of about 1, or pass a larger "
                                 "jitter") from None
            step = cho_solve(factor, slope, check_finite=False)
            if slope @ step <= 1e-14 * (1 + len(self.x)):
                break
            now, size = self.value(weights), 1.0
            while size > 1e-10 and self.value(new := weights - size * step.reshape(weights.shape)) > (
                now - 1e-4 * size * (slope @ step)
            ):
                size /= 2
            weights = new
        return weights, factor

    def _curvature(self, H):
        k, d = H.shape[1], self.x.shape[1]
        total = np.zeros((k, d, k, d))
        for i in range(k):
            for j in range(i + 1):  # the lower triangle is all that counts
                total[i, :, j] = self.x.T @ (H[:, i, j, None] * self.x)
        total = total.reshape(k * d, k * d)
        total[np.diag_indices(k * d)] += self.penalty
        return total

    def without_each(self, weights, factor):
        """Coordinates of the logits at each sample, of the student of the others."""
        k, d = weights.shape
        g, H = self.derivatives(weights)
        inverse = dpotri(factor[0], lower=True)[0].reshape(k, d, k, d)  # its lower triangle
        A = np.empty((len(self.x), k, k))
        for i in range(k):
            for j in range(i + 1):
                block = inverse[i, :, j] if j < i else np.tril(inverse[i, :, i]) + np.tril(inverse[i, :, i], -1).T
                A[:, i, j] = A[:, j, i] = ((self.x @ block) * self.x).sum(1)
        moved = np.linalg.solve(np.eye(k) - H @ A, g[..., None])
        return self.x @ weights.T + (A @ moved)[..., 0]
