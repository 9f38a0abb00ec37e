"""The ledger: a claim of the paper or of ours, a criterion set before measuring, the number, the verdict.

Claims and criteria are data, in ``claims.toml``; a chapter measures its own.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from kdlib.statistics import Estimate

HOLDS = "holds"
CONDITIONAL = "holds under a condition"
FAILS = "does not hold as stated"
UNDECIDED = "undecided"
VERDICTS = HOLDS, CONDITIONAL, FAILS, UNDECIDED

OURS = "ours"  #: the place of a claim that is not the paper's

#: What is asserted, in our words, by id; each has place, claim, chapter, measured, relation, some a condition.
CLAIMS = tomllib.loads((files("kdlib") / "claims.toml").read_text("utf-8"))

# A relation -> how far a number is on the right side of a limit, and whether the limit itself will do.
_MARGINS = {
    "<": (lambda value, limit: limit - value, False),
    "<=": (lambda value, limit: limit - value, True),
    ">": (lambda value, limit: value - limit, False),
    ">=": (lambda value, limit: value - limit, True),
    "within": (lambda value, limit: limit - abs(value), False),
}


@dataclass(frozen=True)
class Relation:
    """What a number must satisfy.

    >>> Relation("<= 0").met(0.0), Relation("within 0.2").met(-0.1)
    (True, True)
    """

    text: str  #: ``< 0.2``, ``<= 0``, ``> 0``, ``>= 1``, or ``within 0.2`` of zero

    def __post_init__(self):
        sign, _, limit = self.text.partition(" ")
        if sign not in _MARGINS or not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", limit):
            raise ValueError(f"a relation must be one of {', '.join(_MARGINS)} and a number, got {self.text!r}: "
                             "write < 0.2")

    def margin(self, value):
        """How far a number is on the right side; negative beyond the limit."""
        sign, _, limit = self.text.partition(" ")
        return _MARGINS[sign][0](value, float(limit))

    def met(self, value):
        """Whether a number satisfies the relation."""
        margin = self.margin(value)
        return margin > 0 or (margin == 0 and _MARGINS[self.text.partition(" ")[0]][1])

    def weakest(self, parts):
        """Of several estimates the surest to fail, if any surely fails; else the least certain to meet the relation."""
        values = lambda part: (part.low, part.value, part.high)
        failing = [part for part in parts if not any(map(self.met, values(part)))]
        if failing:
            return min(failing, key=lambda part: max(map(self.margin, values(part))))
        return min(parts, key=lambda part: min(map(self.margin, values(part))))


@dataclass
class _Entry:
    criterion: str
    relation: Relation
    condition: str | None
    results: dict = field(default_factory=dict)  # condition or None -> Estimate
    remark: str = ""

    def outcomes(self, condition):
        """Whether the relation is met by the value, and by the ends of its two-error interval."""
        found = self.results[condition]
        return [self.relation.met(value) for value in (found.low, found.value, found.high)]

    @property
    def verdict(self):
        if all(self.outcomes(None)):
            return HOLDS
        if self.condition and all(self.outcomes(self.condition)):
            return CONDITIONAL
        return UNDECIDED if any(self.outcomes(None)) else FAILS


class Ledger:
    """Claims of one chapter, each with its criterion, measurement and verdict.

    Criteria are in ``claims.toml`` before anything is measured. A claim with a ``condition`` is measured twice, as
    stated and under the condition. The verdict is *holds* if the relation is met as stated,
    *holds under a condition* if it is met only there, else *does not hold as stated*. Met means: by the
    value, and by those two standard errors above and below it; if only some of the three meet it as stated,
    *undecided*. Displayed before the first measurement, a ledger shows the criteria.

    Args:
        chapter: its name in ``claims.toml``.
        settings: values for the names in braces there, such as ``T=5.0``.

    >>> ledger = Ledger("appendix_s1")
    >>> ledger.measure("2.6", 1.5)
    >>> ledger.measure("2.6", [0.5, Estimate(0.7, 0.1)], when="soft loss times T^2")
    >>> print(str(ledger["2.6"]))  # doctest: +NORMALIZE_WHITESPACE
    2.6 (Sec. 2): holds under a condition
        criterion: at one learning rate, largest ratio of times to within 10 %, from one T to the next, < 1
        as stated: 1.5
        soft loss times T^2: 0.7 ± 0.1
    """

    def __init__(self, chapter, **settings):
        own = {claim: each for claim, each in CLAIMS.items() if each["chapter"] == chapter}
        if not own:
            chapters = ", ".join(sorted({each["chapter"] for each in CLAIMS.values()}))
            raise ValueError(f"chapter must be one of {chapters}, got {chapter!r}: give the claims in claims.toml one")
        self._entries = {}
        for claim, each in own.items():
            criterion = f"{each['measured'].format(**settings)}, {each['relation']}"
            self._entries[claim] = _Entry(criterion, Relation(each["relation"]), each.get("condition"))

    def measure(self, claim, found, *, when=None, remark=""):
        """Record what was measured, as stated or under the condition.

        Args:
            claim: its id.
            found: a number, an :class:`~kdlib.statistics.Estimate`, or several of either, of which the ledger takes
                the one that surely fails, else the least certain; of a mapping, its values.
            when: the condition of the claim, if it was measured under that.
            remark: one sentence more for the reader.

        Raises:
            ValueError: a claim of another chapter, a condition that is not the claim's, NaN, a negative error, nothing
                measured, or a measurement that is there already.
        """
        entry = self._entries.get(claim)
        if entry is None:
            raise ValueError(f"claim must be one of {', '.join(self._entries)}, got {claim!r}: claims.toml says which "
                             "chapter measures it")
        if when not in (None, entry.condition):
            raise ValueError(f"the condition of claim {claim} must be {entry.condition!r}, got {when!r}")
        if when in entry.results:
            raise ValueError(f"claim {claim} is already measured: a measurement is recorded once")
        parts = [_estimate(claim, part) for part in _parts(found)]
        if not parts:
            raise ValueError(f"the measurement of claim {claim} must be at least one number, got none")
        entry.results[when] = entry.relation.weakest(parts)
        entry.remark = remark or entry.remark

    def _rows(self):
        for claim, entry in self._entries.items():
            missing = [c or "as stated" for c in {None: 0, entry.condition: 0} if c not in entry.results]
            if missing:
                raise ValueError(f"claim {claim} is not measured yet ({', '.join(missing)}): call measure()")
            results = {condition or "as stated": str(found) for condition, found in entry.results.items()}
            yield claim, CLAIMS[claim]["place"], CLAIMS[claim]["claim"], entry, results

    def verdicts(self):
        """Each claim's verdict, as a dictionary."""
        return {claim: entry.verdict for claim, _, _, entry, _ in self._rows()}

    def __getitem__(self, claim):
        """A ledger of one claim."""
        one = object.__new__(Ledger)
        one._entries = {claim: self._entries[claim]}
        return one

    def __repr__(self):
        if not any(entry.results for entry in self._entries.values()):
            return "\n".join(f"{claim} ({CLAIMS[claim]['place']}): {entry.criterion}" for claim, entry in
                             self._entries.items())  # fmt: skip
        lines = []
        for claim, where, _, entry, results in self._rows():
            lines.append(f"{claim} ({where}): {entry.verdict}")
            lines.append(f"    criterion: {entry.criterion}")
            lines.extend(f"    {condition}: {number}" for condition, number in results.items())
            if entry.remark:
                lines.append(f"    remark: {entry.remark}")
        return "\n".join(lines)

    def _repr_html_(self):
        if not any(entry.results for entry in self._entries.values()):
            return self._criteria()
        rows = []
        for claim, where, statement, entry, results in self._rows():
            measured = "".join(f"<div>{escape(under)}: <b>{escape(text)}</b></div>" for under, text in results.items())
            condition = f": {escape(entry.condition)}" if entry.verdict == CONDITIONAL else ""
            rows.append((claim, f"<td>{escape(statement)} <i>{escape(where)}</i></td>"
                         f"<td><div>{escape(entry.criterion)}</div>{measured}</td>"
                         f"<td><b>{entry.verdict}</b>{condition}<div>{escape(entry.remark)}</div></td>"))
        return _table(("Claim", self._speaker, "Criterion and measurement", "Verdict"), rows)

    def _criteria(self):
        rows = [(claim, f"<td>{escape(CLAIMS[claim]['claim'])} <i>{escape(CLAIMS[claim]['place'])}</i></td>"
                        f"<td>{escape(entry.criterion)}</td><td>{escape(entry.condition or '–')}</td>")
                for claim, entry in self._entries.items()]  # fmt: skip
        return _table(("Claim", self._speaker, "Criterion", "Tried also under a condition"), rows)

    @property
    def _speaker(self):
        """Who says it: the head of the column of claims."""
        return "We say" if all(CLAIMS[claim]["place"] == OURS for claim in self._entries) else "The paper says"


def _table(names, rows):
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(f'<tr><th scope="row">{claim}</th>{cells}</tr>' for claim, cells in rows)
    return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _parts(found):
    if isinstance(found, Mapping):
        return list(found.values())
    if isinstance(found, Estimate) or not hasattr(found, "__iter__"):
        return [found]
    return list(found)


def _estimate(claim, part):
    found = part if isinstance(part, Estimate) else Estimate(float(part))
    value, error = float(found.value), float(found.error)
    if value != value or not error >= 0:
        raise ValueError(f"the measurement of claim {claim} must be a number with an error from 0 up, "
                         f"got {value} ± {error}")
    return Estimate(value, error)


def read_ledger(text):
    """Verdict and measurements of each claim in a ledger's printed form, where only the page is left of the ledger.

    Returns:
        A dictionary from each claim to its verdict and a dictionary of measurements: their printed numbers, by
        ``"as stated"`` and, where there is one, the condition.

    Raises:
        ValueError: text that does not begin with a claim and its verdict.

    >>> ledger = Ledger("05_imperfect_teacher", T=5.0, n=512, epoch=1024)["5.8"]
    >>> ledger.measure("5.8", Estimate(0.112, 0.02))
    >>> read_ledger(str(ledger))
    {'5.8': ('holds', {'as stated': '0.11 ± 0.02'})}
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
