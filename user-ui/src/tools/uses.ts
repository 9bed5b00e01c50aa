/** Uses of tools in words. Pure. */

interface OutcomeTag {
  readonly text: string;
  readonly kind: "" | "off" | "warn";
}

const OUTCOMES = new Map<string, OutcomeTag>([
  ["ok", { text: "ran", kind: "" }],
  ["error", { text: "error of the tool", kind: "off" }],
  ["trouble", { text: "server in trouble", kind: "off" }],
  ["asked", { text: "asked first", kind: "warn" }],
  ["denied", { text: "denied", kind: "warn" }],
]);

export function outcomeTag(outcome: string): OutcomeTag {
  return OUTCOMES.get(outcome) ?? { text: outcome, kind: "warn" };
}

export function durationText(milliseconds: number): string {
  if (milliseconds < 1_000) return `${milliseconds} ms`;
  return `${(milliseconds / 1_000).toFixed(1)} s`;
}
