r"""What hard labels do to the student of an imperfect teacher (Section 5).

Two corrections. Pointwise, a hard label keeps a probability for the right class that no teacher can take away:
:func:`correction_floor`. And in weight space, the first bit of hard label turns the student towards the ground truth,
or away from it: Theorem 2, here for the students of 1, 2, ..., N samples at once, since all its inner products
:math:`\langle a, b \rangle_{\Theta_n}` are running sums.

The functions on :class:`~kdlib.students.NestedStudents` take logits at the samples: the teacher's ``z_t``, the labels
``y_g`` that the student is shown, and the ground truth's ``z_g``, whose weights :math:`\Delta w_g` the student should
find. Where only labels are known, their signs ``2 y_g - 1`` may stand for ``z_g``. Each is a vector ``(N,)`` or has a
column for each of k cases, ``(N, k)``; ``rho`` and ``T`` are numbers, or have one entry for each column. ``z_0`` are
the student's own logits at initialisation.

**The ground truth's length.** In Eq. 11 and 12 :math:`\|\Delta w_g\|_2` is that of the ground truth itself. It is the
same for every rho, and so scales the cosine without moving a sign or the best rho; but it is rarely known, and for a
discontinuous ground truth it is infinite. Our choice by default, ``norm=None``, is the length of the ground truth's own
student of the same n samples, :math:`\|\Delta\hat w_{g,n}\|_2`: the angle is then between two students of the same
samples, and zero if their targets agree up to scale. With ``norm`` the angle is the paper's, and larger, as no student
of n samples sees the rest of the ground truth. A cosine divides by one or the other, so compare different n with care.

Source: Section 5 and Theorem 2 of the paper. The projection is summed from recursive residuals: R. L. Brown, J. Durbin
and J. M. Evans, *Techniques for testing the constancy of regression relationships over time*, JRSS B 37, 1975.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import sigmoid, softplus
from jaxtyping import Array, ArrayLike, Float

from kdlib._checks import (
    broadcast,
    numeric,
    precision,
    real,
    require,
    require_logits,
    require_ratios,
    require_size,
    require_temperature,
    whole,
)
from kdlib.distillation import correction_logit, effective_logit
from kdlib.students import NestedStudents


def correction_floor(
    *, rho: Float[ArrayLike, "*n"], T: Float[ArrayLike, "*n"], classes: int = 2
) -> Float[Array, "*n"]:
    r"""Probability that the right class keeps, however wrong the teacher.

    .. math:: p(\rho, T) = \inf_{z_t} \pi_{y_g}(\hat z) = \sigma(\hat z_{-\infty}), \qquad
              \frac{\rho}{T}\, \sigma\Bigl(\frac{\hat z_{-\infty} + c}{T}\Bigr) = (1-\rho)\, \sigma(-\hat z_{-\infty}),
              \qquad c = \max(1 - T, 0) \log(K-1)

    Two classes: the effective logit increases in :math:`z_t`, so it stays above its limit at
    :math:`z_t \to -\infty`, and there :math:`\sigma(z_t/T)` drops out of Eq. 3. In :math:`\hat z`, the left side rises
    from 0 and the right side falls to 0: there is one root. No teacher attains the floor. By symmetry the floor for
    ``y_g = 0`` is the same.

    K classes: with :math:`p = \pi_y`, :math:`\kappa = T(1-\rho)/\rho` and the probabilities s of the student at T, the
    label's equation says :math:`\kappa\,(1 - p) = s_y - q_y \le s_y`, where
    :math:`1/s_y = 1 + \sum_{k \ne y} (\pi_k/p)^{1/T}`. Of all ways to share :math:`1 - p` among the wrong classes, the
    sum is smallest if one class has all, for :math:`T \ge 1`, as :math:`x^{1/T}` is concave; for T < 1 it is convex,
    and equal shares are worst. A teacher with :math:`q_k = s_k + \kappa \pi_k` and a vanishing :math:`q_y` comes as
    close to equality as one likes. So for :math:`T \ge 1` the floor of K classes is that of two, and lower for T < 1.

    At ``T = 1`` it is ``1 - rho``, as the paper says. For two classes it is at least 1/2 up to ``rho = T / (1 + T)``,
    and the student is always right. A higher temperature raises the floor only where :math:`u\,\sigma(u) < 1`, with
    :math:`u = -\hat z_{-\infty}/T`, that is for u < 1.278; where the floor is lower already, it lowers it further, as
    the example shows at ``rho = 0.99``. (Differentiate the logarithm of the equation in log T, for c = 0.)

    Args:
        rho: soft ratio in [0, 1].
        T: temperature, positive.
        classes: K.

    Limits: 1 at ``rho = 0`` and 0 at ``rho = 1``. Its inverse, :func:`largest_soft_ratio`, has a closed form.

    Raises:
        ValueError: an argument outside its domain, or shapes that do not broadcast.

    >>> for T in (1.0, 5.0):
    ...     print(T, *(f"{float(correction_floor(rho=rho, T=T)):.3g}" for rho in (0.5, 0.9, 0.99)))
    1.0 0.5 0.1 0.01
    5.0 0.88 0.216 4.26e-07
    >>> print(*(f"{float(correction_floor(rho=0.5, T=0.5, classes=K)):.3g}" for K in (2, 10, 1000)))
    0.397 0.212 0.0298
    """
    require_ratios(rho=rho)
    require_temperature(T)
    c = _spread(classes)
    rho, T = broadcast(rho=rho, T=T)
    mixed = (rho > 0) & (rho < 1)
    inner = jnp.where(mixed, rho, 0.5)
    z = _floor_logit(jnp.log(T) + jnp.log1p(-inner) - jnp.log(inner), T, c(T))
    return jnp.select([mixed, rho == 0], [sigmoid(z), 1.0], 0.0)


def largest_soft_ratio(
    p: Float[ArrayLike, "*n"], *, T: Float[ArrayLike, "*n"], classes: int = 2
) -> Float[Array, "*n"]:
    r"""Soft ratio up to which the right class keeps a probability p, however wrong the teacher.

    .. math:: \rho(p, T) = \frac{T (1-p)}{T (1-p) + s}, \qquad
              s = \sigma\Bigl(\frac1T \Bigl[\log\frac{p}{1-p} + c\Bigr]\Bigr), \qquad c = \max(1 - T, 0) \log(K-1)

    It solves the equation of :func:`correction_floor` for rho. At ``T = 1`` it is ``1 - p``; for two classes, at
    ``p = 1/2``, ``T / (1 + T)``.

    Args:
        p: probability in [0, 1].
        T: temperature, positive.
        classes: K; it counts for T < 1 only.

    Raises:
        ValueError: p outside [0, 1], T not positive, or shapes that do not broadcast.

    >>> print(largest_soft_ratio([0.1, 0.5], T=5.0).round(4))
    [0.9199 0.8333]
    """
    require_ratios(p=p)
    require_temperature(T)
    c = _spread(classes)
    p, T = broadcast(p=p, T=T)
    s = sigmoid((jnp.log(p) - jnp.log1p(-p) + c(T)) / T)
    return T * (1 - p) / (T * (1 - p) + s)


def _spread(classes):
    """c of :func:`correction_floor` as a function of T."""
    log_wrong = np.log(whole("classes", classes, 2) - 1)
    return lambda T: jnp.maximum(1 - T, 0) * log_wrong


@jax.jit
def _floor_logit(log_kappa, T, c):
    """The root of log sigma(-z) - log sigma((z + c) / T) + log kappa, with its derivatives."""
    excess = lambda z: softplus(z) - softplus(-(z + c) / T) - log_kappa

    def solve(f, z):
        """Newton's method in a bracket, as f may be flat between -c and 0."""
        def newton(state):
            z, low, high, _, steps = state
            value, slope = jax.jvp(f, (z,), (jnp.ones_like(z),))
            low, high = jnp.where(value < 0, z, low), jnp.where(value > 0, z, high)
            new = z - value / slope
            new = jnp.where((low < new) & (new < high), new, (low + high) / 2)
            return new, low, high, (jnp.abs(new - z) > 1e-15 * (1 + jnp.abs(z))).any(), steps + 1

        # softplus(z) - softplus(-(z + c) / T) is at least z - log 2 from 0 up, at most log 2 + (z + c) / T down to 0.
        low = jnp.minimum(T * (log_kappa - np.log(2)) - c, 0) - 1
        high = jnp.maximum(log_kappa, 0) + np.log(2) + 1
        return lax.while_loop(lambda state: state[3] & (state[4] < 200), newton, (z, low, high, True, 0))[0]

    start = jnp.zeros(jnp.broadcast_shapes(log_kappa.shape, T.shape, c.shape))
    return lax.custom_root(excess, start, solve, lambda f, value: value / f(jnp.ones_like(value)))


def ground_truth_cosine(
    students: NestedStudents,
    z_t: Float[ArrayLike, "N ..."],
    y_g: Float[ArrayLike, "N ..."],
    z_g: Float[ArrayLike, "N ..."],
    *,
    rho: float | Float[ArrayLike, " k"],
    T: float | Float[ArrayLike, " k"],
    z_0: Float[ArrayLike, "N ..."] = 0.0,
    norm: float | None = None,
) -> Float[np.ndarray, "N ..."]:
    r"""Cosine between the weight changes of student and ground truth, Eq. 11, for all students.

    .. math:: \cos\alpha(\Delta\hat w_n, \Delta w_g) &= \frac{\langle \Delta z_g, \Delta z_s \rangle_{\Theta_n}}
                  {\|\Delta w_g\|_2\, \sqrt{\langle \Delta z_s, \Delta z_s \rangle_{\Theta_n}}}, \\
              \Delta z_g &= z_g - z_0, \quad \Delta z_s = z_{s,\text{eff}}(z_t, y_g) - z_0

    Args:
        students: the students.
        z_t, y_g, z_g, rho, T, z_0: as the module says.
        norm: :math:`\|\Delta w_g\|_2`; by default that of the ground truth's student of the same n.

    Limits:
        At ``rho = 0`` the effective logits are infinite. They grow like ``log(1/rho)``, all alike, so that the weight
        change tends to the direction of that of the labels' signs, whatever :math:`z_0`: the cosine is to this one.

    Raises:
        ValueError: an argument outside its domain; logits that equal :math:`z_0` at the first sample, whose student
            has no direction; a norm below that of a student, which no projection can exceed.

    >>> students = NestedStudents(np.eye(2), lambda a, b: a @ b.T)
    >>> print(ground_truth_cosine(students, [2.0, -1.0], [1, 1], [2.0, 2.0], rho=[1.0, 0.9, 0.0], T=5.0).round(3))
    [[1.    1.    1.   ]
     [0.316 0.946 1.   ]]
    """
    z_t, y_g, z_g, z_0 = _columns(students, {"rho": rho, "T": T}, z_t=z_t, y_g=y_g, z_g=z_g, z_0=z_0)
    z = np.asarray(effective_logit(z_t, y_g, rho=rho, T=T))
    s = students.coordinates(np.where(np.isinf(z), np.sign(z), z - z_0))
    g = students.coordinates(z_g - z_0)
    truth = _at_least(norm, _lengths(g, "z_g"))
    return np.cumsum(g * s, axis=0) / (truth * _lengths(s, "the effective logit"))


class HardLabelProjection(NamedTuple):
    r"""What :func:`hard_label_projection` returns; every field has one entry for each n."""

    projection: np.ndarray  #: ``<dw_h, dw_c>`` = toward - along
    toward: np.ndarray  #: how far the correction goes towards the ground truth, ``<dw_h, dw_g>``
    along: np.ndarray  #: the share of that along the teacher, which lengthens the weights without turning them
    correction: np.ndarray  #: ``|dw_h|``
    complement: np.ndarray  #: length of what the ground truth's student has and the teacher's lacks, ``|dw_c|``
    teacher: np.ndarray  #: ``|dw_t|``
    truth: np.ndarray  #: ``|dw_g|`` of the ground truth's student


def hard_label_projection(
    students: NestedStudents,
    z_t: Float[ArrayLike, "N ..."],
    y_g: Float[ArrayLike, "N ..."],
    z_g: Float[ArrayLike, "N ..."],
    *,
    T: float | Float[ArrayLike, " k"],
    z_0: Float[ArrayLike, "N ..."] = 0.0,
) -> HardLabelProjection:
    r"""Theorem 2's projection, whose sign tells whether hard labels turn the student to the ground truth.

    .. math:: \langle \delta\hat w_h, \Delta\hat w_c \rangle = \langle \Delta z_g, \delta z_h \rangle_{\Theta_n} -
              \frac{\langle \Delta z_g, \Delta z_t \rangle_{\Theta_n}}
                   {\langle \Delta z_t, \Delta z_t \rangle_{\Theta_n}} \langle \Delta z_t, \delta z_h \rangle_{\Theta_n}

    with :math:`\delta z_h` from :func:`~kdlib.distillation.correction_logit`, :math:`\delta\hat w_h` the weights that
    it adds, and :math:`\Delta\hat w_c` the part of the ground truth's student that is orthogonal to the teacher's. For
    one sample it is exactly zero, and for a teacher that is a multiple of the ground truth zero up to rounding.

    Args and errors as for :func:`ground_truth_cosine`; also a teacher so wrong that its correction is beyond float64.

    >>> students = NestedStudents(np.eye(2), lambda a, b: a @ b.T)  # the weights are the logits
    >>> parts = hard_label_projection(students, [2.0, -1.0], [1, 1], [2.0, 2.0], T=1.0)
    >>> for name in ("projection", "toward", "along", "complement"):
    ...     print(f"{name:10}", getattr(parts, name).round(4))
    projection [ 0.     10.2863]
    toward     [2.2707 9.7072]
    along      [ 2.2707 -0.579 ]
    complement [0.     2.6833]
    """
    z_t, y_g, z_g, z_0 = _columns(students, {"T": T}, z_t=z_t, y_g=y_g, z_g=z_g, z_0=z_0)
    delta_h = correction_logit(z_t, y_g, T=T)
    require("the correction logit", delta_h, "be finite", np.isfinite,
            "the teacher is too wrong, or its logits z_t too large, for this T; raise T or use a milder teacher")
    require_size("the correction logit of z_t at this T", delta_h)
    t, g, h = (students.coordinates(z) for z in (z_t - z_0, z_g - z_0, delta_h))
    teacher, truth = _lengths(t, "z_t"), _lengths(g, "z_g")
    square, with_g, with_h = teacher**2, np.cumsum(t * g, axis=0), np.cumsum(t * h, axis=0)

    # As a difference, the projection would drown in rounding when the teacher is nearly right. With the multiple of t
    # that fits g best on the first n - 1 coordinates, what is left of the n-th is
    #     e_n = g_n - (<g, t> / <t, t>)_{n-1} t_n,
    # and the n-th coordinate adds e_n(g) e_n(h) <t, t>_{n-1} / <t, t>_n.
    earlier = lambda values: np.concatenate([np.zeros_like(values[:1]), values[:-1]])
    e_g, e_h = (c - earlier(overlap / square) * t for c, overlap in ((g, with_g), (h, with_h)))
    weight = earlier(square) / square
    return HardLabelProjection(
        projection=np.cumsum(weight * e_g * e_h, axis=0),
        toward=np.cumsum(g * h, axis=0),
        along=with_g / square * with_h,
        correction=np.sqrt(np.cumsum(h**2, axis=0)),
        complement=np.sqrt(np.cumsum(weight * e_g**2, axis=0)),
        teacher=teacher,
        truth=truth,
    )


def hard_label_derivative(
    students: NestedStudents,
    z_t: Float[ArrayLike, "N ..."],
    y_g: Float[ArrayLike, "N ..."],
    z_g: Float[ArrayLike, "N ..."],
    *,
    T: float | Float[ArrayLike, " k"],
    z_0: Float[ArrayLike, "N ..."] = 0.0,
    norm: float | None = None,
) -> Float[np.ndarray, "N ..."]:
    r"""Theorem 2: what the first hard labels do to the cosine, Eq. 12, for all students.

    .. math:: \left.\frac{\partial \cos\alpha(\Delta\hat w_n, \Delta w_g)}{\partial (1-\rho)}\right|_{\rho=1}
              = \frac{\langle \delta\hat w_h, \Delta\hat w_c \rangle}{\|\Delta w_g\|_2\, \|\Delta\hat w_t\|_2}

    The derivative is one-sided, from :math:`\rho < 1`. It speaks of small :math:`1-\rho` only: a correction logit grows
    like :math:`e^{|z_t|/T}` where the teacher is wrong, and the expansion ends once :math:`(1-\rho)\,\delta z_h` is no
    longer small.

    Args and errors as for :func:`ground_truth_cosine` and :func:`hard_label_projection`.

    >>> students = NestedStudents(np.eye(2), lambda a, b: a @ b.T)
    >>> print(hard_label_derivative(students, [2.0, -1.0], [1, 1], [2.0, 2.0], T=[1.0, 5.0]).round(3))
    [[ 0.     0.   ]
     [ 1.626 30.373]]
    """
    parts = hard_label_projection(students, z_t, y_g, z_g, T=T, z_0=z_0)
    return parts.projection / (_at_least(norm, parts.truth) * parts.teacher)


def _columns(students, settings, z_0, **logits):
    """Logits as arrays of one shape: a vector becomes a column where anything has columns."""
    require_logits(z_0=z_0, **logits)
    logits = {name: numeric(name, values) for name, values in (logits | {"z_0": z_0}).items()}
    for name, values in logits.items():
        if (values.ndim not in (1, 2) or len(values) != len(students)) and (name != "z_0" or values.ndim):
            raise ValueError(f"{name} must have one logit for each of the {len(students)} samples, got shape "
                             f"{values.shape}: give shape ({len(students)},), or a column for each case")
        require_size(name, values)
    settings = {name: numeric(name, values) for name, values in settings.items()}
    for name, values in settings.items():
        if values.ndim > 1:
            raise ValueError(f"{name} must be a number or a vector, got shape {values.shape}: give one entry for each "
                             "column")
    if max(values.ndim for values in logits.values()) == 2 or any(values.ndim for values in settings.values()):
        logits = {name: values[:, None] if values.ndim == 1 else values for name, values in logits.items()}
    return map(np.asarray, broadcast(**logits))


def _lengths(c, name):
    """Lengths of all students with these coordinates; a student of length zero has no direction."""
    if not np.all(c[0]):
        raise ValueError(f"{name} must differ from z_0 at the first sample, got the same there: "
                         "its student learns nothing and has no direction; begin with another sample")
    return np.sqrt(np.cumsum(c**2, axis=0))


def _at_least(norm, lengths):
    """The ground truth's given norm, found possible; by default its students' lengths."""
    if norm is None:
        return lengths
    shortest = lengths.max() * (1 - max(1e-9, 4 * precision(norm)))
    norm = real("norm", norm, f"be finite and at least that of the ground truth's student, {lengths.max():.6g}",
                lambda v: shortest <= v < np.inf,
                "it is not that of the logits z_g - z_0; if it was estimated, take more samples")
    require_size("norm", norm)
    return norm
