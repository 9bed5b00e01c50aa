/** The agents' host: its memory over the last day, wake times, and what was refused. */

import { LitElement, css, html, nothing, svg } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import { memoryLine, wakeDots, type Dot } from "../admin/plots";
import { bytes, took } from "../agent/day";
import type { AdminApi } from "../api/admin";
import type { HostAnswer, RefusedWake } from "../api/generated";
import { RequestState } from "../api/request-state";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { plotStyles } from "./admin-styles";
import { sectionStyles } from "./settings-styles";

const REFRESH_MS = 30_000;

@customElement("admin-host")
export class AdminHost extends LitElement {
  @property({ attribute: false }) admin!: AdminApi;
  @state() private host: HostAnswer | null = null;

  private readonly work = new RequestState(this);
  private timer = 0;

  static override styles = [
    base,
    controls,
    sectionStyles,
    plotStyles,
    css`
      dl {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
        gap: 0.75rem 1rem;
        margin: 0 0 1rem;
      }
      dt {
        color: var(--muted);
        font-size: 0.8125rem;
      }
      dd {
        margin: 0;
      }
    `,
  ];

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
      <h2>Host</h2>
      ${this.work.outcome()} ${this.host === null ? nothing : this.shown(this.host)}
    `;
  }

  private shown({ now, day }: HostAnswer) {
    const memory = now.memory?.host;
    const counts = now.hibernation;
    return html`
      ${now.problems?.map((problem) => html`<p class="problem">${problem}</p>`)}
      <dl>
        ${fact("Agents awake", counts.running ?? 0)} ${fact("Asleep", counts.paused ?? 0)}
        ${fact("Stopped", counts.stopped ?? 0)}
        ${memory === undefined ? nothing : fact("Memory free", free(memory.available, memory.total))}
        ${
          memory === undefined
            ? nothing
            : fact(
                "Swap free",
                free(memory.swapDiskFree + memory.swapZramFree, memory.swapDisk + memory.swapZram),
              )
        }
      </dl>
      ${now.memory?.advice?.map((advice) => html`<p class="small muted">${advice}</p>`)}
      <h3>Memory in use, the last 24 hours</h3>
      ${this.memory(day.samples)}
      <h3>Wake times, the last 24 hours</h3>
      ${this.wakes(wakeDots(day.wakes, Date.now()))}
      <h3>Refused wakes</h3>
      ${day.refused.length === 0 ? html`<p>None.</p>` : refusals(day.refused)}
    `;
  }

  private memory(samples: HostAnswer["day"]["samples"]) {
    if (samples.length < 2) {
      return html`<p class="muted">There is a sample each minute; the plot begins with two.</p>`;
    }
    const most = Math.max(...samples.map((one) => (one.total - one.available) / one.total));
    return html`<svg
        class="plot"
        role="img"
        aria-label="Memory in use, at most ${Math.round(most * 100)} percent"
        viewBox="0 0 1440 100"
        preserveAspectRatio="none"
      >
        ${svg`<polyline class="line" points=${memoryLine(samples, Date.now())}></polyline>`}
      </svg>
      <div class="scale" aria-hidden="true">
        <span>24 h ago</span><span>at most ${Math.round(most * 100)} %</span><span>now</span>
      </div>`;
  }

  private wakes({ dots, median, slowest }: ReturnType<typeof wakeDots>) {
    if (dots.length === 0) return html`<p>No agent was woken.</p>`;
    const text = `${dots.length} wakes, half of them within ${took(median)}, the slowest in ${took(slowest)}`;
    return html`<svg
        class="plot"
        role="img"
        aria-label=${text}
        viewBox="0 0 1440 100"
        preserveAspectRatio="none"
      >
        ${dots.map(
          ({ x, y, cold }: Dot) =>
            svg`<rect class="dot ${cold ? "stopped" : ""}" x=${x - 3} y=${y - 2} width="6"
              height="4"></rect>`,
        )}
      </svg>
      <div class="scale" aria-hidden="true">
        <span>24 h ago</span><span>0.01 s at the bottom, 100 s at the top</span><span>now</span>
      </div>
      <p class="small">${text}.</p>`;
  }

  private async load(): Promise<void> {
    this.host = await this.admin.host();
  }
}

function refusals(refused: readonly RefusedWake[]) {
  const memory = refused.filter(({ why }) => why === "memory").length;
  const last = refused.at(-1);
  return html`<p>
    ${refused.length} in the last 24 hours: ${memory} because no memory was free,
    ${refused.length - memory} because too many wakes waited.
    ${last === undefined ? nothing : html`The last one: ${fullLabel(Date.parse(last.at))}.`} More
    memory, more swap (<code>./ocmt memory enable</code>) or fewer agents prevent it.
  </p>`;
}

function fact(name: string, value: string | number) {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`;
}

function free(available: number, total: number): string {
  return total === 0 ? "none" : `${bytes(available)} of ${bytes(total)}`;
}

declare global {
  interface HTMLElementTagNameMap {
    "admin-host": AdminHost;
  }
}
