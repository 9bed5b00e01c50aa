/** Approvals in words. Pure. */

import type { AlwaysRefused, ApprovalChange, ApprovalState, ApprovalView } from "../api/generated";
import { isOpen } from "../chat/state";

const CHANGES: Record<ApprovalChange, string> = {
  definition: "the tool’s definition",
  rule: "its rule",
  credential: "your key for the server",
  server: "the server’s address or settings",
  account: "your account’s status",
};

const NO_ALWAYS: Record<AlwaysRefused, string> = {
  "admin-rule": "“Always allow” is not offered: a rule of your admins asks for each call of it.",
  "new-tool":
    "“Always allow” is not offered: its server added this tool later. Accept it under Tools first.",
};

const OUTCOMES: Record<ApprovalState, string> = {
  waiting: "It waits for your decision.",
  approved: "Allowed. It runs in a moment.",
  running: "Allowed. It is running…",
  done: "Allowed, and done.",
  failed: "Allowed, but it failed. Your agent has the reason.",
  denied: "Not allowed.",
  expired: "It was not decided within a day, so it did not run.",
  uncertain:
    "Allowed, but a server failed while it ran. It may have had its effect and is not repeated: " +
    "check before you ask for it again.",
};

/** What changed since the user was first asked; null if nothing did. */
export function changedText({ changed }: ApprovalView): string | null {
  if (changed.length === 0) return null;
  const list = changed.map((change) => CHANGES[change]).join(", ");
  return `Changed since you were first asked: ${list}. Check the call again.`;
}

/** What "Always allow" does, or why it is not offered. */
export function alwaysText(refused: AlwaysRefused | null): string {
  return refused === null
    ? "“Always allow” also runs later calls of this tool without asking, until its definition changes."
    : NO_ALWAYS[refused];
}

/** What became of a call. */
export function outcomeText({ state, detail }: ApprovalView): string {
  return detail ?? OUTCOMES[state];
}

/**
 * The approvals in the inbox: open ones by number, then the others, newest first. Those in `kept`
 * stay among the open ones, where they were decided.
 */
export function inbox(
  approvals: readonly ApprovalView[],
  kept: ReadonlySet<string>,
): { open: ApprovalView[]; past: ApprovalView[] } {
  const open: ApprovalView[] = [];
  const past: ApprovalView[] = [];
  for (const approval of [...approvals].sort((one, other) => one.number - other.number)) {
    if (isOpen(approval) || kept.has(approval.id)) open.push(approval);
    else past.unshift(approval);
  }
  return { open, past };
}
