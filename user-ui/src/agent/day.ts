/** The last day of an agent as stretches of time, from the changes of its state. */

import type { AgentPanelView, StateEvent } from "../api/generated";

export type Kind = "awake" | "job" | "asleep" | "stopped" | "waking" | "trouble";

export interface Stretch {
  readonly kind: Kind;
  /** Epoch milliseconds, like `to`. */
  readonly from: number;
  readonly to: number;
}

export interface Wake {
  readonly at: number;
  readonly why: string;
  /** How long it took; null when it is not known. */
  readonly tookMs: number | null;
}

export const DAY_MS = 24 * 60 * 60_000;

/** What was when, oldest first, in the `DAY_MS` before `now`. Nothing is known before the first. */
export function stretches(events: readonly StateEvent[], now: number): readonly Stretch[] {
  const begin = now - DAY_MS;
  const found: Stretch[] = [];
  // Changes of memory and warnings are events as well, and change no state.
  const changes = events.filter((event) => event.fromState !== event.toState);
  changes.forEach((event, index) => {
    const next = changes[index + 1];
    const from = Math.max(begin, Date.parse(event.at));
    const to = Math.min(now, next === undefined ? now : Date.parse(next.at));
    if (!(to > from)) return;
    const kind = kindOf(event);
    const last = found.at(-1);
    if (last?.kind === kind && last.to === from) found[found.length - 1] = { ...last, to };
    else found.push({ kind, from, to });
  });
  return found;
}

/** The wakes in the day before `now`, newest first. */
export function wakes(events: readonly StateEvent[], now: number): readonly Wake[] {
  return events
    .filter(
      ({ fromState, toState, at }) =>
        toState === "running" && fromState === "waking" && Date.parse(at) >= now - DAY_MS,
    )
    .map((event) => ({
      at: Date.parse(event.at),
      why: wakeReason(event),
      tookMs: event.durationMs ?? null,
    }))
    .reverse();
}

/** For people who do not see the picture. */
export function summary(day: readonly Stretch[]): string {
  const total = (kinds: readonly Kind[]): string =>
    span(
      day
        .filter(({ kind }) => kinds.includes(kind))
        .reduce((sum, { from, to }) => sum + to - from, 0),
    );
  return (
    `In the last 24 hours: awake for ${total(["awake", "waking"])}, ` +
    `for scheduled jobs ${total(["job"])}, asleep for ${total(["asleep", "stopped"])}.`
  );
}

/** Why the agent is in its state now, as a sentence without a full stop. */
export function reason(panel: AgentPanelView): string {
  const last = panel.events.filter((event) => event.fromState !== event.toState).at(-1);
  switch (panel.state) {
    case "running":
      if (panel.awakeBecause.length > 0) return `It is busy: ${panel.awakeBecause.join(", ")}`;
      if (panel.times?.neverSleeps) return "It never sleeps, by the operator’s order";
      return last === undefined ? "" : `It was woken ${wakeReason(last)}`;
    case "paused":
    case "stopped":
      return last === undefined ? "" : `It sleeps ${sleepReason(last)}`;
    default:
      return panel.detail ?? "";
  }
}

/** `45 s`, `12 min`, `3 h 20 min`. */
export function span(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (ms < 60_000) return `${Math.max(0, Math.round(ms / 1000))} s`;
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest === 0 ? "" : ` ${rest} min`}`;
}

/** `950 ms`, `7.4 s`. */
export function took(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** `1.2 GB`, in powers of 1024 as operating systems show them. */
export function bytes(amount: number): string {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit < 2 || amount >= 10 ? 0 : 1;
  return `${amount.toFixed(digits)} ${units[unit] ?? ""}`;
}

function kindOf(event: StateEvent): Kind {
  switch (event.toState) {
    case "running":
      return event.who === "job" ? "job" : "awake";
    case "paused":
      return "asleep";
    case "stopped":
      return "stopped";
    case "waking":
    case "provisioning":
      return "waking";
    default:
      return "trouble";
  }
}

function wakeReason({ who, why }: StateEvent): string {
  switch (who) {
    case "user":
      return why === "provision" ? "when it was set up" : "by a message or request of yours";
    case "job":
      return "for a scheduled job";
    case "operator":
      return why === "restart" ? "by a restart" : "by an order";
    case "policy":
      return why.includes("office")
        ? "for the hours in which it stays awake"
        : "as it never sleeps";
    default:
      return "outside of OCMT";
  }
}

function sleepReason({ who, why }: StateEvent): string {
  switch (who) {
    case "policy":
      return why.includes("disk")
        ? "because it uses too much of the disk"
        : "because it was not used";
    case "job":
      return "because its job is done";
    case "pressure":
      return "because another agent needed the memory";
    case "operator":
    case "user":
      return "by an order";
    default:
      return "because it ended by itself";
  }
}
