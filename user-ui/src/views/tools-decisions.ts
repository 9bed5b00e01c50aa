/**
 * The inbox: calls that wait for the user's decision, and what became of the last others.
 *
 * The server's list is loaded once per connection; the chat's socket brings each change after it.
 */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, queryAll, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Api } from "../api/client";
import type { ApprovalView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { ToolsApi } from "../api/tools";
import type { ChatSession } from "../chat/session";
import { withApproval } from "../chat/store";
import "../components/decision-card";
import type { DecisionCard } from "../components/decision-card";
import { base, controls } from "../styles/controls";
import { inbox } from "../tools/approval-texts";
import { wantedNumber } from "./location";
import { sectionStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("tools-decisions")
export class ToolsDecisions extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) session!: ChatSession;
  @property() email = "";
  @state() private approvals: readonly ApprovalView[] = [];
  @state() private loaded = false;
  @state() private showsPast = false;
  @queryAll("decision-card") private cards!: NodeListOf<DecisionCard>;

  private readonly loading = new RequestState(this);
  private connected = false;
  /** The call that the page's address names, until it was shown. */
  private wanted = wantedNumber();
  /** Calls that were decided here: they stay where they were. */
  private readonly decidedHere = new Set<string>();

  static override styles = [
    base,
    controls,
    sectionStyles,
    toolsStyles,
    css`
      decision-card {
        margin: 0.75rem 0;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.session.addEventListener("change", this.onChange);
    this.connected = this.session.state.connection === "open";
    this.follow();
    void this.load();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.session.removeEventListener("change", this.onChange);
  }

  override render() {
    const { open, past } = inbox(this.approvals, this.decidedHere);
    return html`
      <h2>Decisions</h2>
      ${
        open.length === 0 && this.loaded
          ? html`<p class="muted">
              No call waits for your decision. Tools with the rule “Ask first” ask here and in the
              chat.
            </p>`
          : nothing
      }
      ${repeat(open, ({ id }) => id, this.card)}
      ${
        past.length === 0
          ? nothing
          : html`<details ?open=${this.showsPast} @toggle=${this.onToggle}>
              <summary>Earlier calls (${past.length})</summary>
              ${this.showsPast ? repeat(past, ({ id }) => id, this.card) : nothing}
            </details>`
      }
      ${this.loading.outcome()}
    `;
  }

  override willUpdate(): void {
    if (this.wanted === null || !this.loaded) return;
    const { open, past } = inbox(this.approvals, this.decidedHere);
    if (past.some(({ number }) => number === this.wanted)) this.showsPast = true;
    else if (!open.some(({ number }) => number === this.wanted)) this.wanted = null;
  }

  override updated(): void {
    if (this.wanted === null || !this.loaded) return;
    const card = [...this.cards].find(({ approval }) => approval.number === this.wanted);
    if (card !== undefined) {
      this.wanted = null;
      card.scrollIntoView({ block: "center" });
      card.focus({ preventScroll: true });
    }
  }

  private readonly card = (approval: ApprovalView) =>
    html`<decision-card
      whole
      tabindex="-1"
      .api=${this.api}
      .approval=${approval}
      email=${this.email}
      @decided=${this.onDecided}
      @undecided=${() => void this.load()}
    ></decision-card>`;

  private async load(): Promise<void> {
    await this.loading.run(async () => {
      for (const approval of await new ToolsApi(this.api).approvals()) this.add(approval);
      this.loaded = true;
    });
  }

  private add(approval: ApprovalView): void {
    this.approvals = withApproval(this.approvals, approval);
  }

  /** Take what the socket has brought. */
  private follow(): void {
    for (const approval of this.session.state.approvals) this.add(approval);
  }

  private readonly onChange = () => {
    const open = this.session.state.connection === "open";
    // What ended while there was no connection is only in the server's list.
    if (open && !this.connected) void this.load();
    this.connected = open;
    this.follow();
  };

  private readonly onDecided = ({ detail }: CustomEvent<ApprovalView>) => {
    this.decidedHere.add(detail.id);
    this.add(detail);
    if (detail.decision === "always") this.dispatchEvent(new CustomEvent("rules-changed"));
  };

  private readonly onToggle = (event: Event) => {
    this.showsPast = (event.target as HTMLDetailsElement).open;
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-decisions": ToolsDecisions;
  }
}
