/** The agent's scheduled jobs, which only an agent that is awake can list. */

import { LitElement, css, html, nothing, type PropertyValues } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import { scheduleText } from "../agent/schedule";
import type { AgentApi } from "../api/agent";
import type { Job } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import { sectionStyles } from "./settings-styles";

const LOOK_AGAIN_MS = 2_000;

@customElement("agent-jobs")
export class AgentJobs extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @property({ type: Boolean }) awake = false;
  @state() private jobs: readonly Job[] | null = null;
  @state() private waking = false;

  private readonly work = new RequestState(this);
  private timer = 0;

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      .task {
        display: -webkit-box;
        overflow: hidden;
        -webkit-box-orient: vertical;
        -webkit-line-clamp: 2;
        line-clamp: 2;
      }
    `,
  ];

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("awake") || !this.awake) return;
    this.waking = false;
    void this.work.run(() => this.load());
  }

  override render() {
    return html`
      <h2>Scheduled jobs</h2>
      <p class="muted">
        What your agent does by itself at set times; it is woken for it. To add or change one, tell
        it in the chat, such as “every morning at 8, sum up the news”.
      </p>
      ${this.list()} ${this.work.outcome()}
    `;
  }

  private list() {
    if (!this.awake) {
      return html`<p>Your agent has to be awake to list its jobs.</p>
        <button class="small" ?disabled=${this.waking} @click=${this.onWake}>
          ${this.waking ? "Waking…" : "Wake and list"}
        </button>`;
    }
    if (this.jobs === null) return nothing;
    if (this.jobs.length === 0) return html`<p>No jobs.</p>`;
    return html`<ul>
      ${this.jobs.map((job) => this.row(job))}
    </ul>`;
  }

  private row(job: Job) {
    const name = visibleName(job.name);
    return html`<li>
      <div>
        ${name} ${job.enabled ? nothing : html`<span class="tag off">paused</span>`}
        ${job.running ? html`<span class="tag">running</span>` : nothing}
        ${job.editable ? nothing : html`<span class="tag">kept by OpenClaw</span>`}
        ${job.task === "" ? nothing : html`<div class="task small">${visibleName(job.task, 600)}</div>`}
        <div class="muted small">${visibleName(scheduleText(job))}${next(job)}</div>
        ${
          job.lastStatus === "error"
            ? html`<div class="small">
                Last run failed: ${visibleName(job.lastError ?? "", 600)}
              </div>`
            : nothing
        }
      </div>
      ${job.editable ? this.acts(job, name) : nothing}
    </li>`;
  }

  private acts(job: Job, name: string) {
    const what = html`<span class="unseen"> ${name}</span>`;
    return html`<div class="row">
      <button
        class="small plain"
        ?disabled=${this.work.busy}
        @click=${() => this.change(() => this.agent.runJob(job.id), `“${name}” was started.`)}
      >
        Run now${what}
      </button>
      <button
        class="small plain"
        ?disabled=${this.work.busy}
        @click=${() => this.change(() => this.agent.enableJob(job.id, !job.enabled))}
      >
        ${job.enabled ? "Pause" : "Resume"}${what}
      </button>
      <sure-button
        label="Delete"
        what=" ${name}"
        @sure=${() => this.change(() => this.agent.removeJob(job.id), `“${name}” was deleted.`)}
      ></sure-button>
    </div>`;
  }

  private async load(): Promise<void> {
    this.jobs = await this.agent.jobs();
  }

  private async change(send: () => Promise<unknown>, done = ""): Promise<void> {
    await this.work.run(async () => {
      await send();
      await this.load();
    }, done);
  }

  private readonly onWake = async () => {
    this.waking = await this.work.run(() => this.agent.wake());
    this.look();
  };

  /** Have the panel read again until the agent is awake. */
  private readonly look = () => {
    this.dispatchEvent(new CustomEvent("changed"));
    if (this.waking) this.timer = window.setTimeout(this.look, LOOK_AGAIN_MS);
  };
}

function next(job: Job): string {
  if (!job.enabled || job.nextRunAt == null) return "";
  return ` · next ${fullLabel(Date.parse(job.nextRunAt))}`;
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-jobs": AgentJobs;
  }
}
