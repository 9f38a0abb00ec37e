"""Sphinx extension: the verdicts of the executed chapters, wherever the book needs them.

A chapter shows its ledger, whose records are in the cell's output. From all that are shown, in this build, come

    {ledger} DOCUMENT      a directive: the chapter's table, each verdict linked to the cell that measured it
    {open-claims}          a directive: the claims that no chapter has measured
    {verdicts} PART        a directive: how many claims have which verdict, by chapter
    {changes}              a directive: what has changed since the release that `book/released.py` has kept
    {claim}`3.4`           a role: the claim's number, linked to its row in a {ledger} or in {open-claims}
    {verdict}`3.4`         a role: its verdict
    {measured}`3.4`        a role: what was measured, as stated, or under a condition: {measured}`3.4 | CONDITION`
    {claims}`all`          a role: how many claims the paper makes
    {claims}`each`         a role: how many of them have which verdict, in words; a verdict that none has is left out
    {claims}`all | ours`   a role: how many claims are ours; likewise `each | ours`

PART is `ours` for our own claims, and left out for the paper's.

They are filled in when all chapters have been read. What a chapter has not computed, since it did not run to its end,
is not available, and says so. A verdict links to the cell whose code calls `measure` with the claim's id; the build
warns if there is none.
"""

import ast
import json
from collections import Counter
from html import escape
from importlib import import_module
from pathlib import Path

from docutils import nodes
from execution import library, python, recorded_claims
from notebooks import missing, placeholder, shown_cells
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

PAGE = "book/claims"
RELEASED = Path(__file__).parents[1] / "released.json"
OPEN = "open"
MISSING = "not available"
logger = logging.getLogger(__name__)


class from_ledger(nodes.Inline, nodes.Element):
    """A place to be filled, by the method of this name, with this argument."""


class Role(SphinxRole):
    def run(self):
        return [from_ledger(what=self.name, of=self.text)], []


class Directive(SphinxDirective):
    optional_arguments = 1

    def run(self):
        self.env.note_dependency(str(RELEASED))
        return [from_ledger(what=self.name.replace("-", "_"), of="".join(self.arguments))]


class FillIn(SphinxPostTransform):
    default_priority = 5

    def run(self):
        places = list(self.document.findall(from_ledger))
        try:
            if places:
                self.prepare()
        except Exception as broken:
            logger.warning(f"the ledger cannot be read: {broken}", location=self.env.docname)
            for place in places:
                place.replace_self(placeholder(MISSING))
            return
        for place in places:
            try:
                place.replace_self(getattr(self, place["what"])(place["of"]))
            except KeyError as unknown:
                logger.warning(f"{place['what']} {place['of']!r} asks for {unknown}, which no ledger has",
                               location=self.env.docname)
                place.replace_self(placeholder("unknown"))

    def prepare(self):
        self.library = import_module("kdlib.claims")  # not before: it takes seconds
        self.listed = self.library.CLAIMS
        metadata = self.env.metadata.items()
        self.found = {docname: known["claims"] for docname, known in metadata if known.get("claims")}
        folder = PAGE.rpartition("/")[0]
        chapters = {claim: missing(self.env, f"{folder}/{each['chapter']}") for claim, each in self.listed.items()}
        self.unavailable = {claim: text for claim, text in chapters.items() if text and not self.home(claim)}

    def home(self, claim):
        """The chapter that measured a claim, or None."""
        self.listed[claim]
        return next((docname for docname, found in self.found.items() if claim in found), None)

    def verdict_of(self, claim):
        if home := self.home(claim):
            return self.found[home][claim]["verdict"]
        return MISSING if claim in self.unavailable else OPEN

    def uri(self, docname, target):
        if self.app.builder.name == "singlehtml":
            return f"#{target}"
        return f"{self.app.builder.get_relative_uri(self.env.docname, docname)}#{target}"

    def claim(self, claim):
        self.home(claim)
        return nodes.reference("", claim, internal=True, refuri=self.uri(PAGE, row(claim)))

    def verdict(self, claim):
        verdict = self.verdict_of(claim)
        return placeholder(self.unavailable[claim]) if verdict == MISSING else nodes.strong("", verdict)

    def measured(self, of):
        claim, _, condition = of.partition(" | ")
        home = self.home(claim)
        if self.verdict_of(claim) == MISSING:
            return placeholder(self.unavailable[claim])
        if not home:
            return nodes.Text("not measured yet")
        number = self.library.measurements(self.found[home][claim])[condition or "as stated"]
        return nodes.Text(number.replace("-", "−", 1) if number.startswith("-") else number)

    def part(self, name):
        """The paper's claims, or ours."""
        if name not in ("", self.library.OURS):
            raise KeyError(name)
        return [claim for claim, each in self.listed.items() if (each["place"] == self.library.OURS) == bool(name)]

    def claims(self, of):
        which, _, part = of.partition(" | ")
        # What one claim does, and what several do.
        said = {
            self.library.HOLDS: ("holds as it stands", "hold as they stand"),
            self.library.CONDITIONAL: ("holds under a condition", "hold under a condition"),
            self.library.FAILS: ("does not hold as stated", "do not hold as stated"),
            self.library.UNDECIDED: ("is undecided", "are undecided"),
            OPEN: ("has not been measured", "have not been measured"),
            MISSING: ("is not available", "are not available"),
        }
        counts = Counter(map(self.verdict_of, self.part(part)))
        *most, last = (f"{counts[v]} {words[counts[v] > 1]}" for v, words in said.items() if counts[v])
        each = f"{', '.join(most)} and {last}" if most else last
        return nodes.Text({"all": str(counts.total()), "each": each}[which])

    def ledger(self, docname):
        docname = f"{self.env.docname.rpartition('/')[0]}/{docname}"
        if docname not in self.found and (text := missing(self.env, docname)):
            return self.not_available(docname, text)
        found = self.found[docname]
        for claim in found:
            if claim not in self.env.metadata[docname]["evidence"]:
                logger.warning(f"no cell of {docname} that a reader sees calls measure({claim!r}, ...)",
                               location=self.env.docname)
        links = {claim: (row(claim), self.uri(docname, evidence(claim))) for claim in found}
        return nodes.raw("", self.library.as_table(list(found.values()), links), format="html")

    def not_available(self, docname, text):
        """A table's place, where links to rows of it find their targets."""
        rows = [claim for claim in self.listed if self.unavailable.get(claim) == text]
        return nodes.paragraph("", "", *(nodes.target("", "", ids=[row(claim)]) for claim in rows), placeholder(text))

    def open_claims(self, _):
        never = [claim for claim in self.listed if self.verdict_of(claim) == OPEN]
        if not never:
            return nodes.paragraph("", "None: every claim of the list has been measured.")
        rows = ((claim, self.library.typeset(self.listed[claim]["claim"]), escape(self.listed[claim]["place"]))
                for claim in never)  # fmt: skip
        return table(("Claim", "What it says", "Where"), rows, "claims", ids=map(row, never))

    def changes(self, _):
        """Claims that are new, or gone, or have another criterion or verdict. What is not available has not changed."""
        if not RELEASED.exists():
            return nodes.paragraph("", "There has been no release yet.")
        released = json.loads(RELEASED.read_text("utf-8"))
        before = released["claims"]
        now = {claim: known for found in self.found.values() for claim, known in found.items()}
        items = []
        for claim in self.listed:
            if claim in now and claim not in before:
                items.append((self.claim(claim), nodes.Text(f" is new: {now[claim]['verdict']}.")))
            elif claim in now and now[claim]["verdict"] != before[claim]["verdict"]:
                changed = f": {now[claim]['verdict']}; it was: {before[claim]['verdict']}."
                items.append((self.claim(claim), nodes.Text(changed)))
            elif claim in now and now[claim]["criterion"] != before[claim]["criterion"]:
                items.append((self.claim(claim), nodes.Text(" has another criterion, and the same verdict.")))
        gone = [claim for claim in before if claim not in self.listed]
        items += [(nodes.Text(f"{claim} is no longer among the claims."),) for claim in gone]
        first = nodes.paragraph("", f"Since version {released['version']}, of {len(before)} claims:" if items else
                                f"Nothing since version {released['version']}: neither a verdict nor a criterion.")
        listed = nodes.bullet_list("", *(nodes.list_item("", nodes.paragraph("", "", *item)) for item in items))
        return nodes.container("", first, *([listed] if items else []))

    def verdicts(self, part):
        own = set(self.part(part))
        total = Counter(map(self.verdict_of, own))
        columns = [*self.library.VERDICTS, *(verdict for verdict in (OPEN, MISSING) if total[verdict])]
        rows = []
        for docname, found in sorted(self.found.items()):
            count = Counter(record["verdict"] for claim, record in found.items() if claim in own)
            if not count:
                continue
            title = escape(self.env.titles[docname].astext().partition(":")[0])
            # On one page all sections of this name have one address.
            target = f"document-{docname}" if self.app.builder.name == "singlehtml" else "claims-checked"
            link = f'<a href="{self.uri(docname, target)}">{title}</a>'
            rows.append((link, *(count[verdict] or "–" for verdict in columns)))
        rows.append(("<b>all</b>", *(total[verdict] or "–" for verdict in columns)))
        return table(("Claims of", *map(self.marked, columns)), rows, "verdicts")

    def marked(self, verdict):
        return self.library.marked(verdict) if verdict in self.library.VERDICTS else verdict


def row(claim):
    return "claim-" + claim.replace(".", "-")


def evidence(claim):
    return "evidence-" + claim.replace(".", "-")


def table(*contents, **more):
    return nodes.raw("", library("_table").table(*contents, **more), format="html")


def add_filter(app, pagename, templatename, context, doctree):
    if pagename == PAGE:
        app.add_js_file("ledger.js")


def keep_records(app, docname, source):
    """What a chapter's ledger says, if it has been measured in this build."""
    if docname in app.runs:
        app.env.metadata[docname]["claims"] = recorded_claims(app.runs[docname].notebook)


def mark_evidence(app, doctree):
    """Name the first cell in which a claim is measured."""
    seen = app.env.metadata[app.env.docname]["evidence"] = []
    for cell, source in shown_cells(doctree):
        for claim in measured_in(source):
            if claim not in seen:
                seen.append(claim)
                cell["ids"].append(evidence(claim))


def measured_in(source):
    """The claims that code measures: the first argument of each call of a method `measure`."""
    for node in ast.walk(ast.parse(python(source))):
        match node:
            case ast.Call(func=ast.Attribute(attr="measure"), args=[ast.Constant(value=claim), *_]):
                yield claim


def setup(app):
    app.add_node(from_ledger)
    for name in ("claim", "verdict", "measured", "claims"):
        app.add_role(name, Role())
    for name in ("ledger", "open-claims", "verdicts", "changes"):
        app.add_directive(name, Directive)
    app.add_post_transform(FillIn)
    app.connect("html-page-context", add_filter)
    app.connect("source-read", keep_records)
    app.connect("doctree-read", mark_evidence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
