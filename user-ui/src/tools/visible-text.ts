/**
 * Texts of tool servers as they may be shown: a server chose them, and may want to mislead.
 *
 * Lit writes them as text, never as HTML. What is left to do is what the eye cannot see: characters
 * that hide, join or reorder others are escaped, as the server does in the arguments of a call.
 */

/** Line ends are visible as such. */
const MISLEADING = /(?!\n)[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Zl}\p{Zp}\ufff9-\ufffb]/gu;

/** `text` with hidden characters escaped. Line ends stay. */
export function visible(text: string): string {
  return text.replace(MISLEADING, (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`);
}

/** A name on one line, cut at `limit` characters. */
export function visibleName(text: string, limit = 130): string {
  const line = visible(text.replace(/\s+/g, " ").trim());
  return line.length <= limit ? line : `${line.slice(0, limit)}…`;
}
