/** Replaces formulas by MathML. Loaded when a message has one. */

import DOMPurify from "dompurify";
import katex from "katex";

const LONGEST = 4_000;

/** Typeset the formulas in `element`; one that is wrong or too long stays as it was written. */
export function typeset(element: HTMLElement): void {
  for (const code of element.querySelectorAll<HTMLElement>("code[class^='language-math-']")) {
    const block = code.className === "language-math-block";
    const formula = mathOf(code.textContent, block);
    if (formula === null) continue;
    const frame = document.createElement(block ? "div" : "span");
    frame.className = block ? "formula block" : "formula";
    if (block) frame.tabIndex = 0; // A wide formula scrolls; the keyboard must be able to.
    frame.append(formula);
    (code.closest(".code") ?? code).replaceWith(frame);
  }
}

function mathOf(tex: string, displayMode: boolean): DocumentFragment | null {
  if (tex.length > LONGEST) return null;
  try {
    const html = katex.renderToString(tex, {
      output: "mathml",
      displayMode,
      throwOnError: true,
      strict: false,
      trust: false,
      maxExpand: 200,
      maxSize: 20,
    });
    const safe = DOMPurify.sanitize(html, {
      USE_PROFILES: { mathMl: true },
      FORBID_TAGS: ["annotation-xml", "mglyph", "maction"],
      FORBID_ATTR: ["href", "style"],
      RETURN_DOM_FRAGMENT: true,
    });
    for (const one of safe.querySelectorAll("[href], [style]")) {
      one.removeAttribute("href");
      one.removeAttribute("style");
    }
    return safe;
  } catch {
    return null;
  }
}
