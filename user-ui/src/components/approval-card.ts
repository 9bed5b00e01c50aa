/**
 * A call of a tool that waits for the user's decision, or what became of it.
 *
 * A card that has just appeared or changed takes no decision for a moment: a press that was meant
 * for what stood there before decides on nothing.
 */

import { LitElement, css, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { ApprovalView, Decision } from "../api/generated";
import { RequestState } from "../api/request-state";
import { ToolsApi } from "../api/tools";
import { isWaiting } from "../chat/approvals";
import { base, controls } from "../styles/controls";
import { changedText, outcomeText } from "../tools/approval-texts";
import { visibleName } from "../tools/visible-text";
import "./folded-text";
import { fullLabel, timeLabel } from "./times";

export const SETTLE_MS = 500;

@customElement("approval-card")
export class ApprovalCard extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) approval!: ApprovalView;
  /** The user's address: whose account the call is for. */
  @property() email = "";
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
        padding: 0.875rem 1rem;
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
      #title {
        margin: 0 0 0.375rem;
        font-weight: 600;
        line-height: 1.4;
      }
      .question {
        margin: 0 0 0.5rem;
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
      .acts {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
        margin-top: 0.75rem;
      }
      .acts button {
        min-width: 4.5rem;
        padding-inline: 0.875rem;
      }
    `,
  ];

  override willUpdate(changed: PropertyValues<this>): void {
    const before = changed.get("approval");
    if (!changed.has("approval") || !isWaiting(this.approval)) return;
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
    const { tool, server, arguments: given, number } = this.approval;
    const waits = isWaiting(this.approval);
    const name = visibleName(tool);
    return html`<article class=${waits ? "waiting" : ""} aria-labelledby="title">
      <p id="title">
        ${waits ? "Your agent wants to call" : "Call"} <bdi>${name}</bdi> of
        <bdi>${visibleName(server)}</bdi>
      </p>
      ${waits ? this.question() : nothing}
      ${
        given === null
          ? html`<p class="muted small">Its arguments were erased.</p>`
          : html`<folded-text code what="arguments" .text=${given}></folded-text>`
      }
      <div aria-live="polite">
        ${waits ? this.warnings() : html`<p class="outcome" tabindex="-1">${outcomeText(this.approval)}</p>`}
      </div>
      ${waits ? this.acts(name) : nothing} ${this.work.outcome()}
      <p class="muted small">Number ${number} · ${this.times()}</p>
    </article>`;
  }

  private question() {
    return html`<p class="small question">
      For you${this.email === "" ? nothing : html` (${this.email})`}, with these arguments:
    </p>`;
  }

  private warnings() {
    const changed = changedText(this.approval);
    const { repeats } = this.approval;
    return html`${changed === null ? nothing : html`<p class="warning small">${changed}</p>`}
    ${
      repeats === null
        ? nothing
        : html`<p class="small">The same call was made before: number ${repeats}.</p>`
    }`;
  }

  private acts(name: string) {
    const off = this.work.busy || !this.settled;
    const button = (label: string, kind: string, decision: Decision) =>
      html`<button
        class=${kind}
        aria-label="${label} ${name}, number ${this.approval.number}"
        ?disabled=${off}
        @click=${() => this.decide(decision)}
      >
        ${label}
      </button>`;
    return html`<div class="acts">
        ${button("Once", "", "once")} ${button("Always", "plain", "always")}
        ${button("No", "danger", "no")}
      </div>
      <p class="muted small">
        “Always” also runs later calls of this tool without asking, until its definition changes.
      </p>`;
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
      const detail = await new ToolsApi(this.api).decide(id, decision, version);
      this.dispatchEvent(new CustomEvent("decided", { detail }));
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
    "approval-card": ApprovalCard;
  }
}
