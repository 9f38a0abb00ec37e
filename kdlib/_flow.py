"""Gradient flows by a stabilised explicit method, which crosses stiff stretches in long and cheap steps."""

from functools import cache

import numpy as np


def chebyshev_flow(velocity, y, times, *, radius, error, step):
    r"""States of :math:`\dot y = v(y)` at all times but the first, at which it starts from `y`.

    The method is Runge-Kutta-Chebyshev of second order. A step h of s stages, with one evaluation of the velocity
    each, is stable if h times the spectral radius of the Jacobian is at most :math:`0.65\,(s^2 - 1)`, where s steps of
    Euler's reach 2 s. The error alone thus decides how long a step is, and its length how many stages it has.

    An implicit solver, such as SciPy's LSODA, is content with fewer evaluations, but factorises Jacobians. In
    benchmarks/teachers.py it is the slower of the two from some hundreds of dimensions on.

    Args:
        velocity: v, whose Jacobian has real eigenvalues that are not positive, as that of a gradient flow.
        radius: of a state, a bound on the spectral radius of the Jacobian.
        error: of a local error, its size as a multiple of what is allowed.
        step: the first to try.

    Source:
        B. P. Sommeijer, L. F. Shampine and J. G. Verwer, RKC: an explicit solver for parabolic PDEs,
        J. Comput. Appl. Math. 88 (1998) 315-326; its Eqs. 2.3 to 2.6 are the step, 2.8 to 2.10 its control.
    """
    t, slope, previous, states = times[0], velocity(y), None, []
    for stop in times[1:]:
        while t < stop:
            h = min(step, stop - t)
            stages = 2 + int(np.sqrt(1.54 * h * radius(y)))
            proposed = chebyshev_step(velocity, y, slope, h, stages)
            its_slope = velocity(proposed)
            size = max(error(0.8 * (y - proposed) + 0.4 * h * (slope + its_slope)), 1e-6)
            growth = 0.8 * size ** (-1 / 3)
            if not size <= 1:
                step, previous = max(0.1, growth) * h, None
                continue
            if previous:
                growth *= (previous[1] / size) ** (1 / 3) * h / previous[0]
            longer = min(10, max(0.1, growth)) * h
            step = max(longer, step) if h < step else longer  # a step cut short at a stop says little
            t, y, slope, previous = (t + h if h < stop - t else stop), proposed, its_slope, (h, size)
        states.append(y)
    return states


def chebyshev_step(velocity, y, slope, h, stages):
    """One step of length h from y, where the velocity is `slope`."""
    first, others = _coefficients(stages)
    before, now = y, y + first * h * slope
    for mu, nu, of_now, of_start in others:
        after = (1 - mu - nu) * y + mu * now + nu * before + h * (of_now * velocity(now) + of_start * slope)
        before, now = now, after
    return now


@cache
def _coefficients(s):
    r""":math:`\tilde\mu_1`; and :math:`\mu_j, \nu_j, \tilde\mu_j, \tilde\gamma_j` for j from 2 to s."""
    w0 = 1 + 2 / 13 / s**2  # beyond 1, by which stiff modes are damped
    T, dT, ddT = [1, w0], [0, 1], [0, 0]  # Chebyshev's polynomials at w0, with two derivatives
    for _ in range(2, s + 1):
        ddT.append(4 * dT[-1] + 2 * w0 * ddT[-1] - ddT[-2])
        dT.append(2 * T[-1] + 2 * w0 * dT[-1] - dT[-2])
        T.append(2 * w0 * T[-1] - T[-2])
    w1 = dT[s] / ddT[s]
    b = [ddT[j] / dT[j] ** 2 for j in range(2, s + 1)]
    b = [b[0], 1 / w0, *b]
    others = []
    for j in range(2, s + 1):
        ratio = 2 * b[j] / b[j - 1]
        others.append((ratio * w0, -b[j] / b[j - 2], ratio * w1, (b[j - 1] * T[j - 1] - 1) * ratio * w1))
    return b[1] * w1, others
