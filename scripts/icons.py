"""Draws the page's icons in `user-ui/public` from `favicon.svg`, with Chromium.

`.venv/bin/python scripts/icons.py` after changing `favicon.svg`. An icon that a system cuts to a
shape of its own (`maskable`, and Apple's) has its background up to the edges, and its sign in the
middle four fifths.
"""

import re

from ocmt_cli.checkout import ROOT
from playwright.sync_api import Page, sync_playwright

PUBLIC = ROOT / "user-ui" / "public"
SIZES = {"icon-192": 192, "icon-512": 512, "icon-maskable-512": 512, "apple-touch-icon": 180}
CUT = frozenset({"icon-maskable-512", "apple-touch-icon"})
_BACKGROUND = re.compile(r'<rect [^>]*rx="9"[^>]*/>')


def drawing(name: str) -> str:
    """The SVG of an icon."""
    svg = (PUBLIC / "favicon.svg").read_text(encoding="utf-8")
    if name not in CUT:
        return svg
    background = _BACKGROUND.search(svg)
    if background is None:
        raise ValueError("favicon.svg has no background with round corners")
    head, sign = svg[: background.start()], svg[background.end() :].removesuffix("</svg>\n")
    square = background[0].replace(' rx="9"', "")
    inner = f'<g transform="translate(16 16) scale(.8) translate(-16 -16)">{sign}</g>'
    return f"{head}{square}{inner}</svg>"


def draw(page: Page, name: str) -> bytes:
    size = SIZES[name]
    page.set_viewport_size({"width": size, "height": size})
    svg = drawing(name).replace("<svg ", f'<svg width="{size}" height="{size}" ', 1)
    page.set_content(f'<body style="margin:0;background:transparent">{svg}</body>')
    return page.screenshot(omit_background=True)


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        for name in SIZES:
            (PUBLIC / f"{name}.png").write_bytes(draw(page, name))
        browser.close()


if __name__ == "__main__":
    main()
