"""The ledger's filter: by keyboard, in the address, and away where there are no scripts."""

from collections import Counter

from test_pages import accessibility_violations
from watched import PHONE, opened

from kdlib.claims import CLAIMS, FAILS, HOLDS

PAGE = "book/claims.html"


def shown(page):
    """The claims whose rows a reader sees, and their verdicts."""
    rows = page.locator("tr[id^=claim-]:visible")
    return dict(rows.evaluate_all("""(rows) => rows.map((row) =>
        [row.id.slice(6).replace("-", "."), row.querySelector(".verdict")?.lastChild.textContent.trim() ?? "open"])"""))


def test_verdicts_and_chapters_are_chosen_by_keyboard_and_the_address_follows(browser, site):
    with opened(browser, site, PAGE, whole=False) as page:
        verdicts = shown(page)
        assert verdicts.keys() == CLAIMS.keys()
        page.locator(f".ledger-filter [value='{FAILS}']").focus()
        page.keyboard.press("Space")
        counts = Counter(verdicts.values())
        assert Counter(shown(page).values()) == {FAILS: counts[FAILS]}
        assert page.locator(".ledger-filter output").inner_text() == f"{counts[FAILS]} of {len(CLAIMS)} claims"
        page.locator(".ledger-filter select").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        chosen = {claim: verdict for claim, verdict in verdicts.items()
                  if verdict == FAILS and CLAIMS[claim]["chapter"].startswith("03")}  # fmt: skip
        assert chosen and shown(page) == chosen
        assert page.locator("section:has(> table.claims) > h2:visible").count() == 1
        assert page.url.endswith("#verdict=does+not+hold+as+stated&chapter=Chapter+3")
        page.locator(".ledger-filter button").press("Enter")
        page.wait_for_url(lambda url: "#" not in url)
        assert shown(page) == verdicts


def test_a_link_brings_its_filter_and_a_claims_own_shows_it(browser, site):
    with opened(browser, site, f"{PAGE}#verdict=holds&chapter=Chapter+5", whole=False) as page:
        assert set(shown(page).values()) == {HOLDS}
        hidden = next(claim for claim in CLAIMS if claim not in shown(page))
        page.evaluate("(place) => { location.hash = place; }", f"claim-{hidden.replace('.', '-')}")
        page.locator(f"#claim-{hidden.replace('.', '-')}").wait_for(state="visible")
        assert shown(page).keys() == CLAIMS.keys()


def test_an_address_that_names_nothing_hides_nothing(browser, on_disk):
    with opened(browser, on_disk, f"{PAGE}#verdict=perhaps&chapter=Chapter+99", whole=False) as page:
        assert shown(page).keys() == CLAIMS.keys()


def test_without_scripts_all_rows_are_there_and_no_filter(browser, on_disk):
    with opened(browser, on_disk, f"{PAGE}#verdict=holds", java_script_enabled=False) as page:
        assert page.locator("tr[id^=claim-]:visible").count() == len(CLAIMS)
        assert page.locator(".ledger-filter").count() == 0


def test_what_was_measured_unfolds_by_keyboard_and_is_on_paper(browser, on_disk):
    with opened(browser, on_disk, PAGE, whole=False, java_script_enabled=False) as page:
        measured = page.locator(".checked details > div:first-of-type:visible")
        assert measured.count() == 0
        relation = page.locator(".checked summary").first
        relation.focus()
        page.keyboard.press("Enter")
        assert measured.count() == 1 and measured.inner_text().startswith("Measured: ")
        page.emulate_media(media="print")
        rows = page.locator(".checked tbody tr").count()
        assert measured.count() == page.locator(".checked summary:visible").count() == rows


def test_rows_that_are_cards_on_a_phone_are_hidden_too(browser, served):
    with opened(browser, served, f"{PAGE}#verdict=undecided", whole=False, viewport=PHONE) as page:
        assert 0 < len(shown(page)) < len(CLAIMS)
        assert accessibility_violations(page) == []
