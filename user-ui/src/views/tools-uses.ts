/** The last uses of tools: which, when, how it went, and the arguments' shape but no value. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { UseView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { ToolsApi } from "../api/tools";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { durationText, outcomeTag } from "../tools/uses";
import { visibleName } from "../tools/visible-text";
import { sectionStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("tools-uses")
export class ToolsUses extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private uses: readonly UseView[] | null = null;

  private readonly loading = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    toolsStyles,
    css`
      li {
        min-height: 0;
      }
    `,
  ];

  override render() {
    const { uses } = this;
    return html`
      <h2>Last uses</h2>
      <p class="muted">Of arguments only names, types and sizes are kept; of results nothing.</p>
      <details @toggle=${this.onToggle}>
        <summary>Show the last uses</summary>
        ${uses?.length === 0 ? html`<p>Your agent has used no tool yet.</p>` : nothing}
        <ul>
          ${(uses ?? []).map((use) => this.use(use))}
        </ul>
        ${this.loading.outcome()}
      </details>
    `;
  }

  private use(use: UseView) {
    const { text, kind } = outcomeTag(use.outcome);
    const server = visibleName(use.server || "a deleted server");
    return html`<li>
      <div>
        <bdi>${visibleName(use.tool)}</bdi> <span class="muted">of <bdi>${server}</bdi></span>
        <span class="tag ${kind}">${text}</span>
        <div class="muted small">
          ${fullLabel(new Date(use.at).getTime())} · ${durationText(use.milliseconds)}
        </div>
        <div class="small"><code>${visibleName(use.shape, 500)}</code></div>
      </div>
    </li>`;
  }

  /** Each opening reads them anew. */
  private readonly onToggle = (event: Event) => {
    if (!(event.target as HTMLDetailsElement).open) return;
    void this.loading.run(async () => void (this.uses = await new ToolsApi(this.api).uses()));
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-uses": ToolsUses;
  }
}
