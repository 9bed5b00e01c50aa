/** For admins: what each person's agent cost in the last 30 days, and the limits of costs. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type {
  AdminUsageAnswer,
  BudgetRequest,
  BudgetsAnswer,
  BudgetView,
  UserUsageRow,
} from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/day-plot";
import { costOf, count, dollars } from "../components/money";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

/** Stands in place of a user's id for all users together. */
const TOTAL = "total";
const LIMITS = [
  ["dayHardUsd", "Limit per day, $"],
  ["monthHardUsd", "Limit per month, $"],
  ["monthSoftUsd", "Warn per month from, $"],
  ["keptForJobsUsd", "Kept for jobs, $"],
] as const;

@customElement("settings-costs")
export class SettingsCosts extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private usage: AdminUsageAnswer | null = null;
  @state() private budgets: BudgetsAnswer | null = null;
  @state() private editing: string | null = null;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      form {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
        gap: 0.75rem;
        flex: 1 1 100%;
        align-items: end;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(async () => {
      [this.usage, this.budgets] = await Promise.all([this.api.allUsage(), this.api.budgets()]);
    });
  }

  override render() {
    const { usage, budgets } = this;
    return html`
      <h2>Costs</h2>
      <p class="muted">What everyone's agents cost in the last 30 days.</p>
      ${this.work.outcome()}
      ${usage === null || budgets === null ? nothing : this.shown(usage, budgets)}
    `;
  }

  private shown(usage: AdminUsageAnswer, budgets: BudgetsAnswer) {
    const limited = new Map(budgets.users.map((row) => [row.userId, row]));
    const idle = budgets.users.filter(
      ({ userId }) => !usage.users.some((row) => row.userId === userId),
    );
    return html`
      ${usage.pricesProblem === null ? nothing : html`<p class="problem">${usage.pricesProblem}</p>`}
      <day-plot .rows=${usage.days}></day-plot>
      <ul>
        ${this.row(TOTAL, "Everyone", usage.users, budgets.total)}
        ${usage.users.map((row) =>
          this.row(row.userId, row.email, [row], limited.get(row.userId) ?? null),
        )}
        ${idle.map((row) => this.row(row.userId, row.email, [], row))}
      </ul>
      <p class="small"><a href="/api/admin/usage/export" download>Download as CSV</a></p>
    `;
  }

  private row(id: string, name: string, used: readonly UserUsageRow[], budget: BudgetView | null) {
    const tokens = used.reduce((sum, row) => sum + row.tokensIn + row.tokensOut, 0);
    return html`<li>
      <div>
        ${name} ${budget?.reached ? html`<span class="tag off">limit reached</span>` : nothing}
        <div class="muted small">${count(tokens)} tokens; ${limitsOf(budget)}</div>
      </div>
      <span>${costOf(used)}</span>
      <button
        class="small plain"
        aria-label="Change the limits of ${name}"
        @click=${() => (this.editing = this.editing === id ? null : id)}
      >
        Limits
      </button>
      ${this.editing === id ? this.form(id, budget) : nothing}
    </li>`;
  }

  private form(id: string, budget: BudgetView | null) {
    return html`<form @submit=${(event: Event) => this.save(event, id, budget)}>
      ${LIMITS.map(
        ([name, label]) =>
          html`<label>
            ${label}
            <input
              name=${name}
              type="number"
              min="0"
              step="any"
              .value=${budget?.[name] ? String(budget[name]) : ""}
            />
          </label>`,
      )}
      <button ?disabled=${this.work.busy}>Save</button>
    </form>`;
  }

  private async save(event: Event, id: string, budget: BudgetView | null): Promise<void> {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const given = (name: string) => {
      const value = fields.get(name);
      return typeof value !== "string" || value.trim() === "" ? null : Number(value);
    };
    const limits: BudgetRequest = {
      daySoftUsd: budget?.daySoftUsd ?? null,
      dayHardUsd: given("dayHardUsd"),
      monthSoftUsd: given("monthSoftUsd"),
      monthHardUsd: given("monthHardUsd"),
      keptForJobsUsd: given("keptForJobsUsd") ?? 0,
    };
    await this.work.run(async () => {
      this.budgets =
        id === TOTAL ? await this.api.setTotalBudget(limits) : await this.api.setBudget(id, limits);
      this.editing = null;
    }, "Saved. The limits apply from the next request on.");
  }
}

function limitsOf(budget: BudgetView | null): string {
  if (budget === null) return "no limit";
  const parts = [
    budget.dayHardUsd === null
      ? ""
      : `${dollars(budget.daySpentUsd)} of ${dollars(budget.dayHardUsd)} today`,
    budget.monthHardUsd === null
      ? ""
      : `${dollars(budget.monthSpentUsd)} of ${dollars(budget.monthHardUsd)} this month`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "no hard limit" : parts.join(", ");
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-costs": SettingsCosts;
  }
}
