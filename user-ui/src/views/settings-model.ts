/** The user's model, and their key for its provider. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { ModelAnswer, ModelRequest, ProviderId, ProviderView } from "../api/generated";
import { sentence } from "../api/problem";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

const DEMO: ProviderView = {
  id: "demo",
  name: "Demo model",
  keySet: false,
  keyHint: null,
  shared: false,
  url: null,
  models: ["demo"],
};

@customElement("settings-model")
export class SettingsModel extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private choice: ModelAnswer | null = null;
  @state() private provider: ProviderId = "demo";
  @state() private model = "";
  /** The models of the user's key; null until the provider has listed them. */
  @state() private listed: readonly string[] | null = null;
  @state() private listProblem = "";
  private more = false;
  @query("#url") private urlField!: HTMLInputElement | null;
  @query("#key") private keyField!: HTMLInputElement | null;

  private readonly loading = new RequestState(this);
  private readonly saving = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      fieldset {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr));
        gap: 0.5rem;
        margin: 0 0 1.25rem;
        padding: 0;
        border: 0;
      }
      legend {
        padding: 0;
        margin-bottom: 0.375rem;
        font-weight: 600;
      }
      .card {
        display: flex;
        align-items: flex-start;
        gap: 0.625rem;
        margin: 0;
        padding: 0.75rem 0.875rem;
        border: 1px solid var(--line);
        border-radius: 10px;
        font-weight: 500;
        cursor: pointer;
      }
      .card:has(:checked) {
        border-color: var(--accent);
        background: var(--accent-soft);
      }
      .card:has(:focus-visible) {
        outline: 2px solid var(--accent);
        outline-offset: 2px;
      }
      .card small {
        display: block;
        color: var(--muted);
        font-weight: 400;
      }
      input[type="radio"] {
        margin: 0.3rem 0 0;
        accent-color: var(--accent);
        outline: 0;
      }
      .field {
        margin-bottom: 1rem;
      }
      .field small {
        display: block;
        margin-top: 0.375rem;
        color: var(--muted);
      }
      .kept {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.5rem;
        margin-bottom: 1rem;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.loading.run(async () => this.take(await this.api.model()));
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.forgetKey();
  }

  override render() {
    return html`
      <h2>Model</h2>
      <p class="muted">
        The language model that your agent uses. A change applies from the next message on.
      </p>
      ${this.loading.outcome()}
      ${
        this.choice?.usable === false
          ? html`<p class="problem" role="status">
              No admin provides this model to you any more, so your agent cannot answer. Choose
              another, or add a key of your own.
            </p>`
          : nothing
      }
      ${this.choice === null ? nothing : this.form(this.providers(this.choice))}
    `;
  }

  private form(providers: readonly ProviderView[]) {
    const chosen = providers.find(({ id }) => id === this.provider) ?? DEMO;
    return html`<form @submit=${this.onSave} autocomplete="off">
      <fieldset>
        <legend>Provider</legend>
        ${providers.map((provider) => this.card(provider))}
      </fieldset>
      ${
        chosen.id === "demo"
          ? html`<p class="muted">
              The demo model is built in and needs no key. It lets you try everything out, but its
              answers are canned.
            </p>`
          : this.details(chosen)
      }
      <button ?disabled=${this.saving.busy}>${this.saving.busy ? "Saving…" : "Save"}</button>
      ${this.saving.outcome()}
    </form>`;
  }

  private card(provider: ProviderView) {
    return html`<label class="card">
      <input
        type="radio"
        name="provider"
        .checked=${provider.id === this.provider}
        @change=${() => this.pick(provider)}
      />
      <span>${provider.name}<small>${noteOf(provider)}</small></span>
    </label>`;
  }

  private details(provider: ProviderView) {
    const own = provider.id === "own";
    const optional = own || provider.keySet || provider.shared;
    return html`
      ${own ? this.address(provider) : nothing}
      <div class="field">
        <label for="model">Model</label>
        <input
          id="model"
          required
          list="models"
          spellcheck="false"
          autocapitalize="off"
          .value=${this.model}
          @focus=${() => this.list(provider)}
          @input=${(event: Event) => this.type(provider, (event.target as HTMLInputElement).value)}
        />
        <datalist id="models">
          ${(this.listed ?? provider.models).map((model) => html`<option value=${model}></option>`)}
        </datalist>
        ${this.listProblem === "" ? nothing : html`<small>${this.listProblem}</small>`}
      </div>
      <div class="field">
        <label for="key">${provider.keySet ? "New key" : "Key"}</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          ?required=${!optional}
          placeholder=${keyPlaceholder(provider)}
          aria-describedby="key-help"
        />
        <small id="key-help">
          Stored encrypted. It is never shown again, and your agent cannot read it.
        </small>
      </div>
      ${
        provider.keySet || provider.url !== null
          ? html`<div class="kept">
              ${provider.keySet ? html`<span>Your key: <b>${provider.keyHint ?? "added"}</b></span>` : nothing}
              <sure-button
                label=${own ? "Remove server" : "Remove key"}
                what=" for ${provider.name}"
                @sure=${() => this.removeKey(provider)}
              ></sure-button>
            </div>`
          : nothing
      }
    `;
  }

  private address(provider: ProviderView) {
    return html`<div class="field">
      <label for="url">Address</label>
      <input
        id="url"
        type="url"
        ?required=${provider.url === null && !provider.shared}
        placeholder=${provider.shared ? "Leave empty to use what an admin provides" : "https://ollama.example.com/v1"}
        autocomplete="off"
        spellcheck="false"
        .value=${provider.url ?? ""}
        aria-describedby="url-help"
      />
      <small id="url-help">
        Any server with OpenAI's chat completions, such as Ollama, vLLM or LM Studio.
      </small>
    </div>`;
  }

  private providers(choice: ModelAnswer): readonly ProviderView[] {
    const hasDemo = choice.providers.some(({ id }) => id === "demo");
    return hasDemo ? choice.providers : [DEMO, ...choice.providers];
  }

  private async list(provider: ProviderView, search = ""): Promise<void> {
    if (!hasList(provider) || (this.listed !== null && !this.more)) return;
    try {
      const { models, more, problem } = await this.api.models(provider.id, search);
      if (provider.id !== this.provider || search !== (search && this.model)) return;
      this.listed = models;
      this.more = more || search !== "";
      this.listProblem = problem ?? "";
    } catch (error) {
      this.listProblem = sentence(error);
    }
  }

  private type(provider: ProviderView, model: string): void {
    this.model = model;
    if (this.more) void this.list(provider, model);
  }

  private forgetList(): void {
    this.listed = null;
    this.listProblem = "";
    this.more = false;
  }

  private pick(provider: ProviderView): void {
    this.forgetKey();
    this.forgetList();
    this.provider = provider.id;
    const current = this.choice?.provider === provider.id ? this.choice.model : undefined;
    this.model = current ?? provider.models[0] ?? "";
  }

  private take(choice: ModelAnswer): void {
    this.choice = choice;
    this.provider = choice.provider;
    this.model = choice.model;
  }

  private readonly onSave = async (event: Event) => {
    event.preventDefault();
    const key = this.keyField?.value.trim() ?? "";
    const url = this.urlField?.value.trim() ?? "";
    const change: ModelRequest = {
      provider: this.provider,
      model: this.model.trim(),
      ...(url === "" ? {} : { url }),
    };
    await this.saving.run(async () => {
      this.take(await this.api.chooseModel(key === "" ? change : { ...change, key }));
      this.forgetKey();
      this.forgetList();
      this.announce();
    }, "Saved. Your agent uses this model from the next message on.");
  };

  private async removeKey(provider: ProviderView): Promise<void> {
    await this.saving.run(
      async () => {
        await this.api.removeKey(provider.id);
        this.take(await this.api.model());
        this.announce();
      },
      provider.id === "own"
        ? "Your server was removed."
        : `Your key for ${provider.name} was removed.`,
    );
  }

  private forgetKey(): void {
    if (this.keyField !== null) this.keyField.value = "";
  }

  private announce(): void {
    this.dispatchEvent(new CustomEvent("model-changed", { bubbles: true, composed: true }));
  }
}

function noteOf(provider: ProviderView): string {
  if (provider.id === "demo") return "No key needed";
  if (provider.keySet || provider.url !== null)
    return provider.url === null ? "Key added" : "Added";
  if (provider.shared) return "Provided by an admin";
  return provider.id === "own" ? "Needs an address" : "Needs a key";
}

function keyPlaceholder(provider: ProviderView): string {
  if (provider.keySet) return "Leave empty to keep your current key";
  if (provider.shared) return "Leave empty to use what an admin provides";
  return provider.id === "own" ? "Only if the server needs one" : "";
}

/** Whether the provider lists its models to this user. */
function hasList({ keySet, shared, url }: ProviderView): boolean {
  return keySet || shared || url !== null;
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-model": SettingsModel;
  }
}
