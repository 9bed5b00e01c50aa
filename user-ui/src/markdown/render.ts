/**
 * An agent's markdown as safe HTML, block by block.
 *
 * Three defences: HTML in the text is escaped; the HTML that the markdown produces passes DOMPurify
 * with a short list of elements and attributes; and the page has a content security policy. No
 * remote resource is loaded: a remote image becomes a link, since fetching it would show its host
 * that, and when, the message was read.
 */

import DOMPurify, { type Config } from "dompurify";
import { Marked, type Token } from "marked";

import { mathExtensions } from "./math";

export interface Block {
  /** The block's markdown. Equal source gives equal HTML. */
  readonly source: string;
  /** `null` when the text could not be parsed and is shown as plain text. */
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
  // DOMPurify matches the values of all other attributes against ALLOWED_URI_REGEXP.
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: mathExtensions(escape),
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
    // data: addresses are for images only.
    if (!LINK.test(element.getAttribute("href") ?? "")) element.removeAttribute("href");
  }
  if (name === "IMG" && !EMBEDDED_IMAGE.test(element.getAttribute("src") ?? "")) {
    element.removeAttribute("src");
  }
  if (name === "INPUT") {
    // Only the checkboxes of a task list, disabled.
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

/** The sanitized nodes of one block. */
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
