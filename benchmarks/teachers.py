"""Kernel teachers against plain descent, and against SciPy's solvers of the same flow, in one run.

    python benchmarks/teachers.py           # some minutes

The promise: at n = 1,500, stopped at 11 epochs up to 16,384, at least 8 times faster than a compiled loop of descent,
checks of the kernel included; its logits are within 0.01 of descent's. The kernel itself is given to all: it costs the
same. SciPy's implicit solvers start at epoch 64, with the Jacobian given and tolerances that leave them about as far
from descent; they factorise the Jacobian some 15 times, which is cheap for few samples and dear for many.
"""

from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from _timing import seconds
from scipy.integrate import solve_ivp
from scipy.special import expit
from threadpoolctl import threadpool_limits

from kdlib import fully_connected, teachers
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher

EPOCHS = [2**k for k in range(4, 15)]
REPEATS = 3
network = fully_connected(3)


def task(n, d):
    """A Gram matrix, labels, the kernel between 2,000 other inputs and these, and the default rate over n."""
    of_truth, of_inputs, of_others = jax.random.split(jax.random.key(n + d), 3)
    x, others = sample_inputs(of_inputs, n, d), sample_inputs(of_others, 2000, d)
    y_g = np.asarray(labels(random_mixture(of_truth, 6, d, widths=(0.3, 0.8))(x)))
    gram = np.asarray(network.ntk(x))
    return np.asarray(x), gram, y_g, np.asarray(network.ntk(others, x)), 4 / np.linalg.eigvalsh(gram)[-1]


@jax.jit
def steps(a, gram, y_g, rate, start, stop):
    return jax.lax.fori_loop(start, stop, lambda _, a: a - rate * (jax.nn.sigmoid(gram @ a) - y_g), a)


def descend(gram, y_g, rate):
    gram, y_g, a, kept = jnp.asarray(gram), jnp.asarray(y_g), jnp.zeros(len(y_g)), []
    for start, stop in zip([0, *EPOCHS], EPOCHS, strict=False):
        a = steps(a, gram, y_g, rate, start, stop)
        kept.append(a)
    return np.array(kept)


def products(train):
    """Products with the Gram matrix in one run."""
    calls, product = [], teachers.dsymv
    teachers.dsymv = lambda *given: calls.append(1) or product(*given)
    try:
        train()
    finally:
        teachers.dsymv = product
    return len(calls)


def against_descent(n, d):
    x, gram, y_g, cross, rate = task(n, d)
    ours = lambda: train_kernel_teacher(x, y_g, lambda *_: gram, epochs=EPOCHS)
    plain = lambda: descend(gram, y_g, rate)
    apart = np.abs((ours().coefficients - plain()) @ cross.T).max()
    assert apart < 0.01
    ratio = median(seconds(plain, 1) / seconds(ours, 1) for _ in range(REPEATS))
    print(f"  n = {n:5,}, d = {d}: {ratio:5.1f}x faster than descent, {products(ours):5,} products for {EPOCHS[-1]:,}, "
          f"logits within {apart:.1e}")


def against_scipy(n, d, method):
    x, gram, y_g, cross, rate = task(n, d)
    ours = lambda: train_kernel_teacher(x, y_g, lambda *_: gram, epochs=EPOCHS)
    at_64 = ours().coefficients[EPOCHS.index(64)]

    def velocity(_, a):
        return rate * (y_g - expit(gram @ a))

    def jacobian(_, a):
        z = gram @ a
        return -rate * (expit(z) * expit(-z))[:, None] * gram

    @threadpool_limits.wrap(limits=1, user_api="blas")  # as ours: on a busy machine that is the faster way
    def peer():
        return solve_ivp(velocity, (64, EPOCHS[-1]), at_64, method, EPOCHS[2:], rtol=1e-4, atol=1e-6, jac=jacobian).y.T

    apart = np.abs((ours().coefficients[2:] - peer()) @ cross.T).max()
    assert apart < 0.02
    ratio = median(seconds(peer, 1) / seconds(ours, 1) for _ in range(REPEATS))
    print(f"  n = {n:5,}, d = {d}: {ratio:5.1f}x faster than SciPy's {method}, logits within {apart:.1e}")


if __name__ == "__main__":
    print(f"Kernel teachers of up to {EPOCHS[-1]:,} epochs")
    for n in (500, 1500):
        for d in (1, 2, 5):
            against_descent(n, d)
    for n in (200, 500, 1500):
        for method in ("LSODA", "BDF"):
            against_scipy(n, 2, method)
