"""The ledger: a claim of the paper or of ours, a criterion set before measuring, the number, the verdict.

Claims and criteria are data, in ``claims.toml``; a chapter measures its own.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from kdlib._table import table
from kdlib.statistics import Estimate

HOLDS = "holds"
CONDITIONAL = "holds under a condition"
FAILS = "does not hold as stated"
UNDECIDED = "undecided"
VERDICTS = HOLDS, CONDITIONAL, FAILS, UNDECIDED
# A verdict -> its sign, and its class in style sheets.
_MARKS = {HOLDS: ("✓", "holds"), CONDITIONAL: ("◐", "conditional"), FAILS: ("✗", "fails"),
          UNDECIDED: ("?", "undecided")}  # fmt: skip

OURS = "ours"  #: the place of a claim that is not the paper's
MIME = "application/vnd.kdlib.claims+json"  #: the type of a ledger's records, among the forms of a cell's output

#: What is asserted, in our words, by id; each has place, claim, chapter, measured, relation, some a condition. Formulas
#: stand between dollars.
#:
#: :meta hide-value:
CLAIMS = tomllib.loads((files("kdlib") / "claims.toml").read_text("utf-8"))

# A relation -> how far a number is on the right side of a limit, and whether the limit itself will do.
_MARGINS = {
    "<": (lambda value, limit: limit - value, False),
    "<=": (lambda value, limit: limit - value, True),
    ">": (lambda value, limit: value - limit, False),
    ">=": (lambda value, limit: value - limit, True),
    "within": (lambda value, limit: limit - abs(value), False),
}
_IN_WORDS = {"<": "below {}", "<=": "at most {}", ">": "above {}", ">=": "at least {}", "within": "within {} of 0"}


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
    claim: str
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

    @property
    def record(self):
        missing = [c or "as stated" for c in {None: 0, self.condition: 0} if c not in self.results]
        if missing:
            raise ValueError(f"claim {self.claim} is not measured yet ({', '.join(missing)}): call measure()")
        under = {"condition": self.condition, "under condition": str(self.results[self.condition])}
        return {"claim": self.claim, "verdict": self.verdict, "criterion": self.criterion,
                "as stated": str(self.results[None]), **(under if self.condition else {}), "remark": self.remark}


class Ledger:
    """Claims of one chapter, each with its criterion, measurement and verdict.

    Criteria are in ``claims.toml`` before anything is measured. A claim with a ``condition`` is measured twice, as
    stated and under the condition. The verdict is *holds* if the relation is met as stated,
    *holds under a condition* if it is met only there, else *does not hold as stated*. Met means: by the
    value, and by those two standard errors above and below it; if only some of the three meet it as stated,
    *undecided*. Displayed before the first measurement, a ledger shows the criteria; then, beside what one reads, a
    cell's output has the :meth:`records`, as :data:`MIME`, for pages that tell of them.

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
            condition = plain(each["condition"]) if "condition" in each else None
            self._entries[claim] = _Entry(claim, criterion, Relation(each["relation"]), condition)

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

    def records(self):
        """What each claim came to: a list of dictionaries of text.

        Their keys are ``claim``, which is its id, ``verdict``, ``criterion``, ``as stated``, ``remark`` and, where
        there is a condition, ``condition`` and ``under condition``.

        Raises:
            ValueError: a claim that is not measured yet.
        """
        return [entry.record for entry in self._entries.values()]

    def verdicts(self):
        """Each claim's verdict, as a dictionary."""
        return {record["claim"]: record["verdict"] for record in self.records()}

    def __getitem__(self, claim):
        """A ledger of one claim."""
        one = object.__new__(Ledger)
        one._entries = {claim: self._entries[claim]}
        return one

    @property
    def _begun(self):
        return any(entry.results for entry in self._entries.values())

    def __repr__(self):
        place = lambda claim: CLAIMS[claim]["place"]
        if not self._begun:
            return "\n".join(f"{claim} ({place(claim)}): {plain(entry.criterion)}"
                             for claim, entry in self._entries.items())  # fmt: skip
        lines = []
        for record in self.records():
            lines.append(f"{record['claim']} ({place(record['claim'])}): {record['verdict']}")
            lines.append(f"    criterion: {plain(record['criterion'])}")
            lines.extend(f"    {condition}: {number}" for condition, number in measurements(record).items())
            if record["remark"]:
                lines.append(f"    remark: {plain(record['remark'])}")
        return "\n".join(lines)

    def _repr_html_(self):
        if self._begun:
            return as_table(self.records())
        rows = []
        for claim, entry in self._entries.items():
            also = f"<div>Tried also: {typeset(CLAIMS[claim]['condition'])}</div>" if entry.condition else ""
            measured, relation = _criterion(entry.criterion)
            rows.append((claim, _stated(claim), f"{measured}: {relation}{also}"))
        return table(("Claim", "What it says", "Criterion"), rows, "claims")

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME: self.records()} if self._begun else {}


def measurements(record: dict) -> dict:
    """The numbers of a claim's record: ``as stated`` and, where it has one, under its condition.

    >>> measurements({"as stated": "1.5", "condition": "T > 1", "under condition": "0.7"})
    {'as stated': '1.5', 'T > 1': '0.7'}
    """
    found = {"as stated": record["as stated"]}
    return found | {record["condition"]: record["under condition"]} if "condition" in record else found


def as_table(records: list[dict], links: dict | None = None) -> str:
    """HTML of a ledger's :meth:`~Ledger.records`, in which each relation unfolds to what was measured, and the remark.

    Args:
        records: of some claims.
        links: for each of them the name of its row and the address of its evidence, which its verdict then links to.
    """
    links, rows = links or {}, []
    for record in records:
        claim, condition = record["claim"], CLAIMS[record["claim"]].get("condition")
        _, address = links.get(claim, ("", ""))
        verdict = marked(record["verdict"])
        verdict = f'<a href="{address}">{verdict}</a>' if address else verdict
        numbers = zip(("as stated", condition), measurements(record).values(), strict=False)
        found = "".join(f"<div>{typeset(how)}: <b>{escape(number)}</b></div>" for how, number in numbers)
        measured, relation = _criterion(record["criterion"])
        remark = f"<div>{typeset(record['remark'])}</div>" if record["remark"] else ""
        found += f"<details><summary>{relation}</summary><div>Measured: {measured}</div>{remark}</details>"
        rows.append((claim, _stated(claim), found, verdict))
    names = [links.get(record["claim"], ("",))[0] for record in records]
    return table(("Claim", "What it says", "What was found", "Verdict"), rows, "claims checked", ids=names)


def marked(verdict: str) -> str:
    """HTML of one of the verdicts, with a sign before the words.

    >>> marked("does not hold as stated")
    '<b class="verdict fails"><span aria-hidden="true">✗</span> does not hold as stated</b>'
    """
    sign, style = _MARKS[verdict]
    return f'<b class="verdict {style}"><span aria-hidden="true">{sign}</span> {verdict}</b>'


def _criterion(text):
    """HTML of a criterion's two parts: what is measured, and the relation in words."""
    measured, _, relation = text.rpartition(", ")
    sign, _, limit = relation.partition(" ")
    return typeset(measured), f"must be {_IN_WORDS[sign].format(limit.replace('-', '−', 1))}"


def _stated(claim):
    return f"{typeset(CLAIMS[claim]['claim'])} <i>{escape(CLAIMS[claim]['place'])}</i>"


def plain(text: str) -> str:
    """A text whose formulas stand between dollars, without these.

    >>> plain("where $n >= 10$")
    'where n >= 10'
    """
    return text.replace("$", "")


_SIGNS = {"<=": r"\le ", ">=": r"\ge ", "<<": r"\ll ", "->": r"\to ", "±": r"\pm ", "dw_h": r"\delta\hat w_h",
          "dw_*": r"\Delta w_*", "dw_z": r"\Delta w_z", "dw": r"\Delta\hat w", "dz": r"\delta z"}  # fmt: skip
_KNOWN = {"alpha", "beta", "cos", "epsilon", "kappa", "lambda", "ln", "log", "phi", "pi", "rho", "Theta"}


def typeset(text: str) -> str:
    r"""HTML of a text whose formulas stand between dollars, for MathJax.

    A formula is written in plain characters, as ``$|dw_n| <= z_eff$``; names of several letters are upright.

    >>> print(typeset("where $n >= 10$ & $z_eff$"))
    where <span class="math">\(n \ge  10\)</span> &amp; <span class="math">\(z_{\text{eff}}\)</span>
    """
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise ValueError(f"formulas must stand between two dollars, got {text!r}: close the last one")
    parts[::2] = map(escape, parts[::2])
    parts[1::2] = (rf'<span class="math">\({escape(_tex(formula))}\)</span>' for formula in parts[1::2])
    return "".join(parts)


def _tex(formula):
    for sign, tex in _SIGNS.items():
        formula = formula.replace(sign, tex)

    def named(match):
        known = _KNOWN.issuperset(match[0].split())
        return re.sub(r"(\w+)", r"\\\1 ", match[0]) if known else rf"{{\text{{{match[0]}}}}}"

    return re.sub(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?: [A-Za-z]{2,})*", named, formula)


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
