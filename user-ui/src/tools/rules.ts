/** Rules in words, and why one holds. Pure. */

import type { Rule, ServerView, ToolView } from "../api/generated";

export const RULES: readonly Rule[] = ["allow", "ask", "deny"];

export const RULE_NAMES: Record<Rule, string> = {
  allow: "Allow",
  ask: "Ask first",
  deny: "Deny",
};

/** The option of a server, or of its tools, without a rule. Calls are then asked for. */
export const NO_RULE = "No rule: ask first";

const STRICTNESS: Record<Rule, number> = { allow: 0, ask: 1, deny: 2 };

/** Whether an admin's rule overrides the user's own. */
export function isStricter(admin: Rule | null, own: Rule | null): admin is Rule {
  return admin !== null && own !== null && STRICTNESS[admin] > STRICTNESS[own];
}

/** Why another rule holds for the tool than the one that the user set; or null. */
export function toolNote(server: ServerView, tool: ToolView): string | null {
  const own = tool.ownRule ?? server.ownRule;
  const admin = tool.adminRule ?? server.adminRule;
  const scope = tool.adminRule === null ? "this server" : "this tool";
  const holds = `“${RULE_NAMES[tool.rule]}” holds`;
  if (tool.rule === admin && own === null) return `${holds}: an admin’s rule for ${scope}.`;
  if (tool.rule === admin && isStricter(admin, own)) {
    return `${holds}: an admin’s rule for ${scope} is stricter than yours.`;
  }
  return null;
}

/** Why the user's rule for the whole server does not hold; or null. */
export function serverNote({ adminRule, ownRule }: ServerView): string | null {
  if (adminRule === null) return null;
  const name = RULE_NAMES[adminRule];
  if (isStricter(adminRule, ownRule)) {
    return `“${name}” holds: an admin’s rule for this server is stricter than yours.`;
  }
  return ownRule === null ? `An admin set “${name}” for this server.` : null;
}

/** The option of a tool without a rule of its own. */
export function inherited(server: ServerView): string {
  return server.ownRule === null ? NO_RULE : `As the server: ${RULE_NAMES[server.ownRule]}`;
}
