/** The panel of the user's agent: state, times, jobs, files and log. Reading it wakes nothing. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { AgentApi } from "../api/agent";
import type { Api } from "../api/client";
import type { AgentPanelView, Me } from "../api/generated";
import { RequestState } from "../api/request-state";
import { base, controls } from "../styles/controls";
import "./agent-files";
import "./agent-identity";
import "./agent-jobs";
import "./agent-log";
import "./agent-state";
import "./agent-times";
import { pageStyles } from "./settings-styles";

const REFRESH_MS = 10_000;

@customElement("agent-view")
export class AgentPanelPage extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  @state() private panel: AgentPanelView | null = null;
  @query("h1") private heading!: HTMLElement | null;

  private readonly loading = new RequestState(this);
  private agent: AgentApi | null = null;
  private timer = 0;

  static override styles = [
    base,
    controls,
    pageStyles,
    css`
      .about {
        margin: 0 0 1.25rem;
        color: var(--muted);
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("visibilitychange", this.onVisibility);
    this.timer = window.setInterval(this.onVisibility, REFRESH_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearInterval(this.timer);
  }

  /** Not when it is connected: then an element that was in the page first has no properties yet. */
  override willUpdate(): void {
    this.agent ??= new AgentApi(this.api);
  }

  override firstUpdated(): void {
    this.heading?.focus();
    void this.loading.run(() => this.load());
  }

  override render() {
    const panel = this.panel;
    return html`<div class="column">
      <h1 tabindex="-1">Your agent</h1>
      <p class="about">Looking at this page does not wake your agent.</p>
      ${this.loading.outcome()}
      ${
        panel === null
          ? nothing
          : html`<agent-state
                .agent=${this.agent}
                .panel=${panel}
                @changed=${this.onChanged}
              ></agent-state>
              ${
                panel.times === null
                  ? nothing
                  : html`<agent-times
                      .agent=${this.agent}
                      .times=${panel.times}
                      @changed=${this.onChanged}
                    ></agent-times>`
              }
              <agent-identity .agent=${this.agent} .me=${this.me}></agent-identity>
              <agent-jobs
                .agent=${this.agent}
                .awake=${panel.state === "running"}
                @changed=${this.onChanged}
              ></agent-jobs>
              <agent-files .agent=${this.agent}></agent-files>
              <agent-log .agent=${this.agent}></agent-log>`
      }
    </div>`;
  }

  private async load(): Promise<void> {
    if (this.agent !== null) this.panel = await this.agent.panel();
  }

  private readonly onChanged = () => void this.load().catch(() => undefined);

  /** Also each `REFRESH_MS`. A failed refresh leaves what is shown; the pill tells of trouble. */
  private readonly onVisibility = () => {
    if (document.visibilityState === "visible") this.onChanged();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-view": AgentPanelPage;
  }
}
