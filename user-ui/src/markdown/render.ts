/**
 * An agent's markdown as safe HTML, block by block.
 *
 * Two walls: HTML in the text is shown as text, never interpreted; and what the markdown itself
 * makes passes DOMPurify with a short list of elements and attributes. Nothing in it loads by
 * itself: an image elsewhere becomes a link to it, since fetching it would tell its host that
 * (and when) the message was read. The page's content security policy is the third wall.
 */

import DOMPurify, { type Config } from "dompurify";
import { Marked, type Token } from "marked";

export interface Block {
  /** The markdown this block was made from: equal source, equal HTML. */
  readonly source: string;
  /** `null` when the text is shown as it is written, since it cannot be taken apart. */
  readonly token: Token | null;
}

const LINK = /^(?:https?:|mailto:)/i;
const EMBEDDED_IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,/i;

const CONFIG: Config = {
  ALLOWED_TAGS: [
    ..."p br hr h1 h2 h3 h4 h5 h6 strong em del code pre blockquote ul ol li a img".split(" "),
    ..."table thead tbody tr th td input".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "src", "alt", "align", "start", "class", "type"].concat([
    "checked",
    "disabled",
    "target",
    "rel",
  ]),
  // DOMPurify holds every other attribute's value against the pattern for addresses.
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escape(text)),
    image({ href, title, text }) {
      if (EMBEDDED_IMAGE.test(href)) return `<img src="${escape(href)}" alt="${escape(text)}">`;
      const label = text || title || "Image";
      return `<a href="${escape(href)}">${escape(label)} (image)</a>`;
    },
  },
});

const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (element) => {
  const name = element.nodeName;
  if (name === "A") {
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer");
    // An address with its content in it (data:) is for pictures only.
    if (!LINK.test(element.getAttribute("href") ?? "")) element.removeAttribute("href");
  }
  if (name === "IMG" && !EMBEDDED_IMAGE.test(element.getAttribute("src") ?? "")) {
    element.removeAttribute("src");
  }
  if (name === "INPUT") {
    // Only the boxes of a task list; they show, and do nothing.
    if (element.getAttribute("type") !== "checkbox") element.remove();
    element.setAttribute("disabled", "");
    element.setAttribute("aria-label", element.hasAttribute("checked") ? "Done" : "Open");
  }
  const kind = element.getAttribute("class");
  if (kind !== null && !(name === "CODE" && /^language-[\w+#.-]+$/.test(kind))) {
    element.removeAttribute("class");
  }
});

/** The blocks of `text`, in order. */
export function blocksOf(text: string): Block[] {
  try {
    return marked
      .lexer(text)
      .filter((token) => token.type !== "space" && token.type !== "def")
      .map((token) => ({ source: token.raw, token }));
  } catch {
    return [{ source: text, token: null }]; // nested so deeply that the stack is too small
  }
}

/** The nodes of one block, ready to be shown. */
export function nodesOf(block: Block): DocumentFragment {
  if (block.token === null) return plain(block.source);
  try {
    const html = marked.parser([block.token]);
    return purifier.sanitize(html, { ...CONFIG, RETURN_DOM_FRAGMENT: true });
  } catch {
    return plain(block.source);
  }
}

function plain(text: string): DocumentFragment {
  const paragraph = document.createElement("p");
  paragraph.className = "plain";
  paragraph.textContent = text;
  const nodes = document.createDocumentFragment();
  nodes.append(paragraph);
  return nodes;
}

function escape(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (character) =>
      ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[character] ?? "",
  );
}
