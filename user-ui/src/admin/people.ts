/** People with their agents and costs as the rows of one table, and their order. */

import type { AgentRow, UserRow, UserUsageRow } from "../api/generated";

export interface PersonRow {
  readonly person: UserRow;
  /** Null while the person has no agent. */
  readonly agent: AgentRow | null;
  /** Dollars in the last 30 days; null when no price is known. */
  readonly cost: number | null;
}

export type Column = "person" | "state" | "memory" | "used" | "cost";

export interface Sorting {
  readonly by: Column;
  readonly descending: boolean;
}

export function joined(
  people: readonly UserRow[],
  agents: readonly AgentRow[],
  usage: readonly UserUsageRow[],
): readonly PersonRow[] {
  return people.map((person) => {
    const own = usage.filter(({ userId }) => userId === person.id);
    const known = own.filter(({ costUsd }) => costUsd !== null);
    return {
      person,
      agent: agents.find(({ userId }) => userId === person.id) ?? null,
      cost:
        own.length > 0 && known.length === 0
          ? null
          : known.reduce((sum, { costUsd }) => sum + (costUsd ?? 0), 0),
    };
  });
}

/** Rows without a value come last, in either direction; equal ones stay in their order. */
export function sorted(
  rows: readonly PersonRow[],
  { by, descending }: Sorting,
): readonly PersonRow[] {
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one, by), value(other, by)];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    const order = a < b ? -1 : a > b ? 1 : 0;
    return descending ? -order : order;
  });
}

/** A first press sorts names upwards and figures downwards; another one turns the order. */
export function pressed(now: Sorting, by: Column): Sorting {
  return now.by === by
    ? { by, descending: !now.descending }
    : { by, descending: by !== "person" && by !== "state" };
}

function value({ person, agent, cost }: PersonRow, by: Column): string | number | null {
  switch (by) {
    case "person":
      return person.email;
    case "state":
      return agent?.state ?? null;
    case "memory":
      return agent?.memory?.usage ?? null;
    case "used":
      return agent?.lastActivity ?? null;
    case "cost":
      return cost;
  }
}

/** The addresses in a pasted text, once each, and what is none. */
export function addresses(text: string): {
  readonly emails: readonly string[];
  readonly wrong: readonly string[];
} {
  const words = [...text.matchAll(/<([^<>\s]+)>|[^\s,;<>"]+/g)].map((one) => one[1] ?? one[0]);
  const named = text.includes("<") ? words.filter((word) => word.includes("@")) : words;
  const all = [...new Set(named.map((word) => word.toLowerCase()))];
  const plain = /^[^@\s]+@[^@\s]+\.[^@\s]+$/;
  return {
    emails: all.filter((word) => plain.test(word)),
    wrong: all.filter((word) => !plain.test(word)),
  };
}
