"""The ledger: criteria come first, the verdict is the numbers' alone, and no claim of the paper is forgotten."""

import re
from pathlib import Path

import pytest

from kdlib.claims import CLAIMS, CONDITIONAL, FAILS, HOLDS, UNDECIDED, Ledger, read_ledger

positive = lambda value: value > 0


def ledger_with(**measurement):
    ledger = Ledger()
    ledger.expect("2.3", "gap > 0", positive, condition=measurement.pop("condition", None))
    ledger.measure("2.3", **measurement)
    return ledger


@pytest.mark.parametrize("as_stated, under_condition, verdict", [
    (1.0, 1.0, HOLDS),
    (-1.0, 1.0, CONDITIONAL),
    (-1.0, -1.0, FAILS),
])
def test_verdict(as_stated, under_condition, verdict):
    ledger = ledger_with(value=as_stated, condition="T >= 1")
    ledger.measure("2.3", under_condition, condition="T >= 1")
    assert ledger.verdicts() == {"2.3": verdict}


@pytest.mark.parametrize("value, error, verdict", [
    (1.0, 0.4, HOLDS), (1.0, 0.6, UNDECIDED), (-1.0, 0.6, UNDECIDED), (-1.0, 0.4, FAILS),
])
def test_criterion_is_met_or_missed_only_beyond_two_standard_errors(value, error, verdict):
    ledger = ledger_with(value=value, error=error)
    assert ledger.verdicts() == {"2.3": verdict}
    assert f"{value} ± {error}" in repr(ledger)


def test_condition_may_decide_what_is_undecided_as_stated():
    ledger = ledger_with(value=1.0, error=0.6, condition="T >= 1")
    ledger.measure("2.3", 1.0, condition="T >= 1")
    assert ledger.verdicts() == {"2.3": CONDITIONAL}


@pytest.mark.parametrize("step, error, message", [
    (lambda ledger: ledger.measure("2.4", 1.0), ValueError, r"call expect\(\) before measure\(\)"),
    (lambda ledger: ledger.expect("2.3", "gap > -9", positive), ValueError, "already set"),
    (lambda ledger: ledger.measure("2.3", 2.0), ValueError, "already measured"),
    (lambda ledger: ledger.measure("2.3", 2.0, condition="T < 1"), ValueError, "must be None, got 'T < 1'"),
    (lambda ledger: ledger.expect("9.9", "gap > 0", positive), KeyError, "add it to kdlib.claims.CLAIMS"),
    (lambda ledger: ledger.expect("2.4", "gap\n> 0", positive), ValueError, "must be one line each"),
    (lambda ledger: ledger.expect("2.4", "gap > 0", positive, condition="remark"), ValueError, "must be one line each"),
    (lambda ledger: read_ledger("no ledger: 1"), ValueError, "must be a printed ledger"),
])
def test_order_is_enforced(step, error, message):
    with pytest.raises(error, match=message):
        step(ledger_with(value=1.0))


@pytest.mark.parametrize("number", [
    {"value": float("nan")}, {"value": 1.0, "error": float("nan")}, {"value": 1.0, "error": -1.0},
])
def test_a_measurement_is_a_number(number):
    with pytest.raises(ValueError, match="must be a number"):
        ledger_with(**number)


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
    [(_, numbers)] = read_ledger(repr(ledger_with(value=value, error=error))).values()
    assert numbers == {"as stated": printed}


@pytest.mark.parametrize("show", [repr, Ledger.verdicts, Ledger._repr_html_])
def test_no_verdict_before_every_measurement(show):
    with pytest.raises(ValueError, match=r"2.3 is not measured yet \(T >= 1\)"):
        show(ledger_with(value=1.0, condition="T >= 1"))


def test_html_is_escaped():
    ledger = Ledger()
    ledger.expect("2.3", "|z| < 3 & more", positive, condition="T < 1")
    ledger.measure("2.3", -1.0)
    ledger.measure("2.3", 1.0, condition="T < 1", remark="<b>bold</b>")
    html = ledger._repr_html_()
    for text in ("|z| &lt; 3 &amp; more", "T &lt; 1", "&lt;b&gt;bold&lt;/b&gt;"):
        assert text in html


def test_a_printed_ledger_can_be_read():
    ledger = ledger_with(value=-1.0, condition="in ratio, |z_eff / t - 1|: near 0", remark="a: 1 (as stated: 2)")
    ledger.measure("2.3", 1.0, 0.25, condition="in ratio, |z_eff / t - 1|: near 0")
    ledger.expect("2.4", "rise > 0", positive)
    ledger.measure("2.4", -2.0)
    assert read_ledger(repr(ledger)) == {
        "2.3": (CONDITIONAL, {"as stated": "-1", "in ratio, |z_eff / t - 1|: near 0": "1.0 ± 0.2"}),
        "2.4": (FAILS, {"as stated": "-2"}),
    }
    assert {claim: verdict for claim, (verdict, _) in read_ledger(repr(ledger)).items()} == ledger.verdicts()


def test_every_claim_of_the_paper_is_listed():
    listed = re.findall(r"^\| (\d+\.\d+) \|", Path(__file__).with_name("paper_claims.md").read_text("utf-8"), re.MULTILINE)
    assert listed == list(CLAIMS)
