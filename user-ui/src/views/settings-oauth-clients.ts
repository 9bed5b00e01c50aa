/** For admins: this installation's client at each provider. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import { ConnectionsApi } from "../api/connections";
import type { ClientsAnswer, ClientView, OwnEndpoints } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { ownScopes } from "../connections/own-scopes";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("settings-oauth-clients")
export class SettingsOAuthClients extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private shown: ClientsAnswer | null = null;
  @state() private open = "";

  private connections!: ConnectionsApi;
  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    toolsStyles,
    css`
      .any {
        overflow-wrap: anywhere;
      }
    `,
  ];

  override firstUpdated(): void {
    this.connections = new ConnectionsApi(this.api);
    void this.work.run(async () => void (this.shown = await this.connections.clients()));
  }

  override render() {
    const { shown } = this;
    return html`<h2>Connection providers</h2>
      <p class="muted">
        People can connect an account once you have registered this installation with the provider.
      </p>
      ${
        shown === null
          ? nothing
          : html`<p class="small">
                Redirect address: <code class="any">${shown.redirectUri}</code>
              </p>
              <ul>
                ${shown.clients.map((client) => this.client(client))}
              </ul>`
      }
      ${this.work.outcome()}`;
  }

  private client(client: ClientView) {
    const isSet = client.clientId !== null;
    return html`<li>
      <div>
        <strong>${client.name}</strong>
        ${isSet ? html`<span class="tag">set up</span>` : nothing}
        <div class="muted small">
          ${client.fromSetting ? "In the setting OAUTH_CLIENTS. " : nothing}
          ${client.people === 0 ? nothing : `Connected by ${client.people}.`}
        </div>
      </div>
      ${
        client.fromSetting
          ? nothing
          : html`<button
                class="small plain"
                aria-expanded=${this.open === client.id ? "true" : "false"}
                aria-label="${isSet ? "Change" : "Set up"} ${client.name}"
                @click=${() => (this.open = this.open === client.id ? "" : client.id)}
              >
                ${isSet ? "Change" : "Set up"}
              </button>
              ${
                isSet
                  ? html`<sure-button
                      label="Remove"
                      what=" ${client.name}"
                      @sure=${() => this.removeClient(client)}
                    ></sure-button>`
                  : nothing
              }`
      }
      ${this.open === client.id ? this.form(client) : nothing}
    </li>`;
  }

  private form(client: ClientView) {
    const own = client.kind === "own";
    return html`<form
      class="wide"
      @submit=${(event: SubmitEvent) => void this.onSave(event, client)}
      autocomplete="off"
    >
      <p class="note">${client.setup}</p>
      ${own ? endpointFields(client.endpoints) : nothing}
      ${field("clientId", "Client id", client.clientId ?? "", true)}
      <div class="field">
        <label for="clientSecret">Client secret</label>
        <input
          id="clientSecret"
          name="clientSecret"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          maxlength="1024"
          aria-describedby="secret-help"
        />
        <small id="secret-help">
          ${
            client.secretSet
              ? "Leave it empty to keep the stored one, which is never shown."
              : "Stored encrypted and never shown again."
          }
        </small>
      </div>
      <button ?disabled=${this.work.busy}>Save</button>
    </form>`;
  }

  private async onSave(event: SubmitEvent, client: ClientView): Promise<void> {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const secret = fieldText(form, "clientSecret");
    const done = await this.work.run(async () => {
      this.shown = await this.connections.putClient(client.id, {
        clientId: fieldText(form, "clientId"),
        ...(secret === "" ? {} : { clientSecret: secret }),
        ...(client.kind === "own" ? { endpoints: endpointsOf(form) } : {}),
      });
    }, `${client.name} is set up: people can connect it under Connections.`);
    if (done) this.open = "";
  }

  private removeClient(client: ClientView): void {
    void this.work.run(async () => {
      await this.connections.removeClient(client.id);
      this.shown = await this.connections.clients();
    }, `${client.name} is removed. What people connected stops working when it has to be renewed.`);
  }
}

function field(name: string, label: string, value: string, required: boolean) {
  return html`<div class="field">
    <label for=${name}>${label}</label>
    <input
      id=${name}
      name=${name}
      .value=${value}
      ?required=${required}
      maxlength="2000"
      spellcheck="false"
      autocapitalize="off"
    />
  </div>`;
}

function endpointFields(now: OwnEndpoints | null) {
  return html`${field("name", "Name", now?.name ?? "", true)}
    ${field("authorizeUrl", "Authorization endpoint", now?.authorizeUrl ?? "", true)}
    ${field("tokenUrl", "Token endpoint", now?.tokenUrl ?? "", true)}
    ${field("issuer", "Issuer (if it sends one)", now?.issuer ?? "", false)}
    ${field("revokeUrl", "Revocation endpoint (if it has one)", now?.revokeUrl ?? "", false)}
    ${field("userinfoUrl", "Userinfo endpoint (tells the account)", now?.userinfoUrl ?? "", false)}
    ${field("apiUrl", "Address of its API", now?.apiUrl ?? "", true)}
    ${field("hosts", "Hosts that tokens may go to, separated by spaces", (now?.hosts ?? []).join(" "), true)}
    <div class="field">
      <label for="scopes">Scopes, one per line, each with what it permits</label>
      <textarea
        id="scopes"
        name="scopes"
        spellcheck="false"
        autocapitalize="off"
        placeholder="openid Know which account it is"
        .value=${(now?.scopes ?? []).map((scope) => `${scope.id} ${scope.text}`).join("\n")}
      ></textarea>
    </div>`;
}

function endpointsOf(form: HTMLFormElement): OwnEndpoints {
  const optional = (name: string) => fieldText(form, name) || null;
  return {
    name: fieldText(form, "name"),
    authorizeUrl: fieldText(form, "authorizeUrl"),
    tokenUrl: fieldText(form, "tokenUrl"),
    issuer: optional("issuer"),
    revokeUrl: optional("revokeUrl"),
    userinfoUrl: optional("userinfoUrl"),
    apiUrl: fieldText(form, "apiUrl"),
    hosts: fieldText(form, "hosts")
      .toLowerCase()
      .split(/[\s,]+/),
    scopes: ownScopes(fieldText(form, "scopes")),
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-oauth-clients": SettingsOAuthClients;
  }
}
