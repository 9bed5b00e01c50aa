/** The admin's page: people with their agents, invitations, the host, and the audit trail. */

import { LitElement, css, html } from "lit";
import { customElement, property, query } from "lit/decorators.js";

import { AdminApi } from "../api/admin";
import type { Api } from "../api/client";
import type { Me } from "../api/generated";
import { base } from "../styles/controls";
import "./admin-audit";
import "./admin-host";
import "./admin-invitations";
import "./admin-people";
import { pageStyles } from "./settings-styles";

@customElement("admin-view")
export class AdminView extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  @query("h1") private heading!: HTMLElement | null;

  private admin!: AdminApi;

  static override styles = [
    base,
    pageStyles,
    css`
      .column {
        max-width: 64rem;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.admin = new AdminApi(this.api);
  }

  override firstUpdated(): void {
    this.heading?.focus();
  }

  override render() {
    if (this.me.user.role !== "admin") {
      return html`<div class="column">
        <h1 tabindex="-1">Administration</h1>
        <p>Only an admin of this installation sees this page.</p>
      </div>`;
    }
    return html`<div class="column">
      <h1 tabindex="-1">Administration</h1>
      <admin-people .admin=${this.admin} .myId=${this.me.user.id}></admin-people>
      <admin-invitations .admin=${this.admin} ?mail=${this.me.mail}></admin-invitations>
      <admin-host .admin=${this.admin}></admin-host>
      <admin-audit .admin=${this.admin}></admin-audit>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "admin-view": AdminView;
  }
}
