/** A banner over the conversation: what is wrong, and a button to retry. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";

import type { Api } from "../api/client";
import { RequestState } from "../api/request-state";
import type { ChatSession } from "../chat/session";
import type { ChatState } from "../chat/state";
import { base, controls } from "../styles/controls";

interface Trouble {
  readonly text: string;
  readonly action: { readonly label: string; readonly run: () => void } | null;
}

@customElement("trouble-banner")
export class TroubleBanner extends LitElement {
  @property({ attribute: false }) session!: ChatSession;
  @property({ attribute: false }) chat!: ChatState;
  @property({ attribute: false }) api!: Api;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    css`
      :host {
        position: absolute;
        inset: 0.5rem 0.75rem auto;
        z-index: 1;
        pointer-events: none;
      }
      .banner {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.5rem 1rem;
        max-width: var(--column);
        margin: 0 auto;
        padding: 0.625rem 0.625rem 0.625rem 1rem;
        border: 1px solid var(--danger);
        border-radius: var(--radius);
        background: var(--danger-soft);
        box-shadow: var(--shadow);
        color: var(--danger);
        pointer-events: auto;
      }
      p {
        flex: 1 1 16rem;
        margin: 0;
        overflow-wrap: anywhere;
      }
    `,
  ];

  override render() {
    const trouble = this.trouble();
    // Always rendered: screen readers announce only changes inside an existing live region.
    return html`<div aria-live="polite">
      ${
        trouble === null
          ? nothing
          : html`<div class="banner">
              <p>
                ${trouble.text}${this.work.problem === "" ? nothing : html`<br />${this.work.problem}`}
              </p>
              ${
                trouble.action === null
                  ? nothing
                  : html`<button
                      class="small danger"
                      ?disabled=${this.work.busy}
                      @click=${trouble.action.run}
                    >
                      ${trouble.action.label}
                    </button>`
              }
            </div>`
      }
    </div>`;
  }

  private trouble(): Trouble | null {
    const { connection, status } = this.chat;
    if (connection === "offline") {
      return {
        text: "You are offline. What you write is kept and sent when you are back online.",
        action: null,
      };
    }
    if (connection === "waiting") {
      return {
        text: "No connection to the server. Reconnecting; what you write is kept.",
        action: { label: "Try now", run: () => this.session.reconnect() },
      };
    }
    if (connection !== "open") return null;
    if (status?.state !== "failed" && status?.state !== "unreachable") return null;
    const fallback =
      status.state === "failed"
        ? "Your agent could not be started."
        : "Your agent cannot be reached right now.";
    return {
      text: status.detail ?? fallback,
      action: { label: "Try again", run: () => void this.provision() },
    };
  }

  private async provision(): Promise<void> {
    await this.work.run(() => this.api.provision());
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "trouble-banner": TroubleBanner;
  }
}
