/**
 * Renders a growing markdown text into an element.
 *
 * Only blocks whose source changed are rendered again. In a streaming text that is the last one, so
 * the blocks above neither flicker nor lose the reader's selection. A long text is rendered in
 * slices, between which the page answers its user.
 */

import { again } from "../api/again";
import { copyText } from "../components/clipboard";
import { blocksOf, nodesOf, type Block } from "./render";

const COPIED_MS = 2_000;
const SLICE_MS = 12;
const SETTLED_MS = 200;
/** Elements whose own text decides their direction, for Arabic and Hebrew. */
const OWN_DIRECTION = "p, h1, h2, h3, h4, h5, h6, ul, ol, li, blockquote, td, th";

interface Shown {
  readonly source: string;
  readonly element: HTMLElement;
}

export class MarkdownView {
  private shown: Shown[] = [];

  private timer = 0;

  constructor(private readonly root: HTMLElement) {}

  show(text: string): void {
    this.stop();
    this.render(blocksOf(text), 0);
  }

  /** Render no more of a long text. */
  stop(): void {
    clearTimeout(this.timer);
  }

  private render(blocks: readonly Block[], from: number): void {
    const until = performance.now() + SLICE_MS;
    let index = from;
    for (const block of blocks.slice(from)) {
      const changed = this.renderBlock(block, index);
      index += 1;
      if (changed && performance.now() > until && index < blocks.length) {
        this.timer = window.setTimeout(() => this.render(blocks, index));
        return;
      }
    }
    for (const extra of this.shown.splice(blocks.length)) extra.element.remove();
  }

  private renderBlock(block: Block, index: number): boolean {
    const old = this.shown[index];
    if (old?.source === block.source) return false;
    const element = elementOf(block);
    if (old === undefined) this.root.append(element);
    else old.element.replaceWith(element);
    this.shown[index] = { source: block.source, element };
    enhance(element);
    return true;
  }
}

/** Colour code and typeset formulas, once the block has not changed for a moment. */
function enhance(element: HTMLElement): void {
  const math = element.querySelector("code[class^='language-math-']") !== null;
  const code = element.querySelector("pre code[class^='language-']") !== null;
  if (!math && !code) return;
  window.setTimeout(() => {
    if (!element.isConnected) return; // replaced while it was streaming
    const load = math
      ? again(() => import("./typeset")).then(({ typeset }) => typeset(element))
      : again(() => import("./highlight")).then(({ highlight }) => highlight(element));
    load.catch(() => undefined); // offline: it stays readable as it is
  }, SETTLED_MS);
}

function elementOf(block: Block): HTMLElement {
  const element = document.createElement("div");
  element.className = "block";
  element.append(nodesOf(block));
  element.dir = "auto";
  for (const text of element.querySelectorAll<HTMLElement>(OWN_DIRECTION)) text.dir = "auto";
  for (const pre of element.querySelectorAll("pre")) frameCode(pre);
  for (const table of element.querySelectorAll("table")) frameTable(table);
  return element;
}

function frameCode(pre: HTMLPreElement): void {
  const language = /language-(\S+)/.exec(pre.querySelector("code")?.className ?? "")?.[1] ?? "";
  const frame = document.createElement("div");
  frame.className = "code";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const name = document.createElement("span");
  name.textContent = language;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "quiet";
  copy.textContent = "Copy code";
  copy.addEventListener("click", () => void copyCode(copy, pre.textContent));
  bar.append(name, copy);
  pre.replaceWith(frame);
  frame.dir = "ltr";
  pre.tabIndex = 0; // Wide code scrolls; the keyboard must be able to.
  frame.append(bar, pre);
}

async function copyCode(button: HTMLButtonElement, code: string): Promise<void> {
  if (!(await copyText(code))) return;
  button.textContent = "Copied";
  window.setTimeout(() => (button.textContent = "Copy code"), COPIED_MS);
}

function frameTable(table: HTMLTableElement): void {
  const frame = document.createElement("div");
  frame.className = "table";
  frame.tabIndex = 0;
  frame.setAttribute("role", "group"); // A region would be a landmark, and there may be many.
  frame.setAttribute("aria-label", "Table");
  table.replaceWith(frame);
  frame.append(table);
}

/** Milliseconds between two parses of a streaming text of `length` characters. */
export function parseIntervalMs(length: number): number {
  return length < 8_000 ? 0 : Math.min(500, Math.round(length / 100));
}
