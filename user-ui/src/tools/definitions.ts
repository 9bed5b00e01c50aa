/** The states of tools' definitions, and the change from one to another. Pure. */

import type { DefinitionState, ToolView } from "../api/generated";

/** What a state means for the user; null when there is nothing to say. */
export const STATE_NOTES: Record<DefinitionState, string | null> = {
  ok: null,
  new: "New since you connected this server. Your rule for the whole server does not allow it until you accept it.",
  extended: "The server added optional parameters. Your agent uses what you accepted.",
  changed: "The server changed this tool. Your agent cannot use it until you accept the change.",
  gone: "The server no longer offers this tool.",
};

export const STATE_TAGS: Record<DefinitionState, string | null> = {
  ok: null,
  new: "new",
  extended: "extended",
  changed: "changed",
  gone: "gone",
};

export function toAccept({ state }: Pick<ToolView, "state">): boolean {
  return state === "new" || state === "extended" || state === "changed";
}

/** “2 changed tools, 1 new tool”; empty if there are none to accept. */
export function toAcceptSummary(tools: readonly ToolView[]): string {
  const parts = (["changed", "extended", "new"] as const).flatMap((state) => {
    const count = tools.filter((tool) => tool.state === state).length;
    return count === 0 ? [] : [`${count} ${state} ${count === 1 ? "tool" : "tools"}`];
  });
  return parts.join(", ");
}

export interface DiffLine {
  readonly kind: "added" | "removed" | "same" | "gap";
  readonly text: string;
}

/** The lines of a unified diff, without its header and positions. */
export function diffLines(difference: readonly string[]): DiffLine[] {
  const lines: DiffLine[] = [];
  for (const line of difference.slice(2)) {
    if (line.startsWith("@@")) {
      if (lines.length > 0) lines.push({ kind: "gap", text: "" });
    } else {
      const kind = line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "same";
      lines.push({ kind, text: line.slice(1) });
    }
  }
  return lines;
}
