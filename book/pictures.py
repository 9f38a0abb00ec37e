"""Draw the README's picture, and the card that a link to the book shows elsewhere, from the built pages.

    make pictures
"""

from pathlib import Path

from chromium import launched, settle

BOOK = Path(__file__).parent
PAGE = BOOK.parent / "_build/html/book/index.html"

# The landing page's explorer beside the title.
CARD = """(explorer) => {
    const title = document.createElement("div");
    title.innerHTML = `<img src="../_static/logo.svg" alt="" style="width: 380px">
        <p style="font-size: 27px; line-height: 1.4">Knowledge distillation in wide neural networks:
        every formula computed, every figure drawn again, every claim measured.</p>`;
    const card = document.createElement("div");
    card.style = `position: fixed; inset: 0; z-index: 9999; box-sizing: border-box; padding: 40px 56px;
        display: grid; grid-template-columns: 400px 640px; gap: 48px; align-items: center;
        background: white; color: #23272e`;
    card.append(title, explorer);
    document.body.append(card);
}"""


def main():
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1.25)
        page.goto(PAGE.as_uri())
        settle(page)
        page.screenshot(path=BOOK / "images/explorer.png")

        page.set_viewport_size({"width": 1200, "height": 630})
        page.locator(".kd-effective-logit").evaluate(CARD)
        page.add_style_tag(content=".kd-note { display: none }")
        page.wait_for_timeout(300)  # the explorer follows its new width
        page.screenshot(path=BOOK / "assets/card.png", scale="css")


if __name__ == "__main__":
    main()
