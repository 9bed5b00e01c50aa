/**
 * Formulas in markdown: `$…$`, `\\(…\\)`, and as blocks `$$…$$`, `\\[…\\]`. They become code, which the
 * view replaces by MathML once it has loaded the typesetter.
 */

import type { TokenizerAndRendererExtension } from "marked";

const BLOCK = /^ {0,3}(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/;
/** Amounts of money are no formulas: no space inside the signs, no digit after the last. */
const INLINE =
  /^(?:\$\$([^$\n]+?)\$\$|\$(?![\s$])((?:\\.|[^\\$\n])+?)(?<![\s\\])\$(?![\d$])|\\\(([^\n]+?)\\\))/;

export function mathExtensions(escape: (text: string) => string): TokenizerAndRendererExtension[] {
  return [
    {
      name: "math-block",
      level: "block",
      start: (text) => begin(text, /(?:^|\n) {0,3}(?:\$\$|\\\[)/),
      tokenizer: (text) => token("math-block", BLOCK.exec(text)),
      renderer: ({ ["tex"]: tex }) =>
        `<pre><code class="language-math-block">${escape(String(tex))}</code></pre>`,
    },
    {
      name: "math-inline",
      level: "inline",
      start: (text) => begin(text, /\$|\\\(/),
      tokenizer: (text) => token("math-inline", INLINE.exec(text)),
      renderer: ({ ["tex"]: tex }) =>
        `<code class="language-math-inline">${escape(String(tex))}</code>`,
    },
  ];
}

function begin(text: string, pattern: RegExp): number | undefined {
  const index = text.search(pattern);
  return index < 0 ? undefined : index;
}

function token(type: string, found: RegExpExecArray | null) {
  if (found === null) return undefined;
  const groups: readonly (string | undefined)[] = found.slice(1);
  const tex = groups.find((part) => part !== undefined);
  return tex?.trim() ? { type, raw: found[0], tex: tex.trim() } : undefined;
}
