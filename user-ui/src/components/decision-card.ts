/**
 * A call of a tool that waits for the user's decision, with its buttons; then what became of it.
 *
 * A card that has just appeared or changed takes no decision for a moment: a press that was meant
 * for what stood there before decides on nothing.
 */

import { LitElement, css, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { ApprovalView, Decision } from "../api/generated";
import { RequestState } from "../api/request-state";
import { isWaiting } from "../chat/state";
import { base, controls } from "../styles/controls";
import { alwaysText, changedText, outcomeText } from "../tools/approval-texts";
import { visibleName } from "../tools/visible-text";
import "./folded-text";
import { fullLabel, timeLabel } from "./times";

export const SETTLE_MS = 500;

@customElement("decision-card")
export class DecisionCard extends LitElement {
  @property({ attribute: false }) approval!: ApprovalView;
  @property({ attribute: false }) api!: Api;
  /** The user's address: whose account the call is for. */
  @property() email = "";
  /** Show the arguments of a call that was decided, too. */
  @property({ type: Boolean }) whole = false;
  @state() private settled = false;
  @query(".outcome") private outcome!: HTMLElement | null;

  private readonly work = new RequestState(this);
  private timer = 0;

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
        min-width: 0;
      }
      article {
        padding: 0.75rem 1rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
        overflow-wrap: anywhere;
      }
      article.waiting {
        border-color: var(--waking);
      }
      p {
        margin: 0.5rem 0 0;
      }
      p:first-child {
        margin: 0;
      }
      folded-text {
        margin-top: 0.5rem;
      }
      .small {
        font-size: 0.875rem;
      }
      .outcome:focus-visible {
        outline: 0; /* It has the focus for screen readers, and does nothing. */
      }
      .warning {
        padding: 0.5rem 0.75rem;
        border-radius: 10px;
        background: var(--waking-soft);
        color: var(--waking);
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
        margin-top: 0.75rem;
      }
    `,
  ];

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("approval") || !isWaiting(this.approval)) return;
    const before = changed.get("approval");
    if (before?.id === this.approval.id && before.version === this.approval.version) return;
    this.settled = false;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => (this.settled = true), SETTLE_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
    this.settled = true;
  }

  override render() {
    const { tool, server, number } = this.approval;
    const waits = isWaiting(this.approval);
    const account = this.email === "" ? nothing : html` for you (${this.email})`;
    return html`<article class=${waits ? "waiting" : ""} aria-label="Decision ${number}">
      <p>
        ${waits ? "Your agent wants to use" : "Your agent asked to use"}
        <strong><bdi>${visibleName(tool)}</bdi></strong> of
        <strong><bdi>${visibleName(server)}</bdi></strong
        >${account}.
      </p>
      ${waits || this.whole ? this.given() : nothing}
      <div aria-live="polite">
        ${
          waits
            ? this.warnings()
            : html`<p class="outcome" tabindex="-1">${outcomeText(this.approval)}</p>`
        }
      </div>
      ${waits ? this.buttons() : nothing} ${this.work.outcome()}
      ${waits || this.whole ? html`<p class="muted small">Number ${number} · ${this.times()}</p>` : nothing}
    </article>`;
  }

  private given() {
    const given = this.approval.arguments;
    return given === null
      ? html`<p class="muted small">Its arguments were erased.</p>`
      : html`<folded-text code what="arguments" .text=${given}></folded-text>`;
  }

  private warnings() {
    const changed = changedText(this.approval);
    const { repeats } = this.approval;
    return html`${changed === null ? nothing : html`<p class="warning small">${changed}</p>`}
    ${
      repeats === null
        ? nothing
        : html`<p class="small">
            This call repeats number ${repeats}, which you were already asked about.
          </p>`
    }`;
  }

  private buttons() {
    const refused = this.approval.alwaysRefused;
    return html`<div class="buttons">
        ${this.button("once", "Allow once", "")}
        ${refused === null ? this.button("always", "Always allow", "plain") : nothing}
        ${this.button("no", "Do not allow", "plain")}
      </div>
      <p class="muted small">${alwaysText(refused)}</p>`;
  }

  private button(decision: Decision, label: string, look: string) {
    return html`<button
      class="small ${look}"
      aria-label="${label}: ${visibleName(this.approval.tool)}, number ${this.approval.number}"
      ?disabled=${this.work.busy || !this.settled}
      @click=${() => this.decide(decision)}
    >
      ${label}
    </button>`;
  }

  private times() {
    const { createdAt, expiresAt, decidedAt } = this.approval;
    const asked = new Date(createdAt).getTime();
    if (isWaiting(this.approval)) {
      return html`asked ${timeLabel(asked, Date.now())}, can be decided until
      ${fullLabel(new Date(expiresAt).getTime())}`;
    }
    return decidedAt === null
      ? `asked ${fullLabel(asked)}`
      : `decided ${fullLabel(new Date(decidedAt).getTime())}`;
  }

  private async decide(decision: Decision): Promise<void> {
    const { id, version } = this.approval;
    const done = await this.work.run(async () => {
      const decided = await this.api.decide(id, decision, version);
      // A frame with a later state may have come first.
      if (decided.version > this.approval.version) this.approval = decided;
      this.dispatchEvent(new CustomEvent("decided", { detail: this.approval }));
    });
    if (!done) {
      this.dispatchEvent(new CustomEvent("undecided"));
      return;
    }
    await this.updateComplete;
    this.outcome?.focus();
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "decision-card": DecisionCard;
  }
}
