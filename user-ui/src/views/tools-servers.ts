/** The user's tool servers, and the form to add one. */

import { LitElement, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Api } from "../api/client";
import type { NewServer, ServerView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { ToolsApi } from "../api/tools";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";
import "./tools-server";
import { toolsStyles } from "./tools-styles";

/** How often the servers are read while a package is being installed. */
export const INSTALLING_MS = 3_000;

@customElement("tools-servers")
export class ToolsServers extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private servers: readonly ServerView[] | null = null;
  @query("details") private adding!: HTMLDetailsElement;

  private tools!: ToolsApi;
  private readonly listing = new RequestState(this);
  private readonly saving = new RequestState(this);
  private timer = 0;

  static override styles = [base, controls, sectionStyles, toolsStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    this.tools = new ToolsApi(this.api);
    this.reload();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  override updated(changed: PropertyValues): void {
    if (!changed.has("servers")) return;
    clearTimeout(this.timer);
    if (this.servers?.some(({ installing }) => installing) === true) {
      this.timer = window.setTimeout(() => this.reload(), INSTALLING_MS);
    }
  }

  override render() {
    const { servers } = this;
    return html`
      <h2>Servers</h2>
      ${
        servers?.length === 0
          ? html`<p class="muted">
              No tool server is here yet. Add one by its address below; your agent has its tools
              from the next message on.
            </p>`
          : nothing
      }
      ${repeat(
        servers ?? [],
        ({ id }) => id,
        (server) =>
          html`<tools-server
            .tools=${this.tools}
            .server=${server}
            @server-changed=${this.onServer}
            @servers-stale=${() => this.reload()}
          ></tools-server>`,
      )}
      ${this.listing.outcome()}
      <details>
        <summary>Add a server</summary>
        ${this.form()}
      </details>
      ${this.saving.outcome()}
    `;
  }

  private form() {
    return html`<form @submit=${this.onAdd} autocomplete="off">
      <div class="field">
        <label for="name">Name</label>
        <input id="name" name="name" required maxlength="100" placeholder="My notes" />
      </div>
      <div class="field">
        <label for="url">Address</label>
        <input
          id="url"
          name="url"
          type="url"
          required
          maxlength="2000"
          spellcheck="false"
          placeholder="https://mcp.example.com/mcp"
          aria-describedby="url-help"
        />
        <small id="url-help">
          An MCP server over Streamable HTTP. Add only servers that you trust: your agent reads what
          they answer.
        </small>
      </div>
      <div class="field">
        <label for="key">Key (if the server needs one)</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          aria-describedby="key-help"
        />
        <small id="key-help">
          Stored encrypted. It is never shown again, and your agent cannot read it.
        </small>
      </div>
      <div class="field">
        <label for="header">Header for the key</label>
        <input
          id="header"
          name="header"
          value="Authorization"
          maxlength="64"
          spellcheck="false"
          autocapitalize="off"
          aria-describedby="header-help"
        />
        <small id="header-help">
          In Authorization, a key without a scheme is sent as “Bearer” key. Other servers want
          X-Api-Key or the like.
        </small>
      </div>
      <button ?disabled=${this.saving.busy}>
        ${this.saving.busy ? "Reading its tools…" : "Add"}
      </button>
    </form>`;
  }

  /** Read the servers again. */
  reload(): void {
    void this.listing.run(async () => void (this.servers = await this.tools.servers()));
  }

  private readonly onServer = ({ detail }: CustomEvent<ServerView>) => {
    this.servers = (this.servers ?? []).map((one) => (one.id === detail.id ? detail : one));
  };

  private readonly onAdd = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const key = fieldText(form, "key");
    const server: NewServer = { name: fieldText(form, "name"), url: fieldText(form, "url") };
    const header = fieldText(form, "header") || "Authorization";
    const body = key === "" ? server : { ...server, credential: key, credentialName: header };
    await this.saving.run(
      async () => {
        const added = await this.tools.add(body);
        this.servers = [...(this.servers ?? []), added];
        form.reset();
        this.adding.open = false;
      },
      `${visibleName(body.name)} was added. Its tools ask first, until you set rules.`,
    );
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-servers": ToolsServers;
  }
}
