"""The distillation loss and the logit that minimises it, sample by sample (Section 2 of the paper).

A student that is wide enough and trained for long enough fits every sample on its own, so its
logit ends at the minimiser of that sample's loss: the *effective logit*. Everything the book
computes downstream starts from it.

Source: G. Ji and Z. Zhu, *Knowledge Distillation in Wide Neural Networks: Risk Bound, Data
Efficiency and Imperfect Teacher*, NeurIPS 2020, Eq. 2 and Eq. 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, ArrayLike, Float

from kdlib._checks import broadcast, require_labels, require_logits, require_ratios, require_temperature


def distillation_loss(
    z_s: Float[ArrayLike, "*n"],
    z_t: Float[ArrayLike, "*n"],
    y_g: Float[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
    mean: bool = True,
) -> Float[Array, "*n"] | Float[Array, ""]:
    r"""Distillation loss of student logits: a soft and a hard cross-entropy, mixed (Eq. 2).

    .. math:: \ell &= \rho\, H(\sigma(z_t/T), \sigma(z_s/T)) + (1-\rho)\, H(y_g, \sigma(z_s)), \\
              H(p, q) &= -p \log q - (1-p) \log(1-q).

    The soft term carries **no factor** :math:`T^2`. Practice often multiplies it by
    :math:`T^2` to keep the two gradients comparable; the paper does not, and neither do we.

    Args:
        z_s, z_t: student and teacher logits, finite.
        y_g: ground-truth labels, 0 or 1. Of the three, some may be numbers, or arrays with leading axes beyond the
            others'; but (n, 1) beside (n,) would be all pairs, and is refused.
        rho: soft ratio in [0, 1]; 1 listens to the teacher alone, 0 to the labels alone.
        T: temperature, positive.
        mean: average over the samples (Eq. 2's loss) or return one loss per sample. A mean asks for one rho and one T,
            or for one of each for every sample.

    Returns:
        The mean loss, or with ``mean=False`` an array of the arguments' broadcast shape.

    Raises:
        ValueError: an argument outside its domain, or shapes that do not broadcast or not belong to the same samples.

    >>> float(distillation_loss(0.0, 2.0, 1, rho=0.5, T=1.0).round(6))
    0.693147
    """
    require_logits(z_s=z_s, z_t=z_t)
    require_labels(y_g)
    require_ratios(rho=rho)
    require_temperature(T)
    z_s, z_t, y_g, rho, T = broadcast(
        of_samples=("z_s", "z_t", "y_g"), stretch=not mean, z_s=z_s, z_t=z_t, y_g=y_g, rho=rho, T=T)
    if mean and 0 in jnp.broadcast_shapes(z_s.shape, z_t.shape, y_g.shape):
        raise ValueError(f"z_s, z_t, y_g must hold at least one sample, got shapes {z_s.shape}, {z_t.shape} and "
                         f"{y_g.shape}: a mean over none has no value")
    soft, hard = _cross_entropy(sigmoid(z_t / T), z_s / T), _cross_entropy(y_g, z_s)
    loss = _weighted(rho, soft) + _weighted(1 - rho, hard)
    return loss.mean() if mean else loss


def _cross_entropy(p, z):
    """H(p, sigma(z)), with logarithms that do not overflow: 1 - sigma(z) = sigma(-z)."""
    return -_weighted(p, log_sigmoid(z)) - _weighted(1 - p, log_sigmoid(-z))


def _weighted(p, value):
    """p times a value, which may be beyond float64: 0 times that is 0."""
    return p * jnp.where((p == 0) & jnp.isinf(value), 0, value)


def effective_logit(
    z_t: Float[ArrayLike, "*n"],
    y_g: Float[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
) -> Float[Array, "*n"]:
    r"""Logit at which a sample's distillation loss is smallest (Eq. 3).

    The unique root :math:`\hat z` of

    .. math:: \frac{\rho}{T}\,[\sigma(\hat z/T) - \sigma(z_t/T)]
              + (1-\rho)\,[\sigma(\hat z) - y_g] = 0.

    Args:
        z_t: teacher logits, finite.
        y_g: ground-truth labels, 0 or 1, of the same samples: (n, 1) beside (n,) is refused.
        rho: soft ratio in [0, 1], 0 or at least 1e-300. For k ratios at once, ``z_t[:, None]`` and ``y_g[:, None]``
            give a column for each.
        T: temperature, positive, from 1e-100 to 1e100.

    Returns:
        Logits of the arguments' broadcast shape, within ``1e-12 * max(1, |z|)`` of the exact
        root. Works under ``jit``, ``vmap`` and ``grad``; differentiable in ``z_t``, ``rho``
        and ``T`` (forward and reverse) by the implicit function theorem, and constant in ``y_g``.

    Limits:
        ``rho = 1`` gives ``z_t`` exactly. ``rho = 0`` gives ``+inf`` or ``-inf``: a hard label
        alone has no finite minimiser. ``T = 1`` has the closed form
        :math:`\sigma(\hat z) = \rho\,\sigma(z_t) + (1-\rho)\,y_g`.

    Raises:
        ValueError: an argument outside its domain, or shapes that do not broadcast. Values that
            are not known yet, under ``jit`` for example, are not checked.

    >>> z = effective_logit([-2.0, 2.0], [1, 1], rho=0.5, T=1.0)  # a wrong and a right teacher
    >>> print(z.round(4))
    [0.2395 2.7586]
    """
    require_logits(z_t=z_t)
    require_labels(y_g)
    require_ratios(rho=rho)
    require_temperature(T)
    z_t, y_g, rho, T = broadcast(of_samples=("z_t", "y_g"), z_t=z_t, y_g=y_g, rho=rho, T=T)
    return _effective_logit(z_t, y_g, rho, T)


def targets(
    z_t: Float[ArrayLike, "*n"],
    y_g: Float[ArrayLike, "*n"],
    *,
    rho: Float[ArrayLike, "*n"],
    T: Float[ArrayLike, "*n"],
    z_0: Float[ArrayLike, "*n"] = 0.0,
) -> Float[Array, "*n"]:
    r"""What a student has to learn, :math:`\Delta z` of Eq. 4, at any soft ratio.

    .. math:: \Delta z = z_\text{s,eff} - z_0 \quad (\rho > 0), \qquad 2 y_g - 1 \quad (\rho = 0).

    As :math:`\rho \to 0` all effective logits grow without end, at one pace: their direction tends to that of the
    labels' signs, beside which :math:`z_0` counts for nothing. A student's class, angle and data inefficiency depend
    on the direction alone; its norm at :math:`\rho = 0` is in units of the common size.

    Args:
        z_t, y_g, rho, T: as in :func:`effective_logit`.
        z_0: the student's logits at initialisation.

    Raises:
        ValueError: as :func:`effective_logit`.

    >>> print(targets([2.0, -1.0], [1, 1], rho=1.0, T=5.0, z_0=[0.5, 0.5]), targets([2.0, -1.0], [1, 0], rho=0, T=5.0))
    [ 1.5 -1.5] [ 1. -1.]
    """
    soft = effective_logit(z_t, y_g, rho=rho, T=T)
    require_logits(z_0=z_0)
    _, y_g, z_0, rho, _ = broadcast(of_samples=("z_t", "y_g", "z_0"), z_t=z_t, y_g=y_g, z_0=z_0, rho=rho, T=T)
    return jnp.where(rho == 0, 2 * y_g - 1, soft - z_0)


def split_threshold(
    *, rho: Float[ArrayLike, "*n"], T: Float[ArrayLike, "*n"]
) -> Float[Array, "*n"]:
    r"""Half-width of the split that hard labels open in the effective logit at ``z_t = 0``.

    .. math:: t(\rho, T) = \hat z(0^+, 1),

    so that a correct teacher's student never answers with a logit inside :math:`(-t, t)`.
    At ``T = 1``, :math:`t = \log(2/\rho - 1)`. Domain, limits and errors are those of
    :func:`effective_logit`: ``t = 0`` at ``rho = 1`` and ``inf`` at ``rho = 0``.

    >>> float(split_threshold(rho=0.5, T=1.0).round(6))  # log 3
    1.098612
    """
    return effective_logit(0.0, 1, rho=rho, T=T)


def correction_logit(
    z_t: Float[ArrayLike, "*n"], y_g: Float[ArrayLike, "*n"], *, T: Float[ArrayLike, "*n"]
) -> Float[Array, "*n"]:
    r"""Pull of the first hard labels on the effective logit, per unit of hard ratio (Section 5).

    .. math:: \delta z_h = \left.-\frac{\partial \hat z}{\partial \rho}\right|_{\rho=1}
              = \frac{T^2\,[y_g - \sigma(z_t)]}{s\,(1-s)}, \qquad s = \sigma(z_t/T),

    hence :math:`\hat z = z_t + (1-\rho)\,\delta z_h + O((1-\rho)^2)`. It always points at the
    label. Beyond the range of float64 it is ``inf`` of the right sign: with a wrong teacher from
    about ``|z_t| / T = 700`` on, with a right one only if ``T < 1``, from ``|z_t| (1/T - 1) = 700`` on.

    Args and errors as in :func:`effective_logit`.

    >>> float(correction_logit(0.0, 1, T=5.0).round(9))  # 25 * (1/2) / (1/4)
    50.0
    """
    require_logits(z_t=z_t)
    require_labels(y_g)
    require_temperature(T)
    z_t, y_g, T = broadcast(of_samples=("z_t", "y_g"), z_t=z_t, y_g=y_g, T=T)
    # y - sigma(z_t) = flip * sigma(-flip * z_t); logs keep the ratio of tiny numbers exact.
    flip = 2 * y_g - 1
    log_size = 2 * jnp.log(T) + log_sigmoid(-flip * z_t) - log_sigmoid(z_t / T) - log_sigmoid(-z_t / T)
    return flip * jnp.exp(log_size)


def label_smoothing_logit(
    y_g: Float[ArrayLike, "*n"], *, epsilon: Float[ArrayLike, "*n"]
) -> Float[Array, "*n"]:
    r"""Logit that minimises cross-entropy against a smoothed label (Section 4.2).

    .. math:: \hat z = (2 y_g - 1) \log(2/\varepsilon - 1), \qquad
              \text{from } \sigma(\hat z) = (1-\varepsilon)\, y_g + \varepsilon/2.

    With ``epsilon = rho`` it equals the effective logit of an undecided teacher (``z_t = 0``)
    at ``T = 1``.

    Args:
        y_g: ground-truth labels, 0 or 1.
        epsilon: smoothing in [0, 1]; 0 gives ``inf`` of the label's sign, 1 gives 0.

    Raises:
        ValueError: an argument outside its domain, or shapes that do not broadcast.

    >>> print(label_smoothing_logit([0, 1], epsilon=0.5).round(6))
    [-1.098612  1.098612]
    """
    require_labels(y_g)
    require_ratios(epsilon=epsilon)
    y_g, epsilon = broadcast(y_g=y_g, epsilon=epsilon)
    # 2/epsilon - 1 as a ratio: the subtraction 2 - epsilon loses nothing.
    return (2 * y_g - 1) * jnp.log((2 - epsilon) / epsilon)


# --- Eq. 3, solved for y_g = 1 -----------------------------------------------------------------


@jax.jit
def _effective_logit(z_t, y_g, rho, T):
    # Flipping both classes flips both logits, z(z_t, 0) = -z(-z_t, 1): only y_g = 1 is solved.
    flip = lax.stop_gradient(2 * y_g - 1)
    return flip * _effective_logit_of_positive(flip * z_t, rho, T)


@jax.custom_jvp
def _effective_logit_of_positive(z_t, rho, T):
    """Root of Eq. 3 for ``y_g = 1``; arguments share one shape or are scalars."""
    # Below z_t = -750 T the teacher's sigma(z_t/T) is 0 in float64, so the equation is the same.
    start = jnp.maximum(z_t, -750 * T)
    mixed = (rho > 0) & (rho < 1)
    root = start + T * _excess(start, jnp.where(mixed, rho, 0.5), T)
    return jnp.select([mixed, rho == 1, rho == 0], [root, z_t, jnp.inf], jnp.nan)


def _excess(z_t, rho, T):
    """The root's distance from the teacher in units of T: x = (z - z_t) / T > 0.

    Factor sigma(z/T) - sigma(z_t/T) = sigma(z/T) sigma(-z_t/T) (1 - e^-x), and take the logarithm
    of both sides of Eq. 3. With softplus(v) = log(1 + e^v), the root x of the increasing function

        F(x) = log(1 - e^-x) + softplus(z) - softplus(-z/T) - c,        z = z_t + T x,
        c    = log(T (1-rho) / rho) + softplus(z_t/T),

    is found by Halley's method, kept inside a bracket. F is smooth where Eq. 3 itself is flat to
    the last bit, which is what lets rho go down to 1e-300 and |z_t| up to 1e3 and beyond.
    """
    c = jnp.log(T) + jnp.log1p(-rho) - jnp.log(rho) + _softplus(z_t / T)

    # F(far) >= 0: for x >= log 2, F(x) >= -log 2 + z - softplus(-z_t/T) - c.
    log_2 = np.log(2)
    far = log_2 + jnp.maximum(c + 2 * log_2 + jnp.maximum(-z_t / T, 0) - z_t, 0) / T

    # softplus(z) >= max(z_t, 0) turns F = 0 into a linear equation for e^-x. Its root, where
    # there is one, is an upper bound, and tight while z keeps to the teacher's side.
    log_q = c - jnp.maximum(z_t, 0)
    q = jnp.exp(jnp.minimum(log_q, 0))
    near = jnp.where(log_q < 0, jnp.log1p(q * (1 + jnp.exp(-z_t / T)) / (1 - q)), jnp.inf)

    # Once z > 0, F is about log((1 - e^-x) e^(T x)) + z_t - c: Lambert's W for small x, else linear.
    v = jnp.minimum(_softplus(jnp.log(T) + c - z_t), 1e300)
    lambert = v * (1 - jnp.log1p(v) / (2 + v))
    crossed = jnp.maximum(lambert, c - z_t) / T

    per_T, smallest = 1 / T, 1e-300
    guess = jnp.maximum(jnp.minimum(jnp.minimum(near, crossed), far), smallest)

    def halley(state):
        x, low, high, _, steps = state
        z = z_t + T * x
        e, e_z, e_zT = jnp.exp(-x), jnp.exp(-jnp.abs(z)), jnp.exp(-jnp.abs(z) * per_T)
        # 1 - e^-x with full relative accuracy (Kahan's formula: XLA's expm1 costs six times more).
        rise = jnp.where(x > 1, 1 - e, jnp.where(e == 1, x, (e - 1) * x / jnp.log1p(e - 1)))
        over_rise, over_z, over_zT = 1 / rise, 1 / (1 + e_z), 1 / (1 + e_zT)
        s_z = jnp.where(z > 0, 1, e_z) * over_z  # sigma(z)
        s_zT = jnp.where(z > 0, e_zT, 1) * over_zT  # sigma(-z/T)
        # F, F' and F'':
        f = jnp.log(rise * (1 + e_z) * over_zT) + jnp.maximum(z, 0) + jnp.minimum(z, 0) * per_T - c
        slope = e * over_rise + T * s_z + s_zT
        bend = -e * over_rise**2 + T**2 * s_z * (1 - s_z) - s_zT * (1 - s_zT)

        low, high = jnp.where(f < 0, x, low), jnp.where(f < 0, high, x)
        new = x - 2 * f * slope / (2 * slope**2 - f * bend)
        # A step through nearly all of the bracket may belong to a cycle from end to end: then halve
        # the bracket, unless it is down to rounding, where only its ends are minded.
        change, small = jnp.abs(new - x), 1e-5 * jnp.minimum(x, jnp.minimum(1, per_T))
        good = (low <= new) & (new <= high) & (change <= 0.9 * (high - low))
        new = jnp.where(good, new, jnp.where(change <= small, jnp.clip(new, low, high), (low + high) / 2))
        # Halley's error is cubed at each step: after a step of 1e-5, measured on the scale on
        # which F bends, it is below the last bit.
        change = jnp.abs(new - x)
        moving = (change > small) & (T * change > 1e-17 * (1 + jnp.abs(z_t)))
        return new, low, high, moving.any(), steps + 1

    state = guess, jnp.zeros_like(guess), jnp.maximum(far, smallest), True, 0
    return lax.while_loop(lambda s: s[3] & (s[4] < 100), halley, state)[0]


@partial(_effective_logit_of_positive.defjvp, symbolic_zeros=True)
def _effective_logit_jvp(primals, tangents):
    """Implicit function theorem on F of `_excess`, written so that no ratio becomes 0/0.

    With e = exp(-x) and D = e + (1-e) (sigma(-z/T) + T sigma(z)) > 0:

        dz/dz_t = [e + (1-e) sigma(z_t/T)] / D
        dz/drho = -T^2 sigma(-z) / [rho^2 sigma(-z_t/T) sigma(z/T)] / D
        dz/dT   = [x e + (1-e) (1 + (z/T) sigma(-z/T) - (z_t/T) sigma(z_t/T))] / D

    At rho = 0 the root is infinite: dz/dz_t and dz/dT are the limits, dz/drho is -inf.
    """
    z_t, rho, T = primals
    z = _effective_logit_of_positive(z_t, rho, T)
    finite = jnp.isfinite(z)
    z_finite = jnp.where(finite, z, 0)
    x = jnp.where(finite, z_finite - z_t, 0) / T
    e = jnp.where(finite, jnp.exp(-x), 0)
    s_z = jnp.where(finite, sigmoid(z_finite), 1)
    s_zT = jnp.where(finite, sigmoid(-z_finite / T), 0)
    D = e + (1 - e) * (s_zT + T * s_z)

    partials = (
        lambda: (e + (1 - e) * sigmoid(z_t / T)) / D,
        lambda: jnp.where(
            finite,
            -jnp.exp(2 * jnp.log(T / rho) + log_sigmoid(-z_finite)
                     - log_sigmoid(-z_t / T) - log_sigmoid(z_finite / T)) / D,
            -jnp.inf,
        ),
        lambda: (x * e + (1 - e) * (1 + z_finite / T * s_zT - z_t / T * sigmoid(z_t / T))) / D,
    )
    # A direction that is not asked for is not computed: dz/drho may be infinite where the others
    # are not, and inf * 0 would spoil them.
    moved = [d() * t for d, t in zip(partials, tangents, strict=True) if not isinstance(t, SymbolicZero)]
    return z, sum(moved, jnp.zeros_like(z))


def _softplus(v):
    """log(1 + e^v); jax.nn.softplus also treats NaN, at four times the cost."""
    return jnp.maximum(v, 0) + jnp.log1p(jnp.exp(-jnp.abs(v)))
