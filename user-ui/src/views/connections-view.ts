/** The page of the user's connected accounts. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Api } from "../api/client";
import { ConnectionsApi } from "../api/connections";
import type {
  ConnectionsAnswer,
  ConnectionView,
  Disconnected,
  Me,
  ServerView,
} from "../api/generated";
import { RequestState } from "../api/request-state";
import { disconnectedText, resultOf } from "../connections/texts";
import { base, controls } from "../styles/controls";
import "./connections-account";
import "./connections-add";
import { pageStyles, rowStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("connections-view")
export class ConnectionsPage extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  @state() private shown: ConnectionsAnswer | null = null;
  @state() private servers: readonly ServerView[] = [];
  @state() private said = "";
  @state() private result = resultOf(location.search);
  @query("h1") private heading!: HTMLElement | null;

  private connections!: ConnectionsApi;
  private readonly listing = new RequestState(this);

  static override styles = [
    base,
    controls,
    rowStyles,
    toolsStyles,
    pageStyles,
    css`
      .about {
        color: var(--muted);
      }
    `,
  ];

  override firstUpdated(): void {
    this.connections = new ConnectionsApi(this.api);
    this.heading?.focus();
    // The outcome is told once: a reload does not repeat it.
    if (this.result !== null) history.replaceState(null, "", "/connections");
    void this.reload();
  }

  override render() {
    const { shown, result, me } = this;
    return html`<div class="column">
      <h1 tabindex="-1">Connections</h1>
      <p class="about">
        Accounts that your agent can use for you. It never sees a password or a token: this server
        adds them, and sends them to their provider only. Reading is allowed; anything else waits
        for your decision.
        ${
          me.user.role === "admin"
            ? html`Providers are set up under <a href="/settings">Settings</a>.`
            : nothing
        }
      </p>
      <div role="status">
        ${
          result === null
            ? nothing
            : html`<p class=${result.good ? "good" : "problem"}>${result.text}</p>`
        }
        ${this.said === "" ? nothing : html`<p class="good">${this.said}</p>`}
      </div>
      ${this.listing.outcome()}
      ${
        shown === null
          ? nothing
          : html`${shown.connections.length === 0 ? html`<p>Nothing is connected yet.</p>` : nothing}
              ${repeat(
                shown.connections,
                ({ id }) => id,
                (one) =>
                  html`<connections-account
                    .connections=${this.connections}
                    .account=${one}
                    .server=${this.servers.find(({ id }) => id === one.id) ?? null}
                    @account-changed=${this.onChanged}
                    @server-changed=${this.onRule}
                    @disconnected=${this.onDisconnected}
                  ></connections-account>`,
              )}
              <connections-add
                .connections=${this.connections}
                .providers=${shown.providers}
                @added=${() => void this.reload()}
              ></connections-add>`
      }
    </div>`;
  }

  private reload(): Promise<boolean> {
    return this.listing.run(async () => {
      [this.shown, this.servers] = await Promise.all([
        this.connections.all(),
        this.connections.servers(),
      ]);
    });
  }

  private readonly onChanged = ({ detail }: CustomEvent<ConnectionView>) => {
    if (this.shown === null) return;
    const connections = this.shown.connections.map((one) => (one.id === detail.id ? detail : one));
    this.shown = { ...this.shown, connections };
  };

  private readonly onRule = ({ detail }: CustomEvent<ServerView>) => {
    this.servers = this.servers.map((one) => (one.id === detail.id ? detail : one));
  };

  private readonly onDisconnected = ({
    detail,
  }: CustomEvent<{ name: string; outcome: Disconnected }>) => {
    this.result = null;
    this.said = disconnectedText(detail.name, detail.outcome);
    void this.reload();
    this.heading?.focus();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "connections-view": ConnectionsPage;
  }
}
