/** Approvals in words. Pure. */

import type { ApprovalView, Change } from "../api/generated";
import { isOpen } from "../chat/approvals";

const CHANGES: Record<Change, string> = {
  definition: "the tool’s definition",
  rule: "the rule for it",
  credential: "your key for the server",
  server: "the server’s address or settings",
  account: "your account, which was suspended",
};

/** What changed since the user was first asked; null if nothing did. */
export function changedText({ changed }: ApprovalView): string | null {
  if (changed.length === 0) return null;
  const parts = changed.map((change) => CHANGES[change]);
  const last = parts.pop() ?? "";
  const list = parts.length === 0 ? last : `${parts.join(", ")} and ${last}`;
  return `Changed since you were first asked: ${list}. Check the call again.`;
}

/** What became of a call that does not wait for a decision. */
export function outcomeText({ state, decision, detail }: ApprovalView): string {
  switch (state) {
    case "waiting":
      return "Waits for your decision.";
    case "approved":
      return "You approved it. It runs in a moment.";
    case "running":
      return "It is running.";
    case "done":
      return decision === "always"
        ? "You allowed this tool from now on. The call ran."
        : "You approved it. The call ran.";
    case "failed":
      return "You approved it. The call ran, and its result is an error.";
    case "denied":
      return detail ?? "You said no. The call did not run.";
    case "expired":
      return "It was not decided in time. The call did not run.";
    case "uncertain":
      return "The server failed while the call ran: it may have had its effect. Check before you repeat it.";
  }
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
