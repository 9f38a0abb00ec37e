"""Sphinx extension: the verdicts of the executed chapters, wherever the book needs them.

A chapter glues its ledger under a name that begins with `claims-`. From all that are glued, in this build, come

    {ledger} DOCUMENT      a directive: the chapter's table, each verdict linked to the cell that measured it
    {open-claims}          a directive: the claims that no chapter has measured
    {verdicts}             a directive: how many claims have which verdict, by chapter
    {claim}`3.4`           a role: the claim's number, linked to its row in a {ledger} or in {open-claims}
    {verdict}`3.4`         a role: its verdict
    {measured}`3.4`        a role: what was measured, as stated, or under a condition: {measured}`3.4 | CONDITION`
    {claims}`all`          a role: how many claims there are
    {claims}`each`         a role: how many of them have which verdict, in words; a verdict that none has is left out

They are filled in when all chapters have been read, and a page that has one is read anew in every build.
"""

import re
from collections import Counter
from html import escape

from docutils import nodes
from myst_nb.ext.glue.crossref import read_glue_cache
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole

from kdlib.claims import CLAIMS, CONDITIONAL, FAILS, HOLDS, UNDECIDED, VERDICTS, read_ledger

PAGE = "book/claims"
OPEN = "open"
# What one claim does, and what several do.
SAID = {
    HOLDS: ("holds as it stands", "hold as they stand"),
    CONDITIONAL: ("holds under a condition", "hold under a condition"),
    FAILS: ("does not hold as stated", "do not hold as stated"),
    UNDECIDED: ("is undecided", "are undecided"),
    OPEN: ("has not been measured", "have not been measured"),
}


class from_ledger(nodes.Inline, nodes.Element):
    """A place to be filled, by the method of this name, with this argument."""


class Role(SphinxRole):
    def run(self):
        self.env.note_reread()
        return [from_ledger(what=self.name, of=self.text)], []


class Directive(SphinxDirective):
    optional_arguments = 1

    def run(self):
        self.env.note_reread()
        return [from_ledger(what=self.name.replace("-", "_"), of="".join(self.arguments))]


class FillIn(SphinxPostTransform):
    default_priority = 5

    def run(self):
        places = list(self.document.findall(from_ledger))
        if places:
            self.glued = glued(self.env)
            self.found = {docname: read_ledger(data["text/plain"]) for docname, data in self.glued.items()}
        for place in places:
            try:
                place.replace_self(getattr(self, place["what"])(place["of"]))
            except KeyError as missing:
                raise ValueError(f"{place['what']} {place['of']!r} asks for {missing}, which no ledger has") from None

    def home(self, claim):
        """The chapter that measured a claim, or None."""
        CLAIMS[claim]
        return next((docname for docname, found in self.found.items() if claim in found), None)

    def verdict_of(self, claim):
        home = self.home(claim)
        return self.found[home][claim][0] if home else OPEN

    def uri(self, docname, target):
        if self.app.builder.name == "singlehtml":
            return f"#{target}"
        return f"{self.app.builder.get_relative_uri(self.env.docname, docname)}#{target}"

    def claim(self, claim):
        self.home(claim)
        return nodes.reference("", claim, internal=True, refuri=self.uri(PAGE, row(claim)))

    def verdict(self, claim):
        return nodes.strong("", self.verdict_of(claim))

    def measured(self, of):
        claim, _, condition = of.partition(" | ")
        home = self.home(claim)
        number = self.found[home][claim][1][condition or "as stated"] if home else "not measured yet"
        return nodes.Text(re.sub(r"^-", "−", number))

    def claims(self, which):
        counts = Counter(map(self.verdict_of, CLAIMS))
        *most, last = (f"{counts[v]} {said[counts[v] > 1]}" for v, said in SAID.items() if counts[v])
        each = f"{', '.join(most)} and {last}" if most else last
        return nodes.Text({"all": str(len(CLAIMS)), "each": each}[which])

    def ledger(self, docname):
        docname = f"{self.env.docname.rpartition('/')[0]}/{docname}"

        def linked(match):
            claim, between, verdict = match.groups()
            cell = evidence(claim)
            target = cell if cell in self.env.metadata[docname].get("evidence", ()) else "claims-checked"
            return (f'<tr id="{row(claim)}"><th scope="row">{claim}</th>{between}<td>'
                    f'<a href="{self.uri(docname, target)}"><b>{verdict}</b></a>')

        html = re.sub(r'<tr><th scope="row">(.*?)</th>(.*?)<td><b>(.*?)</b>', linked, self.glued[docname]["text/html"],
                      flags=re.DOTALL)
        return nodes.raw("", html, format="html")

    def open_claims(self, _):
        missing = [claim for claim in CLAIMS if not self.home(claim)]
        if not missing:
            return nodes.paragraph("", "None: every claim of the list has been measured.")
        rows = (f'<tr id="{row(claim)}"><th scope="row">{claim}</th><td>{escape(CLAIMS[claim]['claim'])}</td>'
                f"<td>{escape(CLAIMS[claim]['place'])}</td></tr>" for claim in missing)
        return table(("Claim", "The paper says", "Where"), rows)

    def verdicts(self, _):
        def counts(name, values):
            cells = "".join(f"<td>{value or '–'}</td>" for value in values)
            return f'<tr><th scope="row">{name}</th>{cells}</tr>'

        total = Counter(map(self.verdict_of, CLAIMS))
        columns = [verdict for verdict in (*VERDICTS, OPEN) if verdict != OPEN or total[OPEN]]
        rows = []
        for docname, found in sorted(self.found.items()):
            count = Counter(verdict for verdict, _ in found.values())
            title = escape(self.env.titles[docname].astext().partition(":")[0])
            # On one page all sections of this name have one address.
            target = f"document-{docname}" if self.app.builder.name == "singlehtml" else "claims-checked"
            link = f'<a href="{self.uri(docname, target)}">{title}</a>'
            rows.append(counts(link, [count[verdict] for verdict in columns]))
        rows.append(counts("<b>all</b>", [total[verdict] for verdict in columns]))
        return table(("Claims of", *columns), rows, "verdicts")


def glued(env):
    """The outputs of each chapter's ledger, by mime type."""
    folder = env.mystnb_config.output_folder
    return {docname: read_glue_cache(folder, docname)[key]["data"]
            for docname, data in NbMetadataCollector.get_doc_data(env).items()
            for key in data.get("glue", []) if key.startswith("claims-")}


def row(claim):
    return "claim-" + claim.replace(".", "-")


def evidence(claim):
    return "evidence-" + claim.replace(".", "-")


def table(names, rows, style="claims"):
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    html = f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return nodes.raw("", html, format="html")


def mark_evidence(app, doctree):
    """Name the first cell in which a claim is measured."""
    seen = app.env.metadata[app.env.docname]["evidence"] = []
    for cell in doctree.findall(nodes.container):
        if "cell" not in cell["classes"]:
            continue
        source = "\n".join(block.astext() for block in cell.findall(nodes.literal_block))
        for claim in re.findall(r'\.measure\(\s*"([\d.]+)"', source):
            if (target := evidence(claim)) not in seen:
                seen.append(target)
                cell["ids"].append(target)


def setup(app):
    app.add_node(from_ledger)
    for name in ("claim", "verdict", "measured", "claims"):
        app.add_role(name, Role())
    for name in ("ledger", "open-claims", "verdicts"):
        app.add_directive(name, Directive)
    app.add_post_transform(FillIn)
    app.connect("doctree-read", mark_evidence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
