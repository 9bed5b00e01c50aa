/** The settings page. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { Me } from "../api/generated";
import { base } from "../styles/controls";
import { pageRelease } from "./page-release";
import "./settings-devices";
import "./settings-model";
import "./settings-people";

@customElement("settings-view")
export class SettingsView extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  /** The deployed page's release; empty in a checkout. */
  @state() private page = "";
  @query("h1") private heading!: HTMLElement | null;

  static override styles = [
    base,
    css`
      :host {
        display: block;
        position: relative; /* Contains what is positioned in it. */
        overflow-y: auto;
      }
      .column {
        max-width: var(--column);
        margin: 0 auto;
        padding: 0.5rem 1rem max(1.5rem, env(safe-area-inset-bottom));
      }
      h1 {
        margin: 0.5rem 0 1rem;
        font-size: 1.625rem;
        line-height: 1.25;
        letter-spacing: -0.01em;
      }
      h1:focus-visible {
        outline: 0; /* It has the focus for screen readers, and does nothing. */
      }
      .version {
        color: var(--muted);
        font-size: 0.8125rem;
        text-align: center;
      }
    `,
  ];

  override firstUpdated(): void {
    this.heading?.focus();
    void pageRelease().then((release) => (this.page = release));
  }

  override render() {
    const { user, version, mail } = this.me;
    return html`<div class="column">
      <h1 tabindex="-1">Settings</h1>
      <settings-model .api=${this.api}></settings-model>
      <settings-devices .api=${this.api} email=${user.email}></settings-devices>
      ${
        user.role === "admin"
          ? html`<settings-people .api=${this.api} .myId=${user.id} ?mail=${mail}>
            </settings-people>`
          : nothing
      }
      <p class="version">
        OCMT ${version}${this.page && this.page !== version ? html` · page ${this.page}` : nothing}
      </p>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-view": SettingsView;
  }
}
