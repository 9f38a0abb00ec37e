"""The ledger: criteria come first, the verdict is the numbers' alone, and no claim of the paper is forgotten."""

import pytest
from IPython.core.formatters import format_display_data

from kdlib.claims import (
    CLAIMS,
    CONDITIONAL,
    FAILS,
    HOLDS,
    MIME,
    UNDECIDED,
    Ledger,
    Relation,
    as_table,
    marked,
    measurements,
    plain,
    typeset,
)
from kdlib.statistics import Estimate

CHAPTER = "02_problem_setup"
WITHOUT, WITH = "2.4", "2.3"  # a claim without and one with a condition, both to be > 0
CONDITION = plain(CLAIMS[WITH]["condition"])


def ledger_of(claim, *found, **options):
    ledger = Ledger(CHAPTER)[claim]
    ledger.measure(claim, *found, **options)
    return ledger


@pytest.mark.parametrize("as_stated, under_condition, verdict", [
    (1.0, 1.0, HOLDS),
    (-1.0, 1.0, CONDITIONAL),
    (-1.0, -1.0, FAILS),
    (Estimate(1.0, 0.6), 1.0, CONDITIONAL),
])
def test_verdict(as_stated, under_condition, verdict):
    ledger = ledger_of(WITH, as_stated)
    ledger.measure(WITH, under_condition, when=CONDITION)
    assert ledger.verdicts() == {WITH: verdict}


@pytest.mark.parametrize("value, error, verdict", [
    (1.0, 0.4, HOLDS), (1.0, 0.6, UNDECIDED), (-1.0, 0.6, UNDECIDED), (-1.0, 0.4, FAILS),
])
def test_criterion_is_met_or_missed_only_beyond_two_standard_errors(value, error, verdict):
    ledger = ledger_of(WITHOUT, Estimate(value, error))
    assert ledger.verdicts() == {WITHOUT: verdict}
    assert f"{value} ± {error}" in repr(ledger)


@pytest.mark.parametrize("relation, inside, edge, outside", [
    ("< 0.2", 0.1, False, 0.3), ("<= 0.2", 0.1, True, 0.3), ("> 0.2", 0.3, False, 0.1), (">= 0.2", 0.3, True, 0.1),
    ("within 0.2", -0.1, False, -0.3),
])
def test_relations(relation, inside, edge, outside):
    relation = Relation(relation)
    assert relation.met(inside) and not relation.met(outside) and relation.met(0.2) == edge


@pytest.mark.parametrize("text", ["~ 0.2", "<0.2", "< x", "within", ""])
def test_a_relation_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="a relation must be one of"):
        Relation(text)


@pytest.mark.parametrize("relation, parts, weakest", [
    ("> 0", [(1, 0.1), (0.5, 0.1), (0.5, 0.3)], 2),  # the least certain
    ("> 0", [(1, 0.1), (-1, 0.1), (-0.5, 0.5), (-2, 0.1)], 3),  # the surest to fail
    ("> 0", [(-0.1, 1.0), (-0.5, 0.1)], 1),
    ("< 1", [(0.1, 0), (0.8, 0.2), (0.9, 0)], 1),
    ("within 0.2", [(-0.19, 0), (0.15, 0.04), (0.1, 0)], 1),
    ("> 0", [(0.4, 0.4), (0.0, 0.0)], 1),  # exactly at the limit, where > surely fails
    (">= 0", [(0.4, 0.4), (0.0, 0.0)], 0),  # and >= surely holds
])
def test_of_several_parts_the_weakest_counts(relation, parts, weakest):
    parts = [Estimate(*part) for part in parts]
    assert Relation(relation).weakest(parts) is parts[weakest]


def test_parts_may_have_names():
    assert "as stated: 1" in repr(ledger_of(WITHOUT, {"d = 1": 2.0, "d = 2": Estimate(1.0)}))


def test_every_criterion_can_be_read():
    for claim in CLAIMS.values():
        Relation(claim["relation"])
        assert {"place", "claim", "chapter", "measured"} <= set(claim)


def test_every_formula_can_be_typeset():
    for claim in CLAIMS.values():
        for text in (claim["claim"], claim["measured"], claim.get("condition", "")):
            assert typeset(text).count(r"\(") == text.count("$") / 2


@pytest.mark.parametrize("formula, tex", [
    ("|dw_n| / |dw_*|", r"|\Delta\hat w_n| / |\Delta w_*|"),
    ("p_flip <= 1/2", r"p_{\text{flip}} \le  1/2"),
    ("|cos alpha_n|", r"|\cos  \alpha _n|"),
    ("I(hard labels) -> rho", r"I({\text{hard labels}}) \to  \rho "),
])
def test_a_formula_becomes_tex(formula, tex):
    assert typeset(f"a & ${formula}$") == rf'a &amp; <span class="math">\({tex}\)</span>'


@pytest.mark.parametrize("step, message", [
    (lambda ledger: ledger.measure("5.1", 1.0), "claim must be one of 2.3, got '5.1'"),
    (lambda ledger: ledger.measure(WITH, 2.0), "already measured"),
    (lambda ledger: ledger.measure(WITH, 2.0, when="T < 1"), "must be 'the teacher is right', got 'T < 1'"),
    (lambda ledger: ledger.measure(WITH, [], when=CONDITION), "at least one number, got none"),
    (lambda ledger: Ledger("07_nowhere"), "chapter must be one of 02_problem_setup, .* got '07_nowhere'"),
    (lambda ledger: typeset("$n"), "formulas must stand between two dollars, got '.n'"),
])
def test_the_rules_are_enforced(step, message):
    with pytest.raises(ValueError, match=message):
        step(ledger_of(WITH, 1.0))


@pytest.mark.parametrize("number", [float("nan"), Estimate(1.0, float("nan")), Estimate(1.0, -1.0)])
def test_a_measurement_is_a_number(number):
    with pytest.raises(ValueError, match="must be a number"):
        ledger_of(WITHOUT, number)


def test_before_the_first_measurement_a_ledger_shows_its_criteria():
    ledger = Ledger("05_imperfect_teacher", T=5.0, n=512, epoch=1024)
    for text in (repr(ledger), ledger._repr_html_()):
        assert "chosen on the other tasks" in text and "T = 5" in text and "{T" not in text


@pytest.mark.parametrize("value, error, printed", [
    (-0.879, 0.27, "-0.9 ± 0.3"), (0.0911, 0.031, "0.09 ± 0.03"), (0.95, 0.0041, "0.950 ± 0.004"),
    (-0.00281, 0.03, "0.00 ± 0.03"), (0.12, 0.096, "0.1 ± 0.1"), (1.96, 0.6, "2.0 ± 0.6"),
    (0.00176, 4e-5, "0.00176 ± 0.00004"), (123.4, 3, "123 ± 3"), (123.4, 30, "120 ± 30"), (4, 30, "0 ± 30"),
    (1234.5, 0.5, "1234.5 ± 0.5"), (1.234e-9, 4e-11, "1.23e-9 ± 4e-11"), (1.5, 2e-7, "1.5000000 ± 2e-7"),
    (1.234e30, 1.2e28, "1.23e+30 ± 1e+28"), (0.87654, 0.0, "0.877"), (12345, 0, "1.23e+04"),
    (float("inf"), 0.0, "inf"), (float("-inf"), 0.1, "-inf ± 0.1"), (0.5, float("inf"), "0.5 ± inf"),
    (1e30, 1e-5, f"{1e30:.5f} ± 0.00001"),
])  # fmt: skip
def test_a_number_is_printed_as_far_as_its_error(value, error, printed):
    [record] = ledger_of(WITHOUT, Estimate(value, error)).records()
    assert measurements(record) == {"as stated": printed}


@pytest.mark.parametrize("show", [repr, Ledger.records, Ledger.verdicts, Ledger._repr_html_])
def test_no_verdict_before_every_measurement(show):
    with pytest.raises(ValueError, match=rf"2.3 is not measured yet \({CONDITION}\)"):
        show(ledger_of(WITH, 1.0))


def test_html_is_escaped():
    ledger = ledger_of(WITH, -1.0)
    ledger.measure(WITH, 1.0, when=CONDITION, remark="<b>bold</b>")
    html = ledger._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html and "<b>bold" not in html


def test_a_cells_output_has_the_records():
    ledger = ledger_of(WITH, -1.0, remark="seldom")
    ledger.measure(WITH, Estimate(1.0, 0.25), when=CONDITION)
    forms, _ = format_display_data(ledger)
    [record] = forms[MIME]
    assert record == {"claim": WITH, "verdict": CONDITIONAL, "criterion": "smallest $|z_eff| - |z_t|$, > 0",
                      "as stated": "-1", "condition": CONDITION, "under condition": "1.0 ± 0.2", "remark": "seldom"}
    assert measurements(record) == {"as stated": "-1", CONDITION: "1.0 ± 0.2"}
    assert ledger.verdicts() == {WITH: CONDITIONAL}
    assert forms["text/html"] == as_table([record])
    assert MIME not in format_display_data(Ledger(CHAPTER))[0]


def test_a_verdict_links_to_its_evidence():
    [record] = ledger_of(WITHOUT, 1.0).records()
    html = as_table([record], {WITHOUT: ("a-row", "chapter.html#cell")})
    assert '<tr id="a-row"><th scope="row">2.4</th>' in html
    assert f'<a href="chapter.html#cell">{marked(HOLDS)}</a>' in html


@pytest.mark.parametrize("relation, words", [
    ("< 0.2", "below 0.2"), ("<= 1e-9", "at most 1e−9"), ("> 0", "above 0"), (">= -1", "at least −1"),
    ("within 0.2", "within 0.2 of 0"),
])  # fmt: skip
def test_a_criterion_is_told_in_words(relation, words):
    [record] = ledger_of(WITHOUT, 1.0).records()
    html = as_table([record | {"criterion": f"largest $z_t$, at every $T$, {relation}"}])
    assert f"<summary>must be {words}</summary><div>Measured: largest <span" in html
