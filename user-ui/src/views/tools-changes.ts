/** A server's definitions that the user has not accepted, as readable changes. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { ChangeView, ServerView } from "../api/generated";
import { RequestState } from "../api/request-state";
import type { ToolsApi } from "../api/tools";
import { base, controls } from "../styles/controls";
import { diffLines, STATE_NOTES, type DiffLine } from "../tools/definitions";
import { visible, visibleName } from "../tools/visible-text";

const MARKS: Record<DiffLine["kind"], string> = { added: "+", removed: "−", same: " ", gap: "⋯" };
const WORDS: Record<DiffLine["kind"], string> = {
  added: "added: ",
  removed: "removed: ",
  same: "",
  gap: "unchanged lines",
};

@customElement("tools-changes")
export class ToolsChanges extends LitElement {
  @property({ attribute: false }) tools!: ToolsApi;
  @property({ attribute: false }) server!: ServerView;
  @state() private changes: readonly ChangeView[] = [];

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
      }
      section {
        margin: 0.75rem 0;
        padding: 0.75rem;
        border: 1px solid var(--line);
        border-radius: 10px;
      }
      h4 {
        margin: 0;
        font-size: 0.9375rem;
        overflow-wrap: anywhere;
      }
      p {
        margin: 0.25rem 0 0.625rem;
      }
      .diff {
        max-height: 24rem;
        margin-bottom: 0.75rem;
        overflow-y: auto;
        border: 1px solid var(--line);
        border-radius: 8px;
        background: var(--sunken);
        font-family: var(--mono);
        font-size: 0.8125rem;
        line-height: 1.5;
      }
      .line {
        display: grid;
        grid-template-columns: 1.25rem minmax(0, 1fr);
        padding: 0 0.5rem;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
      .added {
        background: var(--accent-soft);
        color: var(--accent-strong);
      }
      .removed {
        background: var(--danger-soft);
        color: var(--danger);
      }
      .gap {
        color: var(--muted);
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(() => this.load());
  }

  override render() {
    return html`
      ${this.work.busy && this.changes.length === 0 ? html`<p class="muted">Loading…</p>` : nothing}
      ${this.changes.map((change) => this.change(change))} ${this.work.outcome()}
    `;
  }

  private change(change: ChangeView) {
    const name = visibleName(change.tool);
    return html`<section aria-label=${`Change of ${name}`}>
      <h4><bdi>${name}</bdi></h4>
      <p class="muted">${STATE_NOTES[change.state]}</p>
      <div class="diff" role="group" tabindex="0" dir="ltr" aria-label=${`Definition of ${name}`}>
        ${diffLines(change.difference).map(
          ({ kind, text }) =>
            html`<div class="line ${kind}">
              <span aria-hidden="true">${MARKS[kind]}</span
              ><span><span class="unseen">${WORDS[kind]}</span>${visible(text)}</span>
            </div>`,
        )}
      </div>
      <button
        class="small"
        aria-label="Accept the definition of ${name}"
        ?disabled=${this.work.busy}
        @click=${() => this.accept(change)}
      >
        Accept
      </button>
    </section>`;
  }

  private async load(): Promise<void> {
    this.changes = await this.tools.changes(this.server.id);
  }

  private async accept({ tool, pin }: ChangeView): Promise<void> {
    const accepted = await this.work.run(
      async () => {
        const detail = await this.tools.accept(this.server.id, tool, pin);
        await this.load();
        this.dispatchEvent(new CustomEvent("server-changed", { detail }));
      },
      `${visibleName(tool)} was accepted.`,
    );
    // It may have changed once more: show the change of now beside the problem.
    if (!accepted)
      this.changes = await this.tools.changes(this.server.id).catch(() => this.changes);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-changes": ToolsChanges;
  }
}
