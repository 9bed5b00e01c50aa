/** Shown while an agent is provisioned: the elapsed time, since there is no percentage to show. */

import { LitElement, css, html } from "lit";
import { customElement, property } from "lit/decorators.js";

import { base } from "../styles/controls";

const TICK_MS = 1_000;
const LONG_S = 75;

@customElement("setup-progress")
export class SetupProgress extends LitElement {
  @property() detail: string | null = null;
  @property() since: string | null = null;

  private readonly shownAt = Date.now();
  private timer = 0;

  static override styles = [
    base,
    css`
      :host {
        display: block;
        margin: auto;
        padding: 1rem;
        max-width: 30rem;
        text-align: center;
      }
      h2 {
        margin: 0 0 0.5rem;
        font-size: 1.375rem;
        line-height: 1.3;
      }
      p {
        margin: 0 0 0.75rem;
        color: var(--muted);
      }
      .bar {
        height: 4px;
        margin: 1.5rem auto;
        width: 12rem;
        border-radius: 2px;
        background: var(--line);
        overflow: hidden;
      }
      .bar::before {
        content: "";
        display: block;
        width: 35%;
        height: 100%;
        border-radius: 2px;
        background: var(--accent);
        animation: glide 1.6s ease-in-out infinite alternate;
      }
      @keyframes glide {
        to {
          transform: translateX(186%);
        }
      }
      .elapsed {
        font-variant-numeric: tabular-nums;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.timer = window.setInterval(() => this.requestUpdate(), TICK_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  override render() {
    const elapsed = this.elapsedS();
    return html`
      <h2>Setting up your agent</h2>
      <p>
        ${this.detail ?? "Its private workspace is being created; then it starts for the first time."}
      </p>
      <div class="bar" role="progressbar" aria-label="Setting up your agent"></div>
      <p class="elapsed">
        ${elapsed > 2 * 60 ? `${Math.floor(elapsed / 60)} min` : `${elapsed} s`}${
          elapsed > LONG_S
            ? " – this is taking longer than usual. You don’t have to wait here."
            : " – usually under a minute, and only the first time."
        }
      </p>
      <p>
        You can already write. Your message is kept in this browser and sent when your agent is
        ready and this page is open.
      </p>
    `;
  }

  /** Seconds since provisioning began, or since this view opened when the clocks disagree. */
  private elapsedS(): number {
    const since = this.since === null ? NaN : new Date(this.since).getTime();
    const begun = since <= this.shownAt ? since : this.shownAt;
    return Math.max(0, Math.floor((Date.now() - begun) / 1_000));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "setup-progress": SetupProgress;
  }
}
