"""Speed and memory of `NestedStudents` against what a user would otherwise do, in one run.

    python benchmarks/students.py           # a minute or two
    python benchmarks/students.py --large   # also N = 20,000: about 10 GB and some minutes

Promises: all N prefixes for at most 1.5x the kernel, one LAPACK Cholesky and one triangular solve; at
least 30x a refit by SciPy at every n (N = 1,000; the ratio grows with N); at most 2.5 Gram matrices of memory.
neural_tangents' predict is timed at 20 sizes, where there is less to save: given its kernels, which
favours it, and from the inputs, as it is usually called.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from _timing import seconds
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotrf

from kdlib import NestedStudents, fully_connected
from kdlib.networks import neural_tangents

network = fully_connected(3)
REPEATS = 7
TESTS = 100


def data(N):
    x = np.asarray(jax.random.normal(jax.random.key(0), (N, 2)))
    return x, np.sin(3 * x[:, 0]) * x[:, 1], np.asarray(jax.random.normal(jax.random.key(1), (TESTS, 2)))


def all_norms(x, z):
    return NestedStudents(x, network.ntk).weight_norms(z)


def overhead(N):
    """Ours over the sum of its unavoidable parts, each timed alone, alternating."""
    x, z, _ = data(N)
    gram = network.ntk(x)
    factor = np.asfortranarray(cholesky(gram, lower=True))
    ratios = []
    for _ in range(REPEATS):
        parts = (
            seconds(lambda: network.ntk(x), 1)
            + seconds(lambda: dpotrf(gram.copy().T, lower=1, clean=0, overwrite_a=1), 1)
            + seconds(lambda: solve_triangular(factor, z, lower=True, check_finite=False), 1)
        )
        ratios.append(seconds(lambda: all_norms(x, z), 1) / parts)
    return median(ratios)


def against_refits(N):
    """A Cholesky of its own for every n; the kernel is given to the peer, and not to us."""
    x, z, _ = data(N)
    gram = network.ntk(x)

    def refit():
        norms = []
        for n in range(1, N + 1):
            factor = cho_factor(gram[:n, :n], lower=True, check_finite=False)
            norms.append(np.sqrt(z[:n] @ cho_solve(factor, z[:n], check_finite=False)))
        return np.array(norms)

    assert np.allclose(refit(), all_norms(x, z), rtol=1e-9)
    return seconds(refit, 1) / seconds(lambda: all_norms(x, z))


def against_neural_tangents(N):
    """Predictions of 20 students at 100 test points: how often faster than with kernels given, and from inputs."""
    x, z, x_test = data(N)
    sizes = np.linspace(N // 20, N, 20, dtype=int)
    gram, cross = jnp.asarray(network.ntk(x)), jnp.asarray(network.ntk(x_test, x))
    nt = neural_tangents()
    hidden = [nt.stax.serial(nt.stax.Dense(1, b_std=1), nt.stax.Relu()) for _ in range(network.depth)]
    kernel = jax.jit(nt.stax.serial(*hidden, nt.stax.Dense(1, b_std=1))[2], static_argnames="get")

    def given_kernels():
        answers = []
        for n in sizes:
            predictor = nt.predict.gradient_descent_mse(gram[:n, :n], jnp.asarray(z[:n, None]))
            # None: infinite time, by Cholesky; np.inf would take an eigendecomposition.
            answers.append(np.asarray(predictor(None, 0.0, 0.0, cross[:, :n])[1])[:, 0])
        return np.array(answers)

    def from_inputs():
        predict = lambda n: nt.predict.gradient_descent_mse_ensemble(kernel, x[:n], z[:n, None])
        return np.array([np.asarray(predict(n)(x_test=x_test, get="ntk"))[:, 0] for n in sizes])

    ours = lambda: NestedStudents(x, network.ntk).predict(x_test, z, sizes)
    # From inputs the peer's kernel errs by 1e-8 on the diagonal, which the smallest eigenvalues magnify.
    assert np.allclose(given_kernels(), ours(), rtol=1e-7, atol=1e-7)
    assert np.allclose(from_inputs(), ours(), rtol=1e-3, atol=1e-3)
    return [seconds(peer, 1) / seconds(ours) for peer in (given_kernels, from_inputs)]


def memory(N):
    """Peak of a fresh process (on Linux) beyond its start, in Gram matrices, and its seconds."""
    script = f"""
import re, time
from students import all_norms, data, np
all_norms(*data(600)[:2])
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status", encoding="utf-8").read())[1])
x, z, _ = data({N})
before, start = peak(), time.perf_counter()
norms = all_norms(x, z)
assert np.isfinite(norms).all() and (np.diff(norms) >= 0).all()
print((peak() - before) / (8 * {N}**2), time.perf_counter() - start)
"""
    here = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, encoding="utf-8", check=True)
    return map(float, run.stdout.split())


def main(large):
    print("NestedStudents, norms of all N prefixes")
    for N in (1000, 2000, 4000):
        print(f"  N = {N:6,}: {overhead(N):5.2f}x kernel + Cholesky + one triangular solve")
    print(f"  N =  1,000: {against_refits(1000):5.0f}x faster than a SciPy refit at every n")
    given, from_inputs = against_neural_tangents(1000)
    print(f"  N =  1,000: {given:5.1f}x and {from_inputs:.1f}x faster than neural_tangents.predict at 20 sizes, "
          "with its kernels given and from inputs")
    for N in (6000, 20_000) if large else (6000,):
        grams, time_taken = memory(N)
        print(f"  N = {N:6,}: {grams:5.2f} Gram matrices of memory, {time_taken:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speed and memory of NestedStudents")
    parser.add_argument("--large", action="store_true", help="also N = 20,000")
    main(parser.parse_args().large)
