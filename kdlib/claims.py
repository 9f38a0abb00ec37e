"""The ledger: a claim of the paper, a criterion set before measuring, the number, the verdict."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from html import escape
from math import isfinite

HOLDS = "holds"
CONDITIONAL = "holds under a condition"
FAILS = "does not hold as stated"
UNDECIDED = "undecided"
VERDICTS = HOLDS, CONDITIONAL, FAILS, UNDECIDED

# What the paper asserts, in our words: id -> (where, claim). One that no chapter has measured yet is open.
CLAIMS = {
    "2.1": ("Sec. 2, Eq. 3", "Trained long enough, each student logit reaches the minimiser of its own sample's loss."),
    "2.2": ("Fig. 1", "Hard labels split the effective logit at z_t = 0; the split grows with the hard ratio."),
    "2.3": ("Sec. 2", "Converged student logits are bigger than the teacher's: |z_eff| > |z_t|."),
    "2.4": ("Fig. 1 right", "For T > 1, a higher temperature widens the split."),
    "2.5": ("Fig. 1 right", "For T < 1, the curve forms a T-independent plateau."),
    "2.6": ("Sec. 2", "A higher temperature makes the student converge more easily, as its gradient saturates less."),
    "2.7": ("Sec. 2", "A wide network follows its linearisation, and its empirical kernel tends to the NTK."),
    "2.8": ("Eq. 4", "The converged weight change is phi(X) Theta^-1 dz."),
    "2.9": ("Sec. 2", "A higher temperature is a benefit during training only: it leaves no softer logits at the end."),
    "2.10": ("Sec. 2", "With a perfect teacher, hard labels are not beneficial."),
    "3.1": ("Fig. 2 left", "Transfer risk falls as a power of n, markedly faster for pure soft labels."),
    "3.2": ("S2", "The same power law appears for practical networks (in the paper: ResNet on CIFAR)."),
    "3.3": ("Eq. 5", "The student's weight change is the oracle's, projected onto the span of phi(X)."),
    "3.4": ("Theorem 1", "The risk is at most p(pi/2 - alpha_n), with the acute angle."),
    "3.5": ("Fig. 2 middle", "p(beta) is not monotone in rho."),
    "3.6": ("Sec. 3.1, S5", "The zero function is far easier to learn: |dw_z| << |dw_*|."),
    "3.7": ("Eq. 9", "The cosine of alpha_n is about |dw_n| / |dw_*|."),
    "3.8": ("Sec. 3.1", "If d ln|dw_n| / d ln n falls as n^-b, then alpha_n falls as n^(-b/2)."),
    "3.9": ("Sec. 3.1", "b is larger when the teacher stops earlier."),
    "3.10": ("Sec. 3.1", "With hard labels the norm does not converge."),
    "3.11": ("Fig. 2 right", "alpha_n converges fastest for pure soft labels."),
    "3.12": ("Sec. 3.2, S6", "For ReLU, the bound of Phuong and Lampert is 1."),
    "3.13": ("Sec. 3.2", "The angle between dw_n and dw_* never increases with n."),
    "3.14": ("Sec. 3.2", "The new bound is at most that of Phuong and Lampert."),
    "3.15": ("Sec. 3.2, S6", "For ReLU, p(beta) = 1 up to a beta_t near pi/2."),
    "3.16": ("Sec. 3.1", "The bound is then O(n^(-b/2))."),
    "3.17": ("Sec. 3.1", "With hard labels the estimate of alpha_n by Eq. 9 fails."),
    "3.18": ("Sec. 3.2", "With few samples the new bound is loose, about 1."),
    "3.19": ("Fig. 2 middle", "p(beta) is nearly linear as beta tends to pi/2."),
    "3.20": ("Sec. 3.1", "The risk and the angle have the same order in rho: both fall fastest for pure soft labels."),
    "3.21": ("Sec. 3.1, 6", "The fast decay of the angle explains the fast decay of the risk for pure soft labels."),
    "4.1": ("Principle 1", "I(n) reflects how hard the oracle's weights are to recover."),
    "4.2": ("Fig. 3 left", "I(n) orders tasks by their number of Gaussian modes."),
    "4.3": ("Fig. 3 left", "For a smooth target without noise, I(n) decreases."),
    "4.4": ("Fig. 3 right", "I(n) orders tasks by the probability of a flipped sign."),
    "4.5": ("Fig. 3 right", "For noise, I(n) is constant, about 0.8: the weights do not converge."),
    "4.6": ("Fig. 3", "The zero function is so easy that its weight change can be neglected."),
    "4.7": ("Fig. 4 left", "A teacher's scale and detail grow as it trains; low frequencies come first."),
    "4.8": ("Fig. 4 middle", "A teacher stopped earlier has a lower I(n)."),
    "4.9": ("Fig. 4 right", "Lowering rho turns a falling I(n) into a constant of about 0.5."),
    "4.10": ("Sec. 4.2", "That constant is below the one of random labels."),
    "4.11": ("Sec. 4.2", "Label smoothing ends at z = ±log(2/epsilon - 1), of the label's sign."),
    "4.12": ("Fig. 4 left", "The effective logit is about sgn(z_t) max(t, |z_t|), with t the split threshold."),
    "4.13": ("Sec. 4.2", "As rho tends to 0, distillation tends to label smoothing: z_eff to ±t."),
    "4.14": ("Sec. 4.2", "Label smoothing is not an easy task."),
    "4.15": ("Sec. 4.2", "Stopping the teacher earlier costs detail at the boundary between classes."),
    "4.16": ("Sec. 4", "A slower growth of |dw_n| means a faster decrease of the generalisation error."),
    "5.1": ("Fig. 5 left", "With an imperfect teacher, pure soft distillation is not optimal (synthetic task)."),
    "5.2": ("Fig. 5 middle", "The same for practical networks on real data (in the paper: ResNet on CIFAR-10)."),
    "5.3": ("Sec. 5", "Where the teacher is wrong, hard labels move the student's logit towards the right side."),
    "5.4": ("Sec. 5", "At T = 1, however wrong the teacher, the right class keeps a probability of at least 1 - rho."),
    "5.5": ("Sec. 5", "At T = 1, if rho <= 1/2, the student is always right."),
    "5.6": ("Sec. 5", "A student at a smaller angle to the ground truth's weights generalises better."),
    "5.7": ("Theorem 2", "The derivative of cos alpha by the hard ratio, at rho = 1, is that of Eq. 12."),
    "5.8": ("Fig. 5 right", "For teachers stopped early, the projection <dw_h, dw_c> is positive at every n."),
    "5.9": ("Fig. 5 right", "For accurate teachers it is negative."),
    "5.10": ("Fig. 5 right", "It changes sign about where the teacher overtakes the best student."),
    "6.1": ("Sec. 5, 6", "Adding hard labels trades data efficiency against the correction of the teacher's mistakes."),
    "6.2": ("Sec. 6", "In practice, a little hard label is needed."),
}


@dataclass
class _Entry:
    criterion: str
    met: Callable[[float], bool]
    condition: str | None
    results: dict = field(default_factory=dict)  # condition or None -> (value, error)
    remark: str = ""

    def outcomes(self, condition):
        """Whether the criterion is met by the value, and by the ends of its two-error interval."""
        value, error = self.results[condition]
        return [bool(self.met(v)) for v in (value - 2 * error, value, value + 2 * error)]

    @property
    def verdict(self):
        if all(self.outcomes(None)):
            return HOLDS
        if self.condition and all(self.outcomes(self.condition)):
            return CONDITIONAL
        return UNDECIDED if any(self.outcomes(None)) else FAILS


class Ledger:
    """Claims of one chapter, each with its criterion, measurement and verdict.

    The order is enforced: a claim can be measured only after its criterion is set, and a
    criterion cannot be changed afterwards. With a ``condition``, the claim is measured twice, as
    stated and under the condition. The verdict is *holds* if the criterion is met as stated,
    *holds under a condition* if it is met only there, else *does not hold as stated*. Met means: by the
    value, and by those two standard errors above and below it; if only some of the three meet it as stated,
    *undecided*.

    >>> ledger = Ledger()
    >>> ledger.expect("2.3", "smallest |z_eff| - |z_t| > 0", lambda gap: gap > 0, condition="teacher right")
    >>> ledger.measure("2.3", -1.5)
    >>> ledger.measure("2.3", 0.25, condition="teacher right")
    >>> print(ledger)  # doctest: +NORMALIZE_WHITESPACE
    2.3 (Sec. 2): holds under a condition
        criterion: smallest |z_eff| - |z_t| > 0
        as stated: -1.5
        teacher right: 0.25
    """

    def __init__(self):
        self._entries = {}

    def expect(self, claim, criterion, met, *, condition=None):
        """Set the criterion of a claim: words for the reader, and a predicate of the measured number.

        Raises:
            KeyError: the claim is not in ``CLAIMS``.
            ValueError: its criterion is already set, or has more than one line.
        """
        if claim not in CLAIMS:
            raise KeyError(f"claim must be one of {', '.join(CLAIMS)}, got {claim!r}: add it to kdlib.claims.CLAIMS")
        if "\n" in f"{criterion}{condition}" or condition in ("criterion", "remark"):
            raise ValueError(f"criterion and condition must be one line each, and no condition can be called criterion "
                             f"or remark, got {criterion!r}, {condition!r}: the printed ledger is read again by line")
        if claim in self._entries:
            raise ValueError(f"the criterion of claim {claim} is already set: state each criterion once")
        self._entries[claim] = _Entry(criterion, met, condition)

    def measure(self, claim, value, error=0.0, *, condition=None, remark=""):
        """Record a measured number and its standard error, as stated or under the condition.

        Raises:
            ValueError: no criterion is set, the condition is not the one set with it, the number is NaN or its
                error negative, the remark has more than one line, or there is a measurement already.
        """
        entry = self._entries.get(claim)
        if entry is None:
            raise ValueError(f"claim {claim} has no criterion yet: call expect() before measure()")
        if condition not in (None, entry.condition):
            raise ValueError(f"the condition of claim {claim} must be {entry.condition!r}, got {condition!r}")
        if condition in entry.results:
            raise ValueError(f"claim {claim} is already measured: a measurement is recorded once")
        value, error = float(value), float(error)
        if value != value or not error >= 0:
            raise ValueError(f"the measurement of claim {claim} must be a number with an error from 0 up, "
                             f"got {value} ± {error}")
        if "\n" in remark:
            raise ValueError(f"remark must be one line, got {remark!r}: the printed ledger is read again by line")
        entry.results[condition] = value, error
        entry.remark = remark or entry.remark

    def _rows(self):
        for claim, entry in sorted(self._entries.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
            missing = [c or "as stated" for c in {None: 0, entry.condition: 0} if c not in entry.results]
            if missing:
                raise ValueError(f"claim {claim} is not measured yet ({', '.join(missing)}): call measure()")
            results = [(condition or "as stated", _number(*result)) for condition, result in entry.results.items()]
            yield claim, *CLAIMS[claim], entry, results

    def verdicts(self):
        """Each claim's verdict, as a dictionary."""
        return {claim: entry.verdict for claim, _, _, entry, _ in self._rows()}

    def __repr__(self):
        lines = []
        for claim, where, _, entry, results in self._rows():
            lines.append(f"{claim} ({where}): {entry.verdict}")
            lines.append(f"    criterion: {entry.criterion}")
            lines.extend(f"    {condition}: {number}" for condition, number in results)
            if entry.remark:
                lines.append(f"    remark: {entry.remark}")
        return "\n".join(lines)

    def _repr_html_(self):
        rows = []
        for claim, where, statement, entry, results in self._rows():
            measured = "".join(f"<div>{escape(under)}: <b>{escape(number)}</b></div>" for under, number in results)
            condition = f": {escape(entry.condition)}" if entry.verdict == CONDITIONAL else ""
            rows.append(
                f'<tr><th scope="row">{claim}</th>'
                f"<td>{escape(statement)} <i>{escape(where)}</i></td>"
                f"<td><div>{escape(entry.criterion)}</div>{measured}</td>"
                f"<td><b>{entry.verdict}</b>{condition}<div>{escape(entry.remark)}</div></td></tr>"
            )
        names = "Claim", "The paper says", "Criterion and measurement", "Verdict"
        head = "".join(f'<th scope="col">{name}</th>' for name in names)
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def read_ledger(text):
    """Verdict and measurements of each claim in a ledger's printed form, where only the page is left of the ledger.

    Returns:
        A dictionary from each claim to its verdict and a dictionary of measurements: their printed numbers, by
        ``"as stated"`` and, where there is one, the condition.

    Raises:
        ValueError: text that does not begin with a claim and its verdict.

    >>> ledger = Ledger()
    >>> ledger.expect("2.4", "smallest rise > 0", lambda rise: rise > 0)
    >>> ledger.measure("2.4", 0.112, 0.02)
    >>> read_ledger(str(ledger))
    {'2.4': ('holds', {'as stated': '0.11 ± 0.02'})}
    """
    found = {}
    for line in text.splitlines():
        if head := re.fullmatch(rf"(\d+\.\d+) \(.*\): ({'|'.join(VERDICTS)})", line):
            claim, verdict = head.groups()
            found[claim] = verdict, {}
        elif not found:
            raise ValueError(f"text must be a printed ledger, which begins with a claim and its verdict, got {line!r}: "
                             "pass str(ledger)")
        elif not line.startswith(("    criterion: ", "    remark: ")):
            condition, number = line.strip().rsplit(": ", 1)
            found[claim][1][condition] = number
    return found


def _number(value, error):
    """The error to one digit and the value as far as that; without an error, three digits."""
    if not error:
        return f"{value:.3g}"
    if not isfinite(value) or not isfinite(error):
        return f"{value:.3g} ± {error:.1g}"
    error = Decimal(f"{error:.1g}")
    value = Decimal(value).quantize(error, context=Context(prec=1000))
    notation = "zf" if abs(error.adjusted()) <= 5 else "zg"
    return f"{value:{notation}} ± {error:{notation}}"
