"""Print the book, from its build as one page, to _build/pdf/book.pdf.

    make pdf
"""

import time
from pathlib import Path
from shutil import copy

from chromium import launched, settle

BUILD = Path(__file__).parents[1] / "_build"
PAGE, TARGET = BUILD / "singlehtml/book.html", BUILD / "pdf/book.pdf"
WIDTH = 680  # of the text on A4 between its margins, in CSS pixels: figures are drawn for it

# What is folded on a screen is open on paper, such as proofs; of folded cells, the style sheet prints nothing.
UNFOLD = """() => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    const marks = ["toggle-hidden", "toggle-button-hidden"];
    for (const part of document.querySelectorAll(marks.map((m) => "." + m))) part.classList.remove(...marks);
}"""

# Links to pages lead to their place on the one page.
INSIDE = """() => {
    for (const link of document.querySelectorAll("a[href]")) {
        const [page, target] = link.getAttribute("href").split("#");
        if (!page || page.includes(":")) continue;
        const place = target || page.replace(/^(book\\/)?(.*)\\.html$/, "document-book/$2");
        if (document.getElementById(place)) link.setAttribute("href", "#" + place);
        else link.removeAttribute("href");
    }
}"""

# Paper does not scroll: an equation that is wider than its place is written smaller.
FIT = """() => {
    const all = [...document.querySelectorAll("div.math > mjx-container")];
    const wide = all.map((m) => [m, m.clientWidth / m.scrollWidth]).filter(([, share]) => share < 1);
    for (const [m, share] of wide) m.style.fontSize = `${(parseFloat(m.style.fontSize) || 100) * share}%`;
}"""

FOOTER = """<div style="width: 100%; text-align: center; font: 9px sans-serif; color: #555">
<span class="pageNumber"></span></div>"""


def main():
    start = time.perf_counter()
    TARGET.parent.mkdir(exist_ok=True)
    # Sphinx writes its addresses as if it lay beside the folder of assets.
    copy(PAGE.with_name("book") / "index.html", PAGE)
    with launched() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page.set_default_timeout(120_000)
        page.emulate_media(media="print")
        page.goto(PAGE.as_uri())
        settle(page)
        page.evaluate(UNFOLD)
        page.evaluate(FIT)
        page.evaluate(INSIDE)
        page.pdf(
            path=TARGET, format="A4", margin={"left": "15mm", "right": "15mm", "top": "18mm", "bottom": "18mm"},
            display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
            outline=True, tagged=True, print_background=True,
        )
    print(f"The printed book is at {TARGET.relative_to(BUILD.parent)} ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
