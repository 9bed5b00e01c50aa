/** People and their agents in one table that can be sorted, and what an admin can do with each. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import {
  joined,
  pressed,
  sorted,
  type Column,
  type PersonRow,
  type Sorting,
} from "../admin/people";
import { bytes } from "../agent/day";
import type { AdminApi } from "../api/admin";
import type { AgentState, Order } from "../api/generated";
import { RequestState } from "../api/request-state";
import { dollars } from "../components/money";
import "../components/sure-button";
import { fullLabel, timeLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { tableStyles } from "./admin-styles";
import { sectionStyles } from "./settings-styles";

const COLUMNS: readonly (readonly [Column, string])[] = [
  ["person", "Person"],
  ["state", "Agent"],
  ["memory", "Memory"],
  ["used", "Last used"],
  ["cost", "30 days"],
];
const STATES: Record<AgentState, string> = {
  none: "none",
  provisioning: "being set up",
  running: "awake",
  paused: "asleep",
  stopped: "stopped",
  waking: "waking",
  failed: "failed",
  unreachable: "unknown",
};
const ORDERS: readonly (readonly [Order, string, readonly AgentState[]])[] = [
  ["wake", "Wake", ["paused", "stopped", "failed"]],
  ["pause", "Pause", ["running"]],
  ["stop", "Stop", ["running", "paused"]],
];
const REFRESH_MS = 10_000;

@customElement("admin-people")
export class AdminPeople extends LitElement {
  @property({ attribute: false }) admin!: AdminApi;
  @property({ attribute: false }) myId = "";
  @state() private rows: readonly PersonRow[] = [];
  @state() private sorting: Sorting = { by: "person", descending: false };
  /** The id of the person whose actions are shown. */
  @state() private managed: string | null = null;
  @state() private removing = false;

  private readonly work = new RequestState(this);
  private timer = 0;

  static override styles = [base, controls, sectionStyles, tableStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(() => this.load());
    this.timer = window.setInterval(() => {
      if (document.visibilityState === "visible") void this.load().catch(() => undefined);
    }, REFRESH_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  override render() {
    return html`
      <h2>People</h2>
      <table>
        <thead>
          <tr>
            ${COLUMNS.map(([column, name]) => this.head(column, name))}
            <th scope="col"><span class="unseen">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          ${sorted(this.rows, this.sorting).map((row) => this.row(row))}
        </tbody>
      </table>
      ${this.work.outcome()}
    `;
  }

  private head(column: Column, name: string) {
    const { by, descending } = this.sorting;
    const sort = by !== column ? "none" : descending ? "descending" : "ascending";
    return html`<th scope="col" aria-sort=${sort}>
      <button @click=${() => (this.sorting = pressed(this.sorting, column))}>
        ${name}<span aria-hidden="true">${sort === "none" ? "" : descending ? " ↓" : " ↑"}</span>
      </button>
    </th>`;
  }

  private row(row: PersonRow) {
    const { person, agent, cost } = row;
    const open = this.managed === person.id;
    return html`<tr>
        <td data-label="Person">
          ${person.email}
          ${person.role === "admin" ? html`<span class="tag">admin</span>` : nothing}
          ${
            person.status === "active"
              ? nothing
              : html`<span class="tag off"
                  >${person.status === "deleting" ? "being deleted" : "suspended"}</span
                >`
          }
          ${person.pending === null ? nothing : html`<div class="small">${person.pending}</div>`}
        </td>
        <td data-label="Agent">
          ${agent === null ? "none" : STATES[agent.state]}
          ${
            agent !== null && agent.state === "running" && agent.awakeBecause.length > 0
              ? html`<div class="muted small">${agent.awakeBecause.join(", ")}</div>`
              : nothing
          }
          ${agent?.detail ? html`<div class="small">${agent.detail}</div>` : nothing}
          ${agent?.warning ? html`<div class="small">${agent.warning}</div>` : nothing}
        </td>
        <td data-label="Memory">${agent?.memory ? bytes(agent.memory.usage) : "–"}</td>
        <td data-label="Last used">${lastUsed(row)}</td>
        <td data-label="30 days">${cost === null ? "not known" : dollars(cost)}</td>
        <td>
          ${
            person.status === "deleting"
              ? nothing
              : html`<button
                  class="small plain"
                  aria-expanded=${open}
                  @click=${() => this.manage(open ? null : person.id)}
                >
                  Manage<span class="unseen"> ${person.email}</span>
                </button>`
          }
        </td>
      </tr>
      ${
        open
          ? html`<tr class="acts">
              <td colspan="6">${this.acts(row)}</td>
            </tr>`
          : nothing
      }`;
  }

  private acts({ person, agent }: PersonRow) {
    if (this.removing) return this.removal(person.id, person.email);
    const who = html`<span class="unseen"> ${person.email}</span>`;
    const mine = person.id === this.myId;
    return html`<div class="row">
      ${
        agent === null || person.status !== "active"
          ? nothing
          : html`${ORDERS.filter(([, , states]) => states.includes(agent.state)).map(
              ([order, name]) =>
                html`<button
                  class="small plain"
                  ?disabled=${this.work.busy}
                  @click=${() => this.change(() => this.admin.order(person.id, order))}
                >
                  ${name}${who}
                </button>`,
            )}
            ${
              agent.state === "running"
                ? html`<sure-button
                    label="Restart"
                    what=" the agent of ${person.email}"
                    @sure=${() => this.change(() => this.admin.order(person.id, "restart"))}
                  ></sure-button>`
                : nothing
            }`
      }
      ${
        mine
          ? html`<span class="muted small">Your own account is under Settings.</span>`
          : html`
              ${
                person.role === "admin"
                  ? html`<sure-button
                      label="Make member"
                      what=" ${person.email}"
                      @sure=${() => this.change(() => this.admin.setRole(person.id, "member"))}
                    ></sure-button>`
                  : html`<sure-button
                      label="Make admin"
                      what=" ${person.email}"
                      @sure=${() => this.change(() => this.admin.setRole(person.id, "admin"))}
                    ></sure-button>`
              }
              ${
                person.status === "suspended"
                  ? html`<button
                      class="small plain"
                      @click=${() => this.change(() => this.admin.setStatus(person.id, "active"))}
                    >
                      Reactivate${who}
                    </button>`
                  : html`<sure-button
                      label="Suspend"
                      what=" ${person.email}"
                      @sure=${() => this.change(() => this.admin.setStatus(person.id, "suspended"))}
                    ></sure-button>`
              }
              <button class="small plain" @click=${() => (this.removing = true)}>
                Delete${who}
              </button>
            `
      }
    </div>`;
  }

  /** Deleting cannot be undone, so the admin has to type the address. */
  private removal(id: string, email: string) {
    return html`<form @submit=${(event: SubmitEvent) => this.onRemove(event, id, email)}>
      <label class="small" for="confirm">
        This permanently deletes the agent of ${email} with its files, conversations and keys. Type
        the address to confirm.
      </label>
      <div class="row">
        <input
          id="confirm"
          name="email"
          type="email"
          required
          autocomplete="off"
          placeholder=${email}
        />
        <button class="small danger" ?disabled=${this.work.busy}>Delete permanently</button>
        <button type="button" class="small plain" @click=${() => (this.removing = false)}>
          Cancel
        </button>
      </div>
    </form>`;
  }

  private readonly onRemove = async (event: SubmitEvent, id: string, email: string) => {
    event.preventDefault();
    const typed = fieldText(event.target as HTMLFormElement, "email");
    await this.change(async () => {
      await this.admin.remove(id, typed);
      this.manage(null);
    }, `${email} is being deleted.`);
  };

  private manage(id: string | null): void {
    this.managed = id;
    this.removing = false;
  }

  private async load(): Promise<void> {
    const [people, agents, usage] = await Promise.all([
      this.admin.people(),
      this.admin.agents(),
      this.admin.usage(),
    ]);
    this.rows = joined(people, agents, usage);
  }

  private async change(send: () => Promise<unknown>, done = ""): Promise<void> {
    await this.work.run(async () => {
      await send();
      await this.load();
    }, done);
  }
}

function lastUsed({ person, agent }: PersonRow): string {
  if (agent?.lastActivity != null) {
    const at = Date.parse(agent.lastActivity);
    const now = Date.now();
    return now - at < 3_600_000 ? timeLabel(at, now) : fullLabel(at);
  }
  return person.lastSignInAt === null ? "never signed in" : "–";
}

declare global {
  interface HTMLElementTagNameMap {
    "admin-people": AdminPeople;
  }
}
