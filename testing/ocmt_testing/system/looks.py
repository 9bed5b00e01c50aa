"""Measures a page's accessibility barriers and content that overflows, and keeps its pictures."""

import re

from ocmt_cli.checkout import DEFAULT_DATA, ROOT
from playwright.sync_api import Page

AXE = ROOT / "user-ui" / "node_modules" / "axe-core" / "axe.min.js"
_WIDER = """() => {
  const found = [];
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      const { display, textOverflow } = getComputedStyle(one);
      const isBox = display !== "inline" && textOverflow !== "ellipsis" &&
        !one.matches(".unseen, input, select, textarea, svg");
      if (isBox && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1) {
        found.push(`${one.localName}.${one.className}: ${one.scrollWidth - one.clientWidth} px`);
      }
      if (one.shadowRoot) look(one.shadowRoot);
    }
  };
  look(document);
  return found;
}"""


PICTURES = DEFAULT_DATA / "test-pictures"


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page in `PICTURES`, as `name-WIDTH-THEME.png`."""
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    size = page.viewport_size
    width = 0 if size is None else size["width"]
    file = f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{width}-{'dark' if dark else 'light'}.png"
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / file, animations="disabled", caret="hide")


def barriers(page: Page) -> list[str]:
    """The violations that axe-core's standard rules find, one string for each element.

    Motion is reduced from then on, since colours between two others have other contrasts.
    """
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        "axe.run().then(({violations}) => violations.flatMap(v =>"
        " v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`)))"
    )
    return found


def overflow(page: Page) -> int:
    """The pixels by which the page is wider than its window; 0 if it is not."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def wider_than_their_place(page: Page) -> list[str]:
    """Elements whose content is over a pixel wider than they are, even if it is clipped.

    Inline elements, inputs, pictures in SVG, `.unseen`, and text that ends in an ellipsis where it
    is cut are left out.
    """
    found: list[str] = page.evaluate(_WIDER)
    return found
