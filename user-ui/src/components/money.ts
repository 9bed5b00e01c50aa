/** Amounts of money and of tokens, short. */

import type { UsageRow, UserUsageRow } from "../api/generated";

type Counts = Pick<UsageRow | UserUsageRow, "costUsd" | "unpriced" | "requests">;

/** Dollars, with as many digits as a small amount needs. */
export function dollars(amount: number): string {
  if (amount === 0) return "$0";
  if (amount < 0.01) return "less than $0.01";
  return `$${amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export function count(tokens: number): string {
  return tokens.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

/** What some requests cost together: a price that is not known is never shown as nothing. */
export function costOf(rows: readonly Counts[]): string {
  const unpriced = sum(rows, (row) => row.unpriced);
  const requests = sum(rows, (row) => row.requests);
  const known = dollars(sum(rows, (row) => row.costUsd ?? 0));
  if (unpriced === 0) return known;
  return rows.every(({ costUsd }) => costUsd === null)
    ? "price not known"
    : `${known}, and ${unpriced} of ${requests} requests without a known price`;
}

export function sum<R>(rows: readonly R[], of: (row: R) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}

/** The rows by a property of theirs, in the order in which it first comes. */
export function grouped(
  rows: readonly UsageRow[],
  by: (row: UsageRow) => string,
): readonly (readonly [string, readonly UsageRow[]])[] {
  const groups = new Map<string, UsageRow[]>();
  for (const row of rows) groups.set(by(row), [...(groups.get(by(row)) ?? []), row]);
  return [...groups];
}
