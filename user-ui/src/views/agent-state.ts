/** Why the agent is awake or asleep, its figures, and its last day as a picture. */

import { LitElement, css, html, nothing, svg } from "lit";
import { customElement, property } from "lit/decorators.js";

import { DAY_MS, bytes, reason, stretches, summary, took, wakes, type Kind } from "../agent/day";
import type { AgentApi } from "../api/agent";
import type { AgentPanelView, AgentState } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { timeLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

const STATES: Record<AgentState, string> = {
  none: "Not set up yet",
  provisioning: "Being set up",
  running: "Awake",
  paused: "Asleep",
  stopped: "Asleep",
  waking: "Waking",
  failed: "Not working",
  unreachable: "Unknown",
};
const KINDS: readonly (readonly [Kind, string])[] = [
  ["awake", "Awake"],
  ["job", "Awake for a job"],
  ["waking", "Waking"],
  ["asleep", "Asleep"],
  ["stopped", "Asleep, stopped"],
  ["trouble", "Trouble"],
];
/** Taller for more activity, so that colour is not the only difference. */
const HEIGHTS: Record<Kind, number> = {
  awake: 44,
  job: 36,
  waking: 28,
  asleep: 14,
  stopped: 6,
  trouble: 20,
};
const HOURS = [0, 6, 12, 18];

@customElement("agent-state")
export class AgentStateSection extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @property({ attribute: false }) panel!: AgentPanelView;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      .state {
        margin: 0 0 0.25rem;
        font-size: 1.125rem;
        font-weight: 600;
      }
      dl {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
        gap: 0.75rem 1rem;
        margin: 1rem 0;
      }
      dt {
        color: var(--muted);
        font-size: 0.8125rem;
      }
      dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      .day {
        display: block;
        width: 100%;
        height: 3.5rem;
        border-bottom: 1px solid var(--line);
      }
      .awake {
        fill: var(--accent);
        background: var(--accent);
      }
      .job {
        fill: var(--waking);
        background: var(--waking);
      }
      .waking {
        fill: var(--muted);
        background: var(--muted);
      }
      .asleep,
      .stopped {
        fill: var(--asleep);
        background: var(--asleep);
      }
      .trouble {
        fill: var(--danger);
        background: var(--danger);
      }
      .scale,
      .legend {
        display: flex;
        justify-content: space-between;
        margin: 0.25rem 0 0;
        color: var(--muted);
        font-size: 0.8125rem;
      }
      .legend {
        flex-wrap: wrap;
        justify-content: flex-start;
        gap: 0.25rem 1rem;
        margin: 0.5rem 0 1rem;
      }
      .legend li {
        display: inline-flex;
        min-height: 0;
        padding: 0;
        border: 0;
        gap: 0.375rem;
        flex: none;
      }
      .legend i {
        display: block;
        width: 0.75rem;
        height: 0.75rem;
        border-radius: 3px;
      }
      summary {
        cursor: pointer;
      }
      table {
        width: 100%;
        margin-top: 0.5rem;
        border-collapse: collapse;
        font-size: 0.9375rem;
      }
      th,
      td {
        padding: 0.25rem 0.5rem 0.25rem 0;
        border-top: 1px solid var(--line);
        text-align: left;
        vertical-align: top;
      }
      th {
        color: var(--muted);
        font-weight: 500;
      }
    `,
  ];

  override render() {
    const { panel } = this;
    const now = Date.now();
    const why = reason(panel);
    return html`
      <h2>State</h2>
      <p class="state">
        ${STATES[panel.state]}${
          panel.since === null ? nothing : html` since ${moment(panel.since, now)}`
        }
      </p>
      ${why === "" ? nothing : html`<p>${why}.</p>`}
      ${panel.warning ? html`<p class="problem">${panel.warning}</p>` : nothing}
      <dl>
        ${fact("Last used", lastUsed(panel, now))}
        ${fact("Next planned wake", nextWake(panel, now))} ${fact("Memory now", memory(panel))}
        ${fact("On disk", disk(panel))}
      </dl>
      <div class="row">
        ${
          panel.state === "paused" || panel.state === "stopped"
            ? html`<button class="small" ?disabled=${this.work.busy} @click=${this.wake}>
                Wake
              </button>`
            : nothing
        }
        ${
          panel.state === "none" || panel.state === "provisioning"
            ? nothing
            : html`<sure-button label="Restart" @sure=${this.restart}></sure-button>`
        }
      </div>
      ${this.work.outcome()} ${this.day(now)}
    `;
  }

  private day(now: number) {
    const day = stretches(this.panel.events, now);
    if (day.length === 0) return nothing;
    const last = wakes(this.panel.events, now);
    const begin = now - DAY_MS;
    const minute = (at: number): number => (at - begin) / 60_000;
    return html`
      <h3>The last 24 hours</h3>
      <svg
        class="day"
        role="img"
        aria-label=${summary(day)}
        viewBox="0 0 1440 48"
        preserveAspectRatio="none"
      >
        ${day.map(({ kind, from, to }) => {
          const width = Math.max(1, minute(to) - minute(from));
          const height = HEIGHTS[kind];
          return svg`<rect class=${kind} x=${minute(from)} y=${48 - height} width=${width}
            height=${height}></rect>`;
        })}
      </svg>
      <div class="scale" aria-hidden="true">
        ${HOURS.map((hours) => html`<span>${clock(begin + hours * 3_600_000)}</span>`)}
        <span>now</span>
      </div>
      <ul class="legend" aria-hidden="true">
        ${KINDS.filter(([kind]) => day.some((one) => one.kind === kind)).map(
          ([kind, name]) => html`<li><i class=${kind}></i>${name}</li>`,
        )}
      </ul>
      ${
        last.length === 0
          ? nothing
          : html`<details>
              <summary>
                ${last.length === 1 ? "1 wake" : `${last.length} wakes`}, with their times
              </summary>
              <table>
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">Woken</th>
                    <th scope="col">Took</th>
                  </tr>
                </thead>
                <tbody>
                  ${last.map(
                    ({ at, why, tookMs }) =>
                      html`<tr>
                        <td>${clock(at)}</td>
                        <td>${why}</td>
                        <td>${tookMs === null ? "" : took(tookMs)}</td>
                      </tr>`,
                  )}
                </tbody>
              </table>
            </details>`
      }
    `;
  }

  private readonly wake = () => this.order(() => this.agent.wake());

  private readonly restart = () =>
    this.order(() => this.agent.restart(), "Your agent is being restarted.");

  private async order(send: () => Promise<unknown>, done = ""): Promise<void> {
    await this.work.run(send, done);
    this.dispatchEvent(new CustomEvent("changed"));
  }
}

function fact(name: string, value: string | null) {
  return value === null
    ? nothing
    : html`<div>
        <dt>${name}</dt>
        <dd>${value}</dd>
      </div>`;
}

function memory({ memory, state }: AgentPanelView): string | null {
  if (memory === null) return state === "stopped" ? "none" : null;
  const swapped = memory.swap > 0 ? `, ${bytes(memory.swap)} in swap` : "";
  return `${bytes(memory.usage)}${swapped}`;
}

function disk({ disk }: AgentPanelView): string | null {
  if (disk?.bytes == null) return null;
  return `${bytes(disk.bytes)} of ${bytes(disk.limitBytes)}`;
}

function nextWake({ nextWakeAt, nextWakeFor, state }: AgentPanelView, now: number): string | null {
  if (state !== "paused" && state !== "stopped") return null;
  if (nextWakeAt === null) return "none";
  const why = nextWakeFor?.includes("office") ? "for its hours" : "for a job";
  return `${moment(nextWakeAt, now)}, ${why}`;
}

function lastUsed({ lastActivity }: AgentPanelView, now: number): string | null {
  if (lastActivity === null) return null;
  const at = Date.parse(lastActivity);
  return now - at < 3_600_000 ? timeLabel(at, now) : moment(lastActivity, now);
}

/** Within half a day the time, else the date as well. */
function moment(at: string, now: number): string {
  const time = Date.parse(at);
  return Math.abs(now - time) < DAY_MS / 2
    ? clock(time)
    : new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

function clock(at: number): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-state": AgentStateSection;
  }
}
