/** Connect another account: choose a provider, see what it will be allowed, go there. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { ConnectionsApi } from "../api/connections";
import type { ConnectableProvider } from "../api/generated";
import { RequestState } from "../api/request-state";
import { chosenAtFirst } from "../connections/texts";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import { fieldText } from "./form";
import { wantedProvider } from "./location";
import { sectionStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("connections-add")
export class ConnectionsAdd extends LitElement {
  @property({ attribute: false }) connections!: ConnectionsApi;
  @property({ attribute: false }) providers: readonly ConnectableProvider[] = [];
  @state() private chosen: ConnectableProvider | null = null;
  @state() private scopes = new Set<string>();

  private wanted = wantedProvider();
  private readonly work = new RequestState(this);

  static override styles = [base, controls, sectionStyles, toolsStyles];

  override willUpdate(): void {
    const found = this.providers.find(({ id, ready }) => ready && id === this.wanted);
    if (found === undefined) return;
    this.wanted = null;
    this.choose(found);
  }

  override render() {
    const { chosen } = this;
    const others = this.providers
      .filter(({ ready }) => !ready)
      .map(({ name }) => visibleName(name))
      .join(", ");
    return html`<h2>Connect an account</h2>
      <div class="row" role="group" aria-label="Providers">
        ${this.providers.filter(({ ready }) => ready).map((one) => this.provider(one))}
      </div>
      ${
        others === ""
          ? nothing
          : html`<p class="note">
              Not set up here: ${others}. An admin can do that under Settings.
            </p>`
      }
      ${chosen === null ? nothing : chosen.kind === "key" ? this.keyForm() : this.scopeForm(chosen)}
      ${this.work.outcome()}`;
  }

  private provider(one: ConnectableProvider) {
    const chosen = one.id === this.chosen?.id;
    return html`<button
      class="small ${chosen ? "" : "plain"}"
      aria-pressed=${chosen ? "true" : "false"}
      @click=${() => this.choose(one)}
    >
      ${visibleName(one.name)}
    </button>`;
  }

  private scopeForm(provider: ConnectableProvider) {
    return html`<form @submit=${this.onStart}>
      ${
        provider.scopes.length === 0
          ? html`<p>You choose on ${visibleName(provider.name)}'s page what your agent may do.</p>`
          : html`<fieldset>
              <legend>What your agent may do there</legend>
              ${provider.scopes.map(
                (scope) =>
                  html`<label class="scope">
                    <input
                      type="checkbox"
                      .checked=${this.scopes.has(scope.id)}
                      ?disabled=${scope.required}
                      @change=${(event: Event) => this.toggle(scope.id, event)}
                    />
                    ${visibleName(scope.text, 200)}${scope.required ? " (always)" : nothing}
                  </label>`,
              )}
            </fieldset>`
      }
      <button ?disabled=${this.work.busy}>
        ${this.work.busy ? "Going there…" : `Continue to ${visibleName(provider.name)}`}
      </button>
    </form>`;
  }

  private keyForm() {
    return html`<form @submit=${this.onKey} autocomplete="off">
      <div class="field">
        <label for="name">Name</label>
        <input id="name" name="name" required maxlength="60" />
      </div>
      <div class="field">
        <label for="host">Host</label>
        <input
          id="host"
          name="host"
          required
          maxlength="255"
          spellcheck="false"
          autocapitalize="off"
          placeholder="api.example.com"
          aria-describedby="host-help"
        />
        <small id="host-help"
          >The key goes to this host only, over https. Your agent may GET from it without asking;
          change that under “What it may do”.</small
        >
      </div>
      <div class="field">
        <label for="header">Header</label>
        <input
          id="header"
          name="header"
          maxlength="64"
          spellcheck="false"
          autocapitalize="off"
          placeholder="Authorization"
          aria-describedby="header-help"
        />
        <small id="header-help">
          Empty: Authorization, with “Bearer” before the key. In any other header the key stands
          alone.
        </small>
      </div>
      <div class="field">
        <label for="key">Key</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          required
          aria-describedby="key-help"
        />
        <small id="key-help">
          Stored encrypted and never shown again; your agent cannot read it.
        </small>
      </div>
      <button ?disabled=${this.work.busy}>Connect</button>
    </form>`;
  }

  private choose(provider: ConnectableProvider): void {
    this.work.clear();
    this.chosen = provider;
    this.scopes = chosenAtFirst(provider);
  }

  private toggle(scope: string, event: Event): void {
    const scopes = new Set(this.scopes);
    if ((event.target as HTMLInputElement).checked) scopes.add(scope);
    else scopes.delete(scope);
    this.scopes = scopes;
  }

  private readonly onStart = (event: SubmitEvent) => {
    event.preventDefault();
    const provider = this.chosen;
    if (provider === null) return;
    void this.work.run(async () => {
      location.assign(await this.connections.start(provider.id, [...this.scopes], null));
    });
  };

  private readonly onKey = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const header = fieldText(form, "header");
    const body = {
      name: fieldText(form, "name"),
      host: fieldText(form, "host").toLowerCase(),
      key: fieldText(form, "key"),
      header: header === "" ? "Authorization" : header,
      prefix: header === "" || header.toLowerCase() === "authorization" ? "Bearer " : "",
    };
    const done = await this.work.run(
      async () => {
        await this.connections.addKey(body);
      },
      `${visibleName(body.name)} is connected.`,
    );
    if (!done) return;
    form.reset();
    this.chosen = null;
    this.dispatchEvent(new CustomEvent("added"));
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "connections-add": ConnectionsAdd;
  }
}
