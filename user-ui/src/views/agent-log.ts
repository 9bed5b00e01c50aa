/** The last lines of the agent's own log, on request. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { AgentApi } from "../api/agent";
import { RequestState } from "../api/request-state";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

/** Colours and other orders to a terminal, and control characters but line ends and tabs. */
// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /\u001b\[[0-9;]*[A-Za-z]|[\u0000-\u0008\u000b-\u001f\u007f]/g;

@customElement("agent-log")
export class AgentLog extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @state() private text: string | null = null;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      pre {
        max-height: 24rem;
        margin: 0 0 1rem;
        padding: 0.75rem;
        overflow: auto;
        border-radius: 10px;
        background: var(--sunken);
        font-family: var(--mono);
        font-size: 0.8125rem;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
    `,
  ];

  override render() {
    return html`
      <h2>Log</h2>
      <p class="muted">
        What your agent’s OpenClaw wrote last, for when something does not work. Only you see it
        here.
      </p>
      ${
        this.text === null
          ? nothing
          : this.text === ""
            ? html`<p>The log is empty.</p>`
            : html`<pre tabindex="0" aria-label="Log">${this.text}</pre>`
      }
      <button class="small plain" ?disabled=${this.work.busy} @click=${this.load}>
        ${this.text === null ? "Show the log" : "Read again"}
      </button>
      ${this.work.outcome()}
    `;
  }

  private readonly load = async () => {
    await this.work.run(async () => {
      this.text = (await this.agent.log()).replace(UNPRINTABLE, "");
    });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-log": AgentLog;
  }
}
