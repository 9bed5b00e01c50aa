/** A call of a tool that waits for the user's decision, with its buttons; then what became of it. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { ApprovalChange, ApprovalState, ApprovalView, Decision } from "../api/generated";
import { sentence } from "../api/problem";
import { base, controls } from "../styles/controls";

const OUTCOMES: Record<Exclude<ApprovalState, "waiting">, string> = {
  approved: "Allowed. It runs in a moment.",
  running: "Allowed. It is running…",
  done: "Allowed, and done.",
  failed: "Allowed, but it failed. Your agent has the reason.",
  denied: "Not allowed.",
  expired: "Nobody decided within a day, so it did not run.",
  uncertain:
    "Allowed, but a server failed while it ran. It may have had its effect and is not repeated: " +
    "check before you ask for it again.",
};

const CHANGES: Record<ApprovalChange, string> = {
  definition: "the tool's definition",
  rule: "its rule",
  credential: "your credential",
  server: "the server's settings",
  account: "your account's status",
};

@customElement("decision-card")
export class DecisionCard extends LitElement {
  @property({ attribute: false }) approval!: ApprovalView;
  @property({ attribute: false }) api!: Api;
  @state() private busy = false;
  @state() private problem = "";

  static override styles = [
    base,
    controls,
    css`
      article {
        padding: 0.75rem 1rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
      }
      p {
        margin: 0 0 0.5rem;
        overflow-wrap: anywhere;
      }
      p:last-child {
        margin: 0;
      }
      pre {
        max-height: 12rem;
        margin: 0 0 0.75rem;
        padding: 0.5rem 0.75rem;
        overflow: auto;
        border-radius: var(--radius);
        background: var(--sunken);
        font-size: 0.8125rem;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
      }
      .problem {
        color: var(--danger);
      }
    `,
  ];

  override render() {
    const { tool, server, number, state } = this.approval;
    return html`<article aria-label="Decision ${number}">
      <p>
        ${state === "waiting" ? "Your agent wants to use" : "Your agent asked to use"}
        <strong>${tool}</strong> of <strong>${server}</strong>.
      </p>
      ${
        state === "waiting"
          ? this.question()
          : html`<p role="status">${this.approval.detail ?? OUTCOMES[state]}</p>`
      }
    </article>`;
  }

  private question() {
    const { arguments: shown, changed, repeats } = this.approval;
    return html`
      <pre tabindex="0" aria-label="Arguments">${shown}</pre>
      ${
        changed.length === 0
          ? nothing
          : html`<p>
              Changed since you were first asked: ${changed.map((one) => CHANGES[one]).join(", ")}.
            </p>`
      }
      ${
        repeats === null
          ? nothing
          : html`<p>This call repeats number ${repeats}, which you were asked about before.</p>`
      }
      <div class="buttons">
        ${this.button("once", "Allow once", "small")}
        ${this.button("always", "Always allow", "small plain")}
        ${this.button("no", "Do not allow", "small plain")}
      </div>
      <p class="problem" role="alert">${this.problem}</p>
    `;
  }

  private button(decision: Decision, label: string, look: string) {
    return html`<button class=${look} ?disabled=${this.busy} @click=${() => this.decide(decision)}>
      ${label}
    </button>`;
  }

  private async decide(decision: Decision): Promise<void> {
    const { id, version } = this.approval;
    this.busy = true;
    this.problem = "";
    try {
      const decided = await this.api.decide(id, decision, version);
      // A frame with a later state may have come first.
      if (decided.version > this.approval.version) this.approval = decided;
    } catch (error) {
      this.problem = sentence(error);
    } finally {
      this.busy = false;
    }
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "decision-card": DecisionCard;
  }
}
