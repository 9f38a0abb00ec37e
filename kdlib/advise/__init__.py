r"""Choosing before training: which soft ratio and temperature, and whether more samples would help.

The converged students of all mixtures share one factorisation of the kernel, and with it each sample can be judged by
a student that has not seen it. The steps, in order; the page's own JavaScript follows the same ones:

1. *Samples.* Of equal inputs the first is kept. The rest are put into the order of the fractional parts of
   :math:`i\,(\sqrt5-1)/2`, for :math:`i = 0, 1, \dots`: every stretch of it takes samples evenly from the whole
   file, sorted or not. Two columns of logits count as their difference, :math:`z_1 - z_0`.
2. *Cells.* :math:`\rho = 1`; for T = 1, 4, 10 and :math:`\lambda` = 0.1, 0.3, 1, 3, 10, 30 the soft ratio
   :math:`\rho = T^2/(T^2+\lambda)`, so that :math:`\lambda = T^2(1-\rho)/\rho`; :math:`\rho = 0`; the default. At both
   ends T plays no part.
3. *Predictions.* f is what the student of the first m samples answers (its targets are those of Eq. 4 with
   :math:`z_0 = 0`). On its own sample i it is the student without i: :math:`z_i - \alpha_i/[\Theta_m^{-1}]_{ii}`,
   :math:`\alpha = \Theta_m^{-1} z`. Where a part is held out, all are judged there instead.
4. *Margins* :math:`m_{ic}` in cell c: the logit of the given label minus the largest other one; for two classes
   :math:`(2y-1) f`.
5. *Loss* :math:`\ell_{ic} = \sigma(-8\, m_{ic} / \operatorname{median}_j |m_{jc}|)`, a 0-1 loss with soft edges. The
   median of an even number is the mean of the two in the middle. Where it is 0, a margin counts by its sign.
6. *Best* is the first cell whose mean loss is within a relative 1e-9 of the smallest.
7. *Verdict.* Let :math:`g_i = \ell_{i,\text{default}} - \ell_{i,\text{best}}`, 0 where it is below 1e-9 in size, and s
   its standard deviation (M - 1 in the denominator) over :math:`\sqrt M`. ``"move"`` if mean(g) > reluctance s and
   mean(g) > 0, else ``"keep"``; ``"undecided"``, at the default, if fewer than 50 judge, if they have one label only,
   or if the labels may have leaked and no part is held out.
8. *Avoid* the cells whose loss is above the chosen one's by more than two standard errors of the difference. None if
   undecided.
9. *Curve.* For m = N, and then :math:`\lfloor N\, 2^{-k/4} + 1/2 \rfloor \ge 8`, the share e of mistakes (margins that
   are not positive) of the chosen cell's students, on all that judge. Smoothed, :math:`(e M + 1/2)/(M + 1)`.
10. *Forecast from the first i sizes*, :math:`i \ge 5`: the straight line through log share against log size, by least
    squares on the last 17 of them, its slope at most 0.
11. *Band at 2N and 4N.* From every i that is k = 4 or 8 sizes below a known one, forecast that one, and let r be the
    root mean square of the differences of the logarithms. With :math:`q^2 = (1 - e)/(e M)` for the last smoothed share
    e, the band is :math:`e^{\pm w}` times the forecast, :math:`w = 2 \sqrt{r^2 + q^2}`; without such an i it is all
    from 0 to 1. Between N, where r = 0, 2N and 4N, w is linear in log n.
12. *Coverage.* The band is made again from the first i sizes alone, for each i at which it can be and the share k sizes
    later is known; how many of these shares were inside, and of how many.
13. *More samples* help if :math:`e^{w/2}` times the forecast at 2N, or else at 4N, is below the last smoothed share.
    Then the teacher's answers will do if the forecast for :math:`\rho = 1` is not above that; else they need labels.
14. *Other teachers.* A perfect one is the teacher itself, but that in each sample the label's logit and the largest
    have changed places (of two classes, the logit has got the label's sign): the share of mistakes in what is then the
    best cell. Of a useless one, which answers every input alike, only the labels are left: the share at
    :math:`\rho = 0`.

Sources: leave-one-out as in C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006,
Eq. 5.12. The rules are ours.
"""

from collections.abc import Callable, Sequence
from html import escape
from textwrap import fill

from jaxtyping import ArrayLike, Float, Int

from kdlib.advise._report import drawn, sentences
from kdlib.advise.choice import Choice, choose


class Advice(Choice):
    """A :class:`~kdlib.advise.choice.Choice` that explains itself. Printed, it is a report in words."""

    def __str__(self):
        return "\n\n".join(fill(sentence, 88) for sentence in sentences(self))

    __repr__ = __str__

    def figure(self):
        """The learning curves with the forecast, above the loss of all cells: a :class:`~kdlib.plots.Described`.

        Raises:
            ModuleNotFoundError: plotly is not installed.
        """
        from kdlib.plots import Described

        return Described(drawn(self), " ".join(sentences(self, brief=True)))

    def _repr_html_(self):
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(self))
        try:
            return words + self.figure()._repr_mimebundle_()["text/html"]
        except ModuleNotFoundError:
            return words


def advise(
    x: Float[ArrayLike, "n d"],
    z_t: Float[ArrayLike, " n *classes"],
    y_g: Int[ArrayLike, " n"],
    *,
    cells: Sequence[tuple[float, float]] | None = None,
    default: tuple[float, float] = (0.9, 4.0),
    held_out: tuple | None = None,
    kernel: Callable | None = None,
    depth: int = 3,
    features: bool = False,
    reluctance: float = 1.0,
    jitter: float = 0.0,
    engine: str = "memory",
    noise: float = 0.0,
) -> Advice:
    r"""Advice on soft ratio, temperature and number of samples, from a person's own arrays; the steps are above.

    Args:
        x: inputs; for the default kernel, columns of like scale and size one serve best.
        z_t: the teacher's logits, ``(n,)`` for two classes or ``(n, K)``. It should not have seen the labels.
        y_g: given labels: 0 or 1, or classes from 0 to K - 1.
        cells: pairs (rho, T) to choose from; by default 20 that spread over all mixtures.
        default: the pair to beat.
        held_out: ``(x, z_t, y_g)`` of other samples, to judge the students on; else each sample is judged by the
            student of the others.
        kernel: any symmetric positive definite ``k(x1, x2)``; by default the NTK of a wide ReLU network.
        depth: its hidden layers.
        features: whether x holds frozen features, of which the student is a linear function: the kernel is their own
            product, and where there are more samples than features, a linear head is trained for every size.
        reluctance: standard errors by which a cell must beat the default.
        jitter, engine: as in :class:`~kdlib.students.NestedStudents`. With more samples than features, jitter is twice
            the penalty on the squared norm of the head's weights, beside the loss summed over samples; 1e-3 if 0.
        noise: share p of the labels that are wrong, each exchanged for any other class, below (K - 1) / K. In every
            cell a label then counts by its posterior: before it all classes have the teacher's probabilities at T = 1,
            and it multiplies the odds of its own by (1 - p) (K - 1) / p. Eq. 2 with the posterior in the label's place
            is what one expects of the loss with the true label. Labels count as they are given where they judge: if
            every class is mistaken alike for every other, wrong labels raise the loss of all students alike. The
            teacher's probabilities must be those of the truth.

    Raises:
        ValueError: an argument outside its domain, arrays that do not belong together, or samples so nearly alike that
            the kernel cannot tell them apart.

    Cost: one factorisation and one inverse of its factor; three Gram matrices of memory. A linear head with more
    samples than features is trained anew for every cell and every size: K - 1 times the features must be 1,000 at most.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> truth = 3 * np.sin(2 * x[:, 0]) + x[:, 1]
    >>> advice = advise(x, truth + rng.normal(size=200), truth > 0)
    >>> advice.verdict, len(advice.cells)
    ('keep', 21)
    """
    return Advice(**vars(choose(
        x, z_t, y_g, cells=cells, default=default, held_out=held_out, kernel=kernel, depth=depth, features=features,
        reluctance=reluctance, jitter=jitter, engine=engine, noise=noise,
    )))  # fmt: skip
