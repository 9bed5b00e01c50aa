/** When the agent sleeps and stays awake, and its heartbeat, within what the operator allows. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { AgentApi } from "../api/agent";
import type { OfficeHours, OwnTimes, TimesView, UsageRow, Weekday } from "../api/generated";
import { RequestState } from "../api/request-state";
import { costOf, dollars, sum } from "../components/money";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

const DAYS: readonly (readonly [Weekday, string])[] = [
  ["mon", "Mon"],
  ["tue", "Tue"],
  ["wed", "Wed"],
  ["thu", "Thu"],
  ["fri", "Fri"],
  ["sat", "Sat"],
  ["sun", "Sun"],
];
const IDLE_CHOICES = [5, 10, 15, 30, 60, 120, 240, 480];
const HEARTBEAT_CHOICES = [15, 30, 60, 120, 240, 480, 1440];
const WORKDAY: OfficeHours = {
  timeZone: "",
  days: ["mon", "tue", "wed", "thu", "fri"],
  from: "09:00",
  to: "17:00",
};

@customElement("agent-times")
export class AgentTimes extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @property({ attribute: false }) times!: TimesView;
  /** The hours' fields, while they are on. */
  @state() private hours: OfficeHours | null = null;
  @state() private heartbeat: number | null = null;
  /** What heartbeats used in the last 30 days; null until it is known. */
  @state() private used: readonly UsageRow[] | null = null;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      fieldset {
        margin: 0 0 1.25rem;
        padding: 0;
        border: 0;
      }
      legend {
        margin-bottom: 0.375rem;
        padding: 0;
        font-weight: 600;
      }
      select {
        max-width: 20rem;
      }
      .check {
        display: inline-flex;
        align-items: center;
        gap: 0.5rem;
        min-height: 2.25rem;
        margin: 0 0.75rem 0 0;
        font-weight: 400;
      }
      input[type="checkbox"] {
        width: 1.125rem;
        height: 1.125rem;
        accent-color: var(--accent);
      }
      input[type="time"] {
        width: 9rem;
      }
      .clock {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.5rem;
        margin-top: 0.5rem;
      }
      .clock label {
        margin: 0;
      }
      .cost {
        margin: 0.5rem 0 0;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.hours = this.times.officeHours;
    this.heartbeat = this.times.heartbeatMinutes;
    this.agent.usage().then(
      ({ rows }) => (this.used = rows.filter(({ source }) => source === "heartbeat")),
      () => undefined, // The rest of the section does not need it.
    );
  }

  override render() {
    const { bounds, neverSleeps } = this.times;
    const nothingToSet =
      bounds.idleMinutesMax === 0 && bounds.awakeHoursMax === 0 && bounds.heartbeatMinutesMin === 0;
    return html`
      <h2>Sleep and heartbeat</h2>
      <p class="muted">
        An agent that sleeps costs nothing and wakes with your next message.
        ${neverSleeps ? "The operator of this server keeps yours awake at all times." : nothing}
      </p>
      ${
        nothingToSet
          ? html`<p>The operator of this server sets these times.</p>`
          : html`<form @submit=${this.onSubmit}>
              ${this.idle()} ${this.officeHours()} ${this.heartbeats()}
              <button ?disabled=${this.work.busy}>Save</button>
            </form>`
      }
      ${this.work.outcome()}
    `;
  }

  private idle() {
    const { bounds, idleMinutes } = this.times;
    if (bounds.idleMinutesMax === 0) return nothing;
    const choices = withValue(
      IDLE_CHOICES.filter((minutes) => minutes <= bounds.idleMinutesMax),
      idleMinutes,
    );
    return html`<fieldset>
      <label for="idle">Sleeps after</label>
      <select id="idle" name="idle">
        <option value="" ?selected=${idleMinutes === null}>The server’s usual time</option>
        ${choices.map(
          (minutes) =>
            html`<option value=${minutes} ?selected=${minutes === idleMinutes}>
              ${interval(minutes)} without use
            </option>`,
        )}
      </select>
    </fieldset>`;
  }

  private officeHours() {
    const most = this.times.bounds.awakeHoursMax;
    if (most === 0 && this.hours === null) return nothing;
    const hours = this.hours;
    return html`<fieldset>
      <legend>Stays awake</legend>
      <label class="check">
        <input type="checkbox" .checked=${hours !== null} @change=${this.onHours} />
        In these hours, at most ${most} a week
      </label>
      ${
        hours === null
          ? nothing
          : html`<div>
                ${DAYS.map(
                  ([day, name]) =>
                    html`<label class="check">
                      <input
                        type="checkbox"
                        name="day"
                        .value=${day}
                        .checked=${hours.days.includes(day)}
                      />
                      ${name}
                    </label>`,
                )}
              </div>
              <div class="clock">
                <label for="from">From</label>
                <input id="from" name="from" type="time" required .value=${hours.from} />
                <label for="to">to</label>
                <input id="to" name="to" type="time" required .value=${hours.to} />
                <span class="muted small">${hours.timeZone || zone()}</span>
              </div>`
      }
    </fieldset>`;
  }

  private heartbeats() {
    const least = this.times.bounds.heartbeatMinutesMin;
    if (least === 0 && this.heartbeat === null) return nothing;
    const choices = withValue(
      HEARTBEAT_CHOICES.filter((minutes) => minutes >= least),
      this.times.heartbeatMinutes,
    );
    return html`<fieldset>
      <label for="heartbeat">Heartbeat</label>
      <select id="heartbeat" name="heartbeat" @change=${this.onHeartbeat}>
        <option value="" ?selected=${this.heartbeat === null}>Off</option>
        ${choices.map(
          (minutes) =>
            html`<option value=${minutes} ?selected=${minutes === this.heartbeat}>
              Every ${interval(minutes)}
            </option>`,
        )}
      </select>
      <p class="cost muted small">${heartbeatCost(this.heartbeat, this.used)}</p>
    </fieldset>`;
  }

  private readonly onHours = (event: Event) => {
    const on = (event.target as HTMLInputElement).checked;
    this.hours = on ? (this.times.officeHours ?? WORKDAY) : null;
  };

  private readonly onHeartbeat = (event: Event) => {
    this.heartbeat = number((event.target as HTMLSelectElement).value);
  };

  private readonly onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const text = (name: string): string => {
      const value = fields.get(name);
      return typeof value === "string" ? value : "";
    };
    const { times, hours } = this;
    const days = DAYS.map(([day]) => day).filter((day) => fields.getAll("day").includes(day));
    if (hours !== null && days.length === 0) {
      this.work.fail("Choose at least one day on which your agent stays awake.");
      return;
    }
    const wanted: OwnTimes = {
      idleMinutes: fields.has("idle") ? number(text("idle")) : times.idleMinutes,
      heartbeatMinutes: fields.has("heartbeat")
        ? number(text("heartbeat"))
        : times.heartbeatMinutes,
      officeHours:
        hours === null
          ? null
          : {
              timeZone: hours.timeZone || zone(),
              days: days as OfficeHours["days"],
              from: text("from"),
              to: text("to"),
            },
    };
    await this.work.run(async () => {
      this.times = await this.agent.setTimes(wanted);
      this.hours = this.times.officeHours;
      this.dispatchEvent(new CustomEvent("changed"));
    }, "Saved.");
  };
}

/** What a heartbeat costs: calls a day, and money as far as it is known from those that ran. */
export function heartbeatCost(minutes: number | null, used: readonly UsageRow[] | null): string {
  const calls = sum(used ?? [], ({ requests }) => requests);
  const past =
    used === null || calls === 0 ? "" : ` The last 30 days: ${calls} calls for ${costOf(used)}.`;
  if (minutes === null) {
    return `With a heartbeat your agent takes a turn by itself now and then, to look after open
      tasks. Each one wakes it and costs a model call.${past}`;
  }
  const aDay = Math.round(1440 / minutes);
  const known = used?.filter(({ costUsd }) => costUsd !== null) ?? [];
  const average =
    sum(known, ({ costUsd }) => costUsd ?? 0) /
    Math.max(
      1,
      sum(known, (row) => row.requests),
    );
  const guess = average === 0 ? "" : `, about ${dollars(average * aDay)} a day`;
  return `${aDay === 1 ? "One wake and model call" : `${aDay} wakes and model calls`} a day${guess}.${past}`;
}

function withValue(choices: readonly number[], value: number | null): readonly number[] {
  return value === null || choices.includes(value)
    ? choices
    : [...choices, value].sort((one, other) => one - other);
}

function interval(minutes: number): string {
  if (minutes % 60 !== 0) return `${minutes} minutes`;
  return minutes === 60 ? "1 hour" : `${minutes / 60} hours`;
}

function number(text: string): number | null {
  return text === "" ? null : Number(text);
}

function zone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-times": AgentTimes;
  }
}
