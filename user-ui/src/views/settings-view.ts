/** The settings page. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { again } from "../api/again";
import type { Api } from "../api/client";
import type { Me } from "../api/generated";
import { base, controls } from "../styles/controls";
import { pageRelease } from "./page-release";
import "./settings-costs";
import "./settings-devices";
import "./settings-model";
import { pageStyles } from "./settings-styles";
import "./settings-usage";

@customElement("settings-view")
export class SettingsView extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  /** The deployed page's release; empty in a checkout. */
  @state() private page = "";
  /** A section that is loaded on demand could not be loaded. */
  @state() private incomplete = false;
  @query("h1") private heading!: HTMLElement | null;

  static override styles = [
    base,
    controls,
    pageStyles,
    css`
      .version {
        color: var(--muted);
        font-size: 0.8125rem;
        text-align: center;
      }
    `,
  ];

  override firstUpdated(): void {
    this.heading?.focus();
    again(() => import("./account-data")).catch(() => (this.incomplete = true));
    if (this.me.user.role === "admin") {
      Promise.all([
        again(() => import("./settings-shared-keys")),
        again(() => import("./settings-shared-tools")),
        again(() => import("./settings-oauth-clients")),
      ]).catch(() => (this.incomplete = true));
    }
    void pageRelease().then((release) => (this.page = release));
  }

  override render() {
    const { user, version } = this.me;
    return html`<div class="column">
      <h1 tabindex="-1">Settings</h1>
      <settings-model .api=${this.api}></settings-model>
      <settings-usage .api=${this.api}></settings-usage>
      <settings-devices .api=${this.api} email=${user.email}></settings-devices>
      <account-data .api=${this.api} email=${user.email}></account-data>
      ${
        user.role === "admin"
          ? html`<p class="admin">
                <a href="/admin">Administration</a>: people and their agents, invitations, the host
                and the audit trail.
              </p>
              <settings-costs .api=${this.api}></settings-costs>
              <settings-shared-keys .api=${this.api}></settings-shared-keys>
              ${this.sharedTools()}`
          : nothing
      }
      <p class="version">
        OCMT ${version}${this.page && this.page !== version ? html` · page ${this.page}` : nothing}
      </p>
    </div>`;
  }

  private sharedTools() {
    return this.incomplete
      ? html`<p class="problem" role="alert">
          The sections for tools and connections could not be loaded. Reload the page.
        </p>`
      : html`<settings-shared-tools .api=${this.api}></settings-shared-tools>
          <settings-oauth-clients .api=${this.api}></settings-oauth-clients>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-view": SettingsView;
  }
}
