/** A plot of costs: a bar for each day, as high as its cost; by tokens if no cost is known. */

import { LitElement, css, html } from "lit";
import { customElement, property } from "lit/decorators.js";

import type { DayRow } from "../api/generated";
import { base } from "../styles/controls";
import { costOf, count, sum } from "./money";

type Counts = Pick<DayRow, "day" | "costUsd" | "unpriced" | "requests" | "tokensIn" | "tokensOut">;

@customElement("day-plot")
export class DayPlot extends LitElement {
  /** Those of one day follow each other. */
  @property({ attribute: false }) rows: readonly Counts[] = [];

  static override styles = [
    base,
    css`
      ul {
        display: flex;
        align-items: flex-end;
        gap: 2px;
        height: 6rem;
        margin: 0 0 1rem;
        padding: 0;
        border-bottom: 1px solid var(--line);
        list-style: none;
      }
      li {
        position: relative;
        flex: 1 1 0;
        display: block;
        min-height: 2px;
        border-radius: 3px 3px 0 0;
        background: var(--accent);
      }
    `,
  ];

  override render() {
    const cost = (rows: readonly Counts[]) => sum(rows, (row) => row.costUsd ?? 0);
    const tokens = (rows: readonly Counts[]) => sum(rows, (row) => row.tokensIn + row.tokensOut);
    const days = new Map<string, Counts[]>();
    for (const row of this.rows) days.set(row.day, [...(days.get(row.day) ?? []), row]);
    const size = [...days.values()].some((rows) => cost(rows) > 0) ? cost : tokens;
    const most = Math.max(...[...days.values()].map(size), Number.MIN_VALUE);
    return html`<ul aria-label="By day">
      ${[...days].map(([day, rows]) => {
        const label = `${day}: ${costOf(rows)}, ${count(tokens(rows))} tokens`;
        const height = Math.round((100 * size(rows)) / most);
        // A property: the page's content security policy blocks style attributes, and so `styleMap`.
        return html`<li title=${label} .style=${`height: ${height}%`}>
          <span class="unseen">${label}</span>
        </li>`;
      })}
    </ul>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "day-plot": DayPlot;
  }
}
