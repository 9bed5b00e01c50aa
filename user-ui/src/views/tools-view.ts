/** The page of the user's tools: decisions, servers and last uses. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { Me } from "../api/generated";
import type { ChatSession } from "../chat/session";
import { base } from "../styles/controls";
import { pageStyles } from "./settings-styles";
import "./tools-decisions";
import "./tools-servers";
import type { ToolsServers } from "./tools-servers";
import "./tools-uses";

@customElement("tools-view")
export class ToolsView extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) session!: ChatSession;
  @property({ attribute: false }) me!: Me;
  @query("h1") private heading!: HTMLElement | null;
  @query("tools-servers") private servers!: ToolsServers;

  static override styles = [
    base,
    pageStyles,
    css`
      .about {
        margin: 0 0 1.25rem;
        color: var(--muted);
      }
    `,
  ];

  override firstUpdated(): void {
    this.heading?.focus();
  }

  override render() {
    const { user } = this.me;
    return html`<div class="column">
      <h1 tabindex="-1">Tools</h1>
      <p class="about">
        What your agent can use, through tool servers (MCP), with your own keys and under your
        rules.
        ${
          user.role === "admin"
            ? html`Servers for everybody are under <a href="/settings">Settings</a>.`
            : nothing
        }
      </p>
      <tools-decisions
        .api=${this.api}
        .session=${this.session}
        email=${user.email}
        @rules-changed=${() => this.servers.reload()}
      ></tools-decisions>
      <tools-servers .api=${this.api}></tools-servers>
      <tools-uses .api=${this.api}></tools-uses>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-view": ToolsView;
  }
}
