r"""More than two classes: the distillation loss of K logits.

Source: Eq. 2 of the paper, with the softmax in place of the logistic function.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax, softmax
from jaxtyping import Array, ArrayLike, Float, Int

from kdlib._checks import require, require_classes, require_logits, require_ratios, require_temperature


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
    z_s, z_t, y_g = jnp.asarray(z_s), jnp.asarray(z_t), jnp.asarray(y_g)
    if not z_s.ndim or z_s.shape != z_t.shape or y_g.shape != z_s.shape[:-1] or z_s.shape[-1] < 2:
        raise ValueError(f"z_s and z_t must have shape (n, K) and y_g (n,), got {z_s.shape}, {z_t.shape} and "
                         f"{y_g.shape}: give K >= 2 logits and one class for each sample")
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
