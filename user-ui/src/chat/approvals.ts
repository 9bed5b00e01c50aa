/** Calls of tools that the user decides on. Pure. */

import type { ApprovalView } from "../api/generated";

export function isOpen({ state }: ApprovalView): boolean {
  return state === "waiting" || state === "approved" || state === "running";
}

export function isWaiting({ state }: ApprovalView): boolean {
  return state === "waiting";
}

/** The list with this approval, by number; the same list if it has this version or a later one. */
export function withApproval(
  approvals: readonly ApprovalView[],
  approval: ApprovalView,
): readonly ApprovalView[] {
  const known = approvals.find(({ id }) => id === approval.id);
  if (known !== undefined && known.version >= approval.version) return approvals;
  const others = approvals.filter(({ id }) => id !== approval.id);
  return [...others, approval].sort((one, other) => one.number - other.number);
}
