/** The user's usage of models, by day and by model, and the user's budget. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { BudgetView, UsageAnswer, UsageRow } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/day-plot";
import { costOf, count, dollars, grouped, sum } from "../components/money";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

@customElement("settings-usage")
export class SettingsUsage extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private usage: UsageAnswer | null = null;

  private readonly loading = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      .told {
        font-weight: 600;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.loading.run(async () => {
      this.usage = await this.api.usage();
      await this.tellTimeZone(this.usage.timeZone);
    });
  }

  /** Use this browser's time zone for days, if the server knows that zone. */
  private async tellTimeZone(known: string): Promise<void> {
    const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!here || here === known) return;
    try {
      await this.api.setTimeZone(here);
    } catch {
      return; // such as Chromium's Etc/Unknown
    }
    this.usage = await this.api.usage();
  }

  override render() {
    return html`
      <h2>Usage</h2>
      ${this.loading.outcome()} ${this.usage === null ? nothing : this.shown(this.usage)}
    `;
  }

  private shown({ rows, budget, timeZone }: UsageAnswer) {
    if (rows.length === 0) {
      return html`<p class="muted">Your agent has not used a model in the last 30 days.</p>
        ${this.budget(budget)}`;
    }
    return html`
      <p class="muted">The last 30 days, in the time zone ${timeZone}: ${costOf(rows)}.</p>
      <day-plot .rows=${rows}></day-plot>
      ${this.budget(budget)}
      <ul>
        ${grouped(rows, (row) => row.model).map(([model, used]) => this.model(model, used))}
      </ul>
      <p class="small"><a href="/api/usage/export" download>Download as CSV</a></p>
    `;
  }

  private model(model: string, rows: readonly UsageRow[]) {
    const estimated = sum(rows, (row) => row.estimated);
    return html`<li>
      <div>
        ${model}
        <div class="muted small">
          ${count(sum(rows, (row) => row.tokensIn))} tokens in,
          ${count(sum(rows, (row) => row.cached))} of them cached;
          ${count(sum(rows, (row) => row.tokensOut))} out
          ${estimated === 0 ? nothing : html`; estimated for ${estimated} answers`}
        </div>
      </div>
      <span>${costOf(rows)}</span>
    </li>`;
  }

  private budget(budget: BudgetView | null) {
    if (budget === null) return nothing;
    const line = (period: string, spent: number, hard: number | null) =>
      hard === null ? nothing : html` ${dollars(spent)} of ${dollars(hard)} ${period}.`;
    return html`<p class=${budget.told || budget.reached ? "told" : "muted"} role="status">
      ${budget.reached === null ? nothing : "Your budget is used up: your agent does not answer in the chat."}
      ${budget.told !== null && budget.reached === null ? "Your budget is nearly used up." : nothing}
      ${line("today", budget.daySpentUsd, budget.dayHardUsd)}
      ${line("this month", budget.monthSpentUsd, budget.monthHardUsd)}
    </p>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-usage": SettingsUsage;
  }
}
