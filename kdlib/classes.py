r"""More than two classes: the loss, the logits that minimise it, and which mistakes of the teacher survive.

Everything here is what :mod:`kdlib.distillation` has for two classes, for K logits and the softmax :math:`\pi`. A
sample's loss does not change when all its logits do by the same amount, so its minimiser is given *centred*: its
logits add up to zero. For K = 2 the difference :math:`z_1 - z_0` is the logit of :mod:`kdlib.distillation`.

One number decides who wins against a hard label, the ratio of the two pulls at their largest,

.. math:: \kappa = \frac{T (1-\rho)}{\rho}.

Source: Eq. 2 and Eq. 3 of the paper, with the softmax in place of the logistic function; what follows from them is
ours.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_softmax, logsumexp, sigmoid, softmax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from kdlib._checks import (
    broadcast,
    own_type,
    require,
    require_classes,
    require_logits,
    require_ratios,
    require_temperature,
)


def class_distillation_loss(
    z_s: Float[ArrayLike, "*n K"],
    z_t: Float[ArrayLike, "*n K"],
    y_g: Int[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, ""],
    T: Float[ArrayLike, ""],
    mean: bool = True,
) -> Float[Array, "*n"] | Float[Array, ""]:
    r"""Distillation loss of K logits: Eq. 2 for more than two classes.

    .. math:: \ell = \rho\, H\bigl(\pi(z_t/T), \pi(z_s/T)\bigr) + (1-\rho)\, H\bigl(e_{y_g}, \pi(z_s)\bigr),
       \qquad H(p, q) = -\sum_k p_k \log q_k,

    with :math:`\pi` the softmax. No factor :math:`T^2`, as in Eq. 2. For K = 2 it equals
    :func:`~kdlib.distillation.distillation_loss` of the differences :math:`z_1 - z_0`.

    Args:
        z_s, z_t: student and teacher logits, finite, of one shape; classes run along the last axis.
        y_g: ground-truth classes, from 0 to K - 1.
        rho: soft ratio in [0, 1].
        T: temperature, positive.
        mean: average over the samples, or return one loss per sample.

    Returns:
        In the precision of ``z_s``; of less than single precision only the result is.

    Limits:
        A class that is masked by the lowest number of its type, in ``z_t`` and ``z_s``, adds nothing, at any T.

    Raises:
        ValueError: an argument outside its domain, or beyond the range of the precision of ``z_s``; shapes that do not
            belong together.

    >>> float(class_distillation_loss([[0.0, 0.0]], [[0.0, 2.0]], [1], rho=0.5, T=1.0).round(6))
    0.693147
    """
    require_logits(z_s=z_s, z_t=z_t)
    require_ratios(rho=rho)
    require_temperature(T)
    if np.ndim(rho) or np.ndim(T):
        raise ValueError(f"rho and T must be numbers, got shapes {np.shape(rho)} and {np.shape(T)}: "
                         "map over several with jax.vmap")
    z_s, z_t, y_g = own_type("z_s", z_s), own_type("z_t", z_t), own_type("y_g", y_g)
    if not z_s.ndim or z_s.shape != z_t.shape or y_g.shape != z_s.shape[:-1] or z_s.shape[-1] < 2:
        raise ValueError(f"z_s and z_t must have shape (n, K) and y_g (n,), got {z_s.shape}, {z_t.shape} and "
                         f"{y_g.shape}: give K >= 2 logits and one class for each sample")
    if mean and not y_g.size:
        raise ValueError(f"z_s, z_t, y_g must hold at least one sample, got shapes {z_s.shape}, {z_t.shape} and "
                         f"{y_g.shape}: a mean over none has no value")
    require_classes(y_g, z_s.shape[-1])
    result = z_s.dtype if jnp.issubdtype(z_s.dtype, jnp.floating) else jnp.dtype(float)
    precision = jnp.promote_types(result, jnp.float32)
    _require_range(precision, T, z_s=z_s, z_t=z_t)
    z_s, z_t, rho, T = (jnp.asarray(value, precision) for value in (z_s, z_t, rho, T))
    lowest = jnp.finfo(precision).min  # not -inf for a masked class: 0 times it is 0
    soft = -jnp.sum(softmax(z_t / T) * log_softmax(jnp.maximum(z_s / T, lowest)), axis=-1)
    hard = -jnp.take_along_axis(log_softmax(z_s), y_g.astype(int)[..., None], axis=-1)[..., 0]
    loss = rho * soft + (1 - rho) * hard
    return (loss.mean() if mean else loss).astype(result)


def class_effective_logit(
    z_t: Float[ArrayLike, "*n K"],
    y_g: Int[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
) -> Float[Array, "*n K"]:
    r"""Centred logits at which a sample's distillation loss is smallest (Eq. 3 for K classes).

    The unique solution, with :math:`\sum_k \hat z_k = 0`, of

    .. math:: \frac{\rho}{T}\,[\pi_k(\hat z/T) - \pi_k(z_t/T)] + (1-\rho)\,[\pi_k(\hat z) - 1\{k = y_g\}] = 0,
              \qquad k = 0, \dots, K-1.

    **What becomes of dark knowledge.** Let q, s and :math:`\pi` be the probabilities of the teacher at T, and of the
    student at T and at 1. Two equations for classes i and j that are not the label, subtracted, say that
    :math:`s_i - s_j = q_i - q_j - \kappa\,(\pi_i - \pi_j)`: the wrong classes keep the teacher's order, at smaller
    distances. Against the label, see :func:`beats`.

    Args:
        z_t: teacher logits, finite; classes run along the last axis, the others broadcast.
        y_g: ground-truth classes, from 0 to K - 1.
        rho: soft ratio in [0, 1].
        T: temperature, positive.

    Returns:
        Logits, each within ``1e-12 * max(1, |z|)`` of the exact one, with :math:`|z|` the largest of the sample: for
        ``|z_t|`` up to 1e3, T from 0.05 to 1e3, rho from 1e-300 on and K up to 1000. Works under ``jit``, ``vmap`` and
        ``grad``; differentiable in ``z_t``, ``rho`` and ``T`` (forward and reverse) by the implicit function theorem.

    Limits:
        ``rho = 1`` gives the teacher's logits, centred. ``rho = 0`` gives ``inf`` for the label and ``-inf`` for the
        others: a hard label alone has no finite minimiser. As rho tends to 0 the logits tend to the direction of
        :math:`1\{k = y_g\} - 1/K`; see :func:`class_targets`. ``T = 1`` has the closed form
        :math:`\pi(\hat z) = \rho\, \pi(z_t) + (1-\rho)\, 1\{k = y_g\}`: ratios among the wrong classes are untouched.

    Raises:
        ValueError: an argument outside its domain; shapes that do not broadcast; T outside [1e-3, 1e6]; a logit beyond
            1e8, as of a masked class, which would take all digits of the others with it into the mean. Values that are
            not known yet, under ``jit`` for example, are not checked.

    >>> z = class_effective_logit([0.0, 1.0, 3.0], [2, 0], rho=0.5, T=1.0)  # the teacher is right, then wrong
    >>> print(z.round(4))
    [[-1.5939 -0.5939  2.1878]
     [ 0.8073 -1.4037  0.5963]]
    """
    z_t, y_g, rho, T = _samples(z_t, y_g, rho=rho, T=T)
    require("T", T, "lie between 1e-3 and 1e6", lambda t: (t >= 1e-3) & (t <= 1e6),
            "beyond, digits of the logits are lost")
    return _class_effective_logit(z_t, y_g, rho, T)


def class_targets(
    z_t: Float[ArrayLike, "*n K"],
    y_g: Int[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
    z_0: Float[ArrayLike, "*n K"] | float = 0.0,
) -> Float[Array, "*n K"]:
    r"""What a student of K outputs has to learn, :math:`\Delta z` of Eq. 4, at any soft ratio.

    .. math:: \Delta z_k = \hat z_k - \Bigl(z_{0,k} - \frac1K \sum_j z_{0,j}\Bigr) \quad (\rho > 0), \qquad
              1\{k = y_g\} - \frac1K \quad (\rho = 0).

    The loss pulls at no sample's mean logit, and outputs that share a kernel, but no weights, leave it where it was:
    hence the mean of :math:`z_0` stays. At rho = 0 it is the direction alone, as in
    :func:`~kdlib.distillation.targets`. The result's columns are targets of
    :class:`~kdlib.students.NestedStudents`, K from one factorisation.

    Args:
        z_t, y_g, rho, T: as in :func:`class_effective_logit`.
        z_0: the student's logits at initialisation.

    Raises:
        ValueError: as :func:`class_effective_logit`.

    >>> print(class_targets([3.0, 0.0, 0.0], 0, rho=[1.0, 0.0], T=5.0, z_0=[0.5, 0.0, -0.5]).round(3))
    [[ 1.5   -1.    -0.5  ]
     [ 0.667 -0.333 -0.333]]
    """
    z = class_effective_logit(z_t, y_g, rho=rho, T=T)
    require_logits(z_0=z_0)
    z, z_0 = broadcast(of_samples=("z_t", "z_0"), z_t=z, z_0=z_0)
    return jnp.where(jnp.isinf(z), (z > 0) - 1 / z.shape[-1], z - (_centred(z_0) if z_0.ndim else 0))


def class_correction_logit(
    z_t: Float[ArrayLike, "*n K"], y_g: Int[ArrayLike, "*n"], *, T: Float[ArrayLike, "*n"]
) -> Float[Array, "*n K"]:
    r"""Pull of the first hard labels on the effective logits, per unit of hard ratio, centred.

    .. math:: \delta z_{h,k} = \left.-\frac{\partial \hat z_k}{\partial \rho}\right|_{\rho=1}
              = T^2\, \frac{1\{k = y_g\} - \pi_k(z_t)}{\pi_k(z_t/T)} - \text{mean}

    In the equations of :func:`class_effective_logit` let :math:`\rho = 1 - \varepsilon`: to first order,
    :math:`q_k\,(\delta z_k - \sum_j q_j\,\delta z_j) / T^2 = 1\{k = y_g\} - \pi_k(z_t)`. For :math:`T > 1` a
    wrong class of which the teacher is sure falls by much more than others; at T = 1 all fall alike, below that it
    falls least. Beyond the range of float64 an entry is ``inf`` of the right sign.

    Args and errors as in :func:`class_effective_logit`.

    >>> print(class_correction_logit([0.0, 0.0, 3.0], 0, T=5.0).round(1))  # the teacher is for class 2
    [ 78.2 -17.4 -60.8]
    """
    z_t, y_g, T = _samples(z_t, y_g, T=T)
    return _swapped(_correction_of_first(_swapped(z_t, y_g), T[..., None]), y_g)


def beats(
    z_t: Float[ArrayLike, "*n K"],
    y_g: Int[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
) -> Bool[Array, "*n K"]:
    r"""Which classes the label beats in the converged student: the pairwise rule.

    .. math:: \hat z_{y_g} > \hat z_j \quad\Longleftrightarrow\quad q_j - q_{y_g} < \kappa, \qquad q = \pi(z_t/T),\;
              \kappa = \frac{T(1-\rho)}{\rho}

    Proof: with the probabilities of :func:`class_effective_logit`, its equations for the label and for j differ by
    :math:`(s_y - s_j) + \kappa\,(\pi_y - \pi_j) = q_y - q_j + \kappa`. Both brackets have the sign of
    :math:`\hat z_y - \hat z_j`, as the exponential increases, and so has their sum.

    So a teacher's mistake survives where it is sure of it by more than :math:`\kappa`; and as no difference of two
    probabilities exceeds 1, none does if :math:`\rho \le T/(1+T)`, for every K.

    Args:
        z_t, y_g, rho, T: as in :func:`class_effective_logit`.

    Returns:
        One entry for each class. That of the label itself is True, so that ``beats(...).all(-1)`` says where the
        student is right. A tie is no win.

    Raises:
        ValueError: an argument outside its domain, or shapes that do not broadcast.

    >>> z_t = [[4.0, 1.0, 0.0], [9.0, 1.0, 0.0]]  # two teachers that take class 1 for class 0
    >>> print(beats(z_t, 1, rho=0.9, T=5.0))
    [[ True  True  True]
     [False  True  True]]
    """
    z_t, y_g, rho, T = _samples(z_t, y_g, masked=True, rho=rho, T=T)
    rho, T = rho[..., None], T[..., None]
    above = (z_t - jnp.take_along_axis(z_t, y_g[..., None], axis=-1)) / T
    # q_j - q_y = q_j (1 - e^-above) keeps its digits where the two are alike.
    ahead = softmax(z_t / T) * -jnp.expm1(-jnp.maximum(above, 0))
    kappa = T * (1 - rho) / rho
    return jnp.where(above > 0, ahead < kappa, (kappa > 0) | (above < 0)) | _one_hot(z_t, y_g)


# --- The equations of K classes, solved for samples of class 0 ------------------------------------------------------


@jax.jit
def _class_effective_logit(z_t, y_g, rho, T):
    # Exchanging two classes exchanges their logits: only samples of class 0 are solved.
    return _swapped(_logits_of_first(_swapped(z_t, y_g), rho[..., None], T[..., None]), y_g)


@jax.custom_jvp
def _logits_of_first(z_t, rho, T):
    """The centred minimiser if the label is class 0; rho and T have a last axis of length one."""
    mixed = (rho > 0) & (rho < 1)
    up, down = _excess(z_t[..., :1], z_t[..., 1:], jnp.where(mixed, rho, 0.5), T)
    z = _centred(z_t + T * jnp.concatenate([up, -down], axis=-1))
    hard = jnp.where(_one_hot(z_t, 0), jnp.inf, -jnp.inf)
    return jnp.select([mixed, rho == 1, rho == 0], [z, _centred(z_t), hard], jnp.nan)


def _excess(label, others, rho, T):
    r"""How far the label rises above the teacher, and the others fall below it, in units of T and up to a constant.

    With q, s and pi the probabilities of the teacher at T and of the student at T and 1, the equations are

        s_k + kappa pi_k = c_k,        c_k = q_k + kappa [k = y].

    The unknown of row k is the logarithm of its two terms' ratio, w_k = log(kappa pi_k / s_k), so that
    s_k = c_k sigma(-w_k) and kappa pi_k = c_k sigma(w_k). As s_k is proportional to pi_k^(1/T), these two give

        G(w_k) = w_k + (T-1) softplus(w_k) = b + (T-1) (log c_k + A),        A = log sum_k e^(z_t,k / T),

    with one more unknown b, the same for all rows. G' lies between 1 and T, and G is convex for T > 1 and concave for
    T < 1, so that Newton's method cannot fail. What fixes b is that the pi_k add up to one; without a difference,

        E = log(sum_{k != y} q_k sigma(w_k) + q_y sigma(w_y)) - log kappa - log sigma(-w_y) = 0,

    which increases with b. All rows and b take Newton steps together: O(K) each. As log sum_k pi_k^(1/T) is between 0
    and (1 - 1/T) log K, so is b between two ends; inside them a bracket takes over where Newton leaves it. At last,

        down_k = softplus(w_k),        up = log(1 + sum_{k != y} q_k sigma(w_k) / q_y).
    """
    top = others.max(axis=-1, keepdims=True)
    label, others = label - top, others - top
    log_kappa = jnp.log(T) + jnp.log1p(-rho) - jnp.log(rho)
    weight = jnp.exp(others / T)  # q_k = weight e^-A
    A = jnp.logaddexp(label / T, jnp.log(weight.sum(axis=-1, keepdims=True)))
    log_q = label / T - A
    tilt, tilt_label = (1 - 1 / T) * others, (T - 1) * jnp.logaddexp(label / T, log_kappa + A)

    one_end = log_kappa + (1 - T) * A
    width = (T - 1) * np.log(others.shape[-1] + 1)
    room = 0.01 + 0.15 * jnp.abs(width)  # that Newton's steps may need around the ends
    low, high = one_end + jnp.minimum(width, 0) - room, one_end + jnp.maximum(width, 0) + room
    # Where hard labels do little, b = log kappa + A - log sum_k e^z_t,k.
    b = log_kappa + A - jnp.logaddexp(label, jnp.log(jnp.exp(others).sum(axis=-1, keepdims=True)))
    b = jnp.clip(b, low, high)

    def side(w, target):
        """w, kept on the root's side of what G's asymptotes, w and T w, say about it."""
        return jnp.where(T > 1, jnp.minimum(w, jnp.minimum(target, target / T)),
                         jnp.maximum(w, jnp.maximum(target, target / T)))

    def row(w, target):
        """Newton's step, sigma(w), G'(w) and softplus(w)."""
        e = jnp.exp(-jnp.abs(w))
        s, softplus = jnp.where(w > 0, 1, e) / (1 + e), jnp.maximum(w, 0) + jnp.log1p(e)
        slope = 1 + (T - 1) * s
        return (target - w - (T - 1) * softplus) / slope, s, slope, softplus

    def newton(state):
        w, w_label, b, low, high, _, steps = state
        step, s, slope, _ = row(w, tilt + b)
        step_label, s_label, slope_label, softplus = row(w_label, tilt_label + b)

        # E at the rows' next values, and its derivative as they follow b; both to first order in the steps.
        terms = weight * s
        bent = terms * (1 - s)
        total, by_steps, by_b, off = _sums_and_largest(terms, bent * step, bent / slope, jnp.abs(step))
        total, off = jnp.maximum(total, _SMALLEST), jnp.maximum(off, jnp.abs(step_label))
        log_others, log_label = jnp.log(total) - A, log_q + w_label - softplus
        share = sigmoid(log_label - log_others)
        by_label = share * (1 - s_label) + s_label
        E = jnp.logaddexp(log_others, log_label) - log_kappa + softplus
        E += (1 - share) * by_steps / total + by_label * step_label
        slope_E = (1 - share) * by_b / total + by_label / slope_label

        # b waits until its rows are near; the sign of E is known where E is larger than its error.
        near = off < 0.5
        known = near & (jnp.abs(E) > off**2)
        low, high = jnp.where(known & (E < 0), b, low), jnp.where(known & (E > 0), b, high)
        move = jnp.clip(-E / slope_E, -1e9, 1e9)
        # A step through nearly the whole bracket may be one of a cycle, from end to end.
        inside = (low <= b + move) & (b + move <= high) & (jnp.abs(move) <= 0.9 * (high - low))
        move = jnp.where(inside | (jnp.abs(move) < _STEP), move, (low + high) / 2 - b)
        move = jnp.where(near, move, 0)
        b += move
        w = side(w + step + move / slope, tilt + b)
        w_label = side(w_label + step_label + move / slope_label, tilt_label + b)
        return w, w_label, b, low, high, (jnp.maximum(off, jnp.abs(move)) > _STEP).any(), steps + 1

    far = jnp.where(T > 1, jnp.inf, -jnp.inf)
    state = side(far, tilt + b), side(far, tilt_label + b), b, low, high, True, 0
    w = lax.while_loop(lambda state: state[5] & (state[6] < 200), newton, state)[0]
    _, s, _, down = row(w, tilt)
    up = jnp.logaddexp(0, jnp.log((weight * s).sum(axis=-1, keepdims=True)) - A - log_q)
    return up, down


def _sums_and_largest(*values):
    """Sums over the last axis, but of the last array the largest: one pass through memory."""
    combine = lambda a, b: (*(x + y for x, y in zip(a[:-1], b[:-1], strict=True)), jnp.maximum(a[-1], b[-1]))
    return [total[..., None] for total in lax.reduce(values, (0.0,) * len(values), combine, (values[0].ndim - 1,))]


_SMALLEST = 1e-300  # of a sum of which the logarithm is taken
_STEP = 3e-8  # Newton's error is squared at each step, and all bends are below 1: after such a one it is 1e-15


@partial(_logits_of_first.defjvp, symbolic_zeros=True)
def _logits_of_first_jvp(primals, tangents):
    """Implicit function theorem on the equations of `_excess`, written so that no ratio becomes 0/0.

    With theta_k = s_k / c_k, eta_k = kappa pi_k / c_k and g_k = theta_k + T eta_k, and with A and M the logarithms of
    the normalisers of the teacher at T and of the student at 1,

        g_k dz_k = dz_t,k - (theta_k down_k + eta_k z_t,k / T) dT - T eta_k (dlog kappa + dA - dM),       k != y,
        g_y dz_y = phi dz_t,y + (theta_y up + h z_t,y / T) dT + T h (dlog kappa + dA) + T eta_y dM,
        phi = q_y / c_y,   h = kappa (1 - pi_y) / c_y,   dM = sum_k pi_k dz_k.

    At rho = 0 the root is infinite: its derivatives by z_t and T are the limits, that by rho is as large as can be.
    """
    z_t, rho, T = primals
    # A direction that is not asked for is not computed: that of rho may be infinite where the others are not.
    d_z, d_rho, d_T = (None if isinstance(tangent, SymbolicZero) else tangent for tangent in tangents)
    near = jnp.maximum(rho, 1e-250)
    z = _logits_of_first(z_t, near, T)
    log_pi, log_s, log_q = log_softmax(z), log_softmax(z / T), log_softmax(z_t / T)
    log_kappa = jnp.log(T) + jnp.log1p(-near) - jnp.log(near)
    label, others = np.s_[..., :1], np.s_[..., 1:]
    join = lambda of_label, of_others: jnp.concatenate([of_label, of_others], axis=-1)

    log_wrong = logsumexp(log_pi[others], axis=-1, keepdims=True)
    up = jnp.logaddexp(0, log_kappa + log_wrong - log_q[label])
    phi, hard = sigmoid(log_q[label] - log_kappa), sigmoid(log_kappa - log_q[label])
    h = hard * jnp.exp(log_wrong)
    theta, eta = jnp.exp((log_s - log_q)[others]), jnp.exp(log_kappa + (log_pi - log_q)[others])
    down = jnp.where(eta < 0.5, -jnp.log1p(-jnp.minimum(eta, 0.5)), (log_q - log_s)[others])
    thetas, etas = join(phi + h, theta), join(hard * jnp.exp(log_pi[label]), eta)
    slopes = thetas + T * etas

    right, shift = jnp.zeros_like(z), jnp.zeros_like(z[label])  # the equations' right sides; dlog kappa + dA
    if d_z is not None:
        right += join(phi, jnp.ones_like(theta)) * d_z
        shift += (jnp.exp(log_q) * d_z).sum(axis=-1, keepdims=True) / T
    if d_T is not None:  # z_t / T may be replaced by log q: the difference, A, cancels
        right += join((phi + h) * up + h * log_q[label], -theta * down - eta * log_q[others]) * d_T
        shift += (1 - (jnp.exp(log_q) * log_q).sum(axis=-1, keepdims=True)) / T * d_T
    if d_rho is not None:
        mixed = (rho > 0) & (rho < 1)
        shift -= jnp.where(mixed, 1 / jnp.where(mixed, rho * (1 - rho), 1), 0) * d_rho
    right += T * join(h, -eta) * shift
    of_M = jnp.exp(log_pi) / slopes
    d_M = (of_M * right).sum(axis=-1, keepdims=True) / (of_M * thetas).sum(axis=-1, keepdims=True)
    moved = _centred((right + T * etas * d_M) / slopes)
    if d_rho is not None:
        largest = jnp.finfo(float).max  # for infinity: differences between wrong classes stay, and 0 times it is 0
        at_zero = -largest * _centred(_one_hot(z, 0).astype(float))
        at_one = jnp.clip(-_correction_of_first(z_t, T), -largest, largest)
        moved += jnp.select([rho == 0, rho == 1], [at_zero, at_one], 0) * d_rho
    return jnp.where(rho > 0, z, _logits_of_first(z_t, rho, T)), moved


def _correction_of_first(z_t, T):
    """The centred correction logits if the label is class 0."""
    log_pi = log_softmax(z_t)
    wrong = logsumexp(log_pi[..., 1:], axis=-1, keepdims=True)
    log_size = 2 * jnp.log(T) + jnp.concatenate([wrong, log_pi[..., 1:]], axis=-1) - log_softmax(z_t / T)
    largest = log_size.max(axis=-1, keepdims=True)
    size = jnp.exp(log_size - largest)
    pull = _centred(jnp.where(_one_hot(size, 0), size, -size))
    half = jnp.exp(largest / 2)  # in two steps: the pull may be tiny where the largest is beyond float64
    return jnp.where(pull == 0, 0, pull * half * half)


# --- Samples, checked and put into one form -------------------------------------------------------------------------


def _samples(z_t, y_g, *, masked=False, **settings):
    """Logits (*n, K), classes (*n,) and settings (*n,), checked; logits may be those of masked classes."""
    require_logits(z_t=z_t)
    if not masked:
        require("z_t", z_t, "lie between -1e8 and 1e8", lambda z: jnp.abs(z) <= 1e8,
                "leave masked classes out, they get no share of any probability")
    if "rho" in settings:
        require_ratios(rho=settings["rho"])
    require_temperature(settings["T"])
    [z_t] = broadcast(z_t=z_t)
    if not z_t.ndim or z_t.shape[-1] < 2:
        raise ValueError(f"z_t must have shape (n, K), got {z_t.shape}: give K >= 2 logits for each sample, "
                         "0 and z for a single logit z")
    require_classes(y_g, z_t.shape[-1])
    rows, *rest = broadcast(of_samples=("z_t[..., 0]", "y_g"), **{"z_t[..., 0]": z_t[..., 0]}, y_g=y_g, **settings)
    shape = np.broadcast_shapes(rows.shape, *(values.shape for values in rest))
    y_g, *settings = (jnp.broadcast_to(values, shape) for values in rest)
    return jnp.broadcast_to(z_t, (*shape, z_t.shape[-1])), y_g.astype(int), *settings


def _one_hot(z, y):
    """Where the class is y, a class for each sample or one for all."""
    return lax.broadcasted_iota(int, z.shape, z.ndim - 1) == (y[..., None] if np.ndim(y) else y)


def _swapped(z, y):
    """With the entries of the classes 0 and y exchanged."""
    chosen = jnp.take_along_axis(z, y[..., None], axis=-1)
    return jnp.where(_one_hot(z, 0), chosen, jnp.where(_one_hot(z, y), z[..., :1], z))


def _centred(z):
    return z - z.mean(axis=-1, keepdims=True)


def _require_range(precision, T, **logits):
    """T and the logits fit into this precision, and so do logits divided by T, but for the lowest of masked classes."""
    limits = jnp.finfo(precision)
    smallest, largest = float(limits.tiny), float(limits.max)
    span = f"lie between {smallest:.1g} and {largest:.1g} in {precision}, the precision of z_s"
    require("T", T, span, lambda t: (t >= smallest) & (t <= largest), "give z_s in double precision")
    highest = largest if isinstance(T, jax.core.Tracer) else largest * min(float(T), 1)
    for name, z in logits.items():
        require(name, z, f"lie between {-largest:.1g} and {highest:.1g}, so that {precision} holds them divided by T",
                lambda v: (v >= -largest) & (v <= highest), "subtract each sample's largest logit from its others")
