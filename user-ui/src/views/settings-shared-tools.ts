/** For admins: the tool servers that everybody may connect, and the rules for them. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Api } from "../api/client";
import type { SharedServerView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { ToolsApi } from "../api/tools";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import "./settings-shared-server";
import { newSharedServer, type ServerKind } from "./shared-server-form";
import { sectionStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("settings-shared-tools")
export class SettingsSharedTools extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private servers: readonly SharedServerView[] | null = null;
  @state() private kind: ServerKind = "url";
  @query("details") private adding!: HTMLDetailsElement;

  private tools!: ToolsApi;
  private readonly listing = new RequestState(this);
  private readonly saving = new RequestState(this);

  static override styles = [base, controls, sectionStyles, toolsStyles];

  /** Not on connection: the element may be on the page before its code, and has no `api` then. */
  override firstUpdated(): void {
    this.tools = new ToolsApi(this.api);
    this.reload();
  }

  override render() {
    const { servers } = this;
    return html`
      <h2>Shared tools</h2>
      <p class="muted">
        Tool servers that each person may connect, with a key of their own. Of your rule and theirs,
        the stricter one holds.
      </p>
      ${servers?.length === 0 ? html`<p>No server is shared yet.</p>` : nothing}
      ${repeat(
        servers ?? [],
        ({ id }) => id,
        (server) =>
          html`<settings-shared-server
            .tools=${this.tools}
            .server=${server}
            @server-changed=${this.onServer}
            @servers-stale=${() => this.reload()}
          ></settings-shared-server>`,
      )}
      ${this.listing.outcome()}
      <details>
        <summary>Share a server</summary>
        ${this.form()}
      </details>
      ${this.saving.outcome()}
    `;
  }

  private form() {
    return html`<form @submit=${this.onAdd} autocomplete="off">
      <fieldset class="kinds">
        <legend>Kind</legend>
        ${this.kindField("url", "A web address")} ${this.kindField("package", "A package")}
      </fieldset>
      <div class="field">
        <label for="name">Name</label>
        <input id="name" name="name" required maxlength="100" />
      </div>
      ${this.kind === "url" ? addressFields : packageFields}
      <button ?disabled=${this.saving.busy}>Share</button>
    </form>`;
  }

  private kindField(kind: ServerKind, label: string) {
    return html`<label>
      <input
        type="radio"
        name="kind"
        .checked=${this.kind === kind}
        @change=${() => (this.kind = kind)}
      />
      ${label}
    </label>`;
  }

  private reload(): void {
    void this.listing.run(async () => void (this.servers = await this.tools.shared()));
  }

  private readonly onServer = ({ detail }: CustomEvent<SharedServerView>) => {
    this.servers = (this.servers ?? []).map((one) => (one.id === detail.id ? detail : one));
  };

  private readonly onAdd = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const body = newSharedServer(form, this.kind);
    await this.saving.run(
      async () => {
        const added = await this.tools.addShared(body);
        this.servers = [...(this.servers ?? []), added];
        form.reset();
        this.kind = "url";
        this.adding.open = false;
      },
      `${visibleName(body.name)} is shared: each person can connect it under Tools.`,
    );
  };
}

const addressFields = html`<div class="field">
    <label for="url">Address</label>
    <input
      id="url"
      name="url"
      type="url"
      required
      maxlength="2000"
      spellcheck="false"
      placeholder="https://mcp.example.com/mcp"
    />
  </div>
  <div class="field">
    <label for="header">Header for each person’s key</label>
    <input
      id="header"
      name="credentialName"
      maxlength="64"
      spellcheck="false"
      autocapitalize="off"
      placeholder="Authorization"
      aria-describedby="header-help"
    />
    <small id="header-help">Leave it empty if the server needs no key.</small>
  </div>`;

const packageFields = html`<div class="field">
    <label for="package">npm package</label>
    <input
      id="package"
      name="package"
      required
      maxlength="214"
      spellcheck="false"
      autocapitalize="off"
      placeholder="@scope/server-name"
      aria-describedby="package-help"
    />
    <small id="package-help">
      Runs on the agent host in a container of its own for each person. Needs the Docker runtime.
    </small>
  </div>
  <div class="field">
    <label for="version">Version</label>
    <input id="version" name="version" required maxlength="64" placeholder="1.2.3" />
  </div>
  <div class="field">
    <label for="integrity">Integrity</label>
    <input
      id="integrity"
      name="integrity"
      required
      maxlength="128"
      spellcheck="false"
      autocapitalize="off"
      placeholder="sha512-…"
      aria-describedby="integrity-help"
    />
    <small id="integrity-help">
      Printed by <code>npm view NAME@VERSION dist.integrity</code>. Nothing else is installed.
    </small>
  </div>
  <div class="field">
    <label for="arguments">Arguments, one per line</label>
    <textarea id="arguments" name="arguments" spellcheck="false" autocapitalize="off"></textarea>
  </div>
  <div class="field">
    <label for="variable">Environment variable for each person’s key</label>
    <input
      id="variable"
      name="credentialName"
      maxlength="64"
      spellcheck="false"
      autocapitalize="off"
      placeholder="API_TOKEN"
      aria-describedby="variable-help"
    />
    <small id="variable-help">Leave it empty if the package needs no key.</small>
  </div>`;

declare global {
  interface HTMLElementTagNameMap {
    "settings-shared-tools": SettingsSharedTools;
  }
}
