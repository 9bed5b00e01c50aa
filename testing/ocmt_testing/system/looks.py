"""Measures a page's accessibility barriers and content that overflows."""

from ocmt_cli.checkout import ROOT
from playwright.sync_api import Page

AXE = ROOT / "user-ui" / "node_modules" / "axe-core" / "axe.min.js"
_WIDER = """() => {
  const found = [];
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      const display = getComputedStyle(one).display;
      const isBox = display !== "inline" && !one.matches(".unseen, input, select, textarea, svg");
      if (isBox && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1) {
        found.push(`${one.localName}.${one.className}: ${one.scrollWidth - one.clientWidth} px`);
      }
      if (one.shadowRoot) look(one.shadowRoot);
    }
  };
  look(document);
  return found;
}"""


def barriers(page: Page) -> list[str]:
    """axe-core's findings (WCAG A and AA, and its best practices), one per line."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        "axe.run().then(({violations}) => violations.flatMap(v =>"
        " v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`)))"
    )
    return found


def overflow(page: Page) -> int:
    """The pixels by which the page is wider than its window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def wider_than_their_place(page: Page) -> list[str]:
    """Elements whose content is wider than they are, even if it is clipped."""
    found: list[str] = page.evaluate(_WIDER)
    return found
