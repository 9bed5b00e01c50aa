/** The model that answers, in the chat's header; opens a list of the models to choose from. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { Me, ModelAnswer, ProviderId, ProviderView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { base, controls } from "../styles/controls";

interface Group {
  readonly provider: ProviderView;
  readonly models: readonly string[];
  readonly more: boolean;
}

const MOST_SHOWN = 50;

@customElement("model-picker")
export class ModelPicker extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;
  @state() private open = false;
  @state() private choice: ModelAnswer | null = null;
  @state() private groups: readonly Group[] = [];
  @state() private search = "";
  @query("input") private field!: HTMLInputElement | null;
  @query(".current") private button!: HTMLElement | null;

  private readonly listing = new RequestState(this);
  private readonly choosing = new RequestState(this);

  static override styles = [
    base,
    controls,
    css`
      :host {
        position: relative;
        z-index: 2;
        display: block;
        padding: 0.25rem 0.75rem;
        text-align: center;
      }
      .current {
        max-width: 100%;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .panel {
        position: absolute;
        inset: 100% 0.75rem auto;
        max-width: 26rem;
        max-height: min(26rem, 70dvh);
        margin: 0 auto;
        padding: 0.75rem;
        overflow: auto;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
        box-shadow: var(--shadow);
        text-align: start;
      }
      h3 {
        margin: 0.75rem 0 0.25rem;
        font-size: 0.875rem;
      }
      h3 small {
        color: var(--muted);
        font-weight: 400;
      }
      ul {
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li button {
        width: 100%;
        overflow-wrap: anywhere;
        text-align: start;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("pointerdown", this.onOutside);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("pointerdown", this.onOutside);
  }

  override render() {
    const { model } = this.me;
    return html`
      <button
        class="quiet current"
        aria-haspopup="dialog"
        aria-expanded=${this.open ? "true" : "false"}
        @click=${() => (this.open ? this.close() : void this.show())}
      >
        <span class="unseen">Model: </span>${model.demo ? "Demo model" : model.model} ▾
      </button>
      ${this.open ? this.panel() : nothing}
    `;
  }

  private panel() {
    return html`<div
      class="panel"
      role="dialog"
      aria-label="Choose a model"
      @keydown=${(event: KeyboardEvent) => (event.key === "Escape" ? this.close() : undefined)}
    >
      <label class="unseen" for="search">Search models</label>
      <input
        id="search"
        type="search"
        placeholder="Search models"
        autocomplete="off"
        spellcheck="false"
        .value=${this.search}
        @input=${(event: Event) => void this.find((event.target as HTMLInputElement).value)}
      />
      ${this.groups.map((group) => this.group(group))}
      ${
        this.groups.every(({ models }) => models.length === 0) && !this.listing.busy
          ? html`<p class="muted">No model has these words in its name.</p>`
          : nothing
      }
      ${this.listing.outcome()} ${this.choosing.outcome()}
      <p class="small"><a href="/settings">Providers and keys</a></p>
    </div>`;
  }

  private group({ provider, models, more }: Group) {
    if (models.length === 0) return nothing;
    return html`<section aria-label=${provider.name}>
      <h3>
        ${provider.name}
        ${provider.shared && !provider.keySet ? html`<small>provided by an admin</small>` : nothing}
      </h3>
      <ul>
        ${models.map(
          (model) =>
            html`<li>
              <button
                class="quiet"
                aria-current=${this.isChosen(provider.id, model) ? "true" : nothing}
                ?disabled=${this.choosing.busy}
                @click=${() => void this.choose(provider.id, model)}
              >
                ${model}${this.isChosen(provider.id, model) ? " ✓" : nothing}
              </button>
            </li>`,
        )}
      </ul>
      ${more ? html`<p class="muted small">More match; search for fewer.</p>` : nothing}
    </section>`;
  }

  private async show(): Promise<void> {
    this.open = true;
    this.search = "";
    this.choice = null;
    await this.listing.run(() => this.list(""));
    this.field?.focus();
  }

  private close(): void {
    this.open = false;
    this.button?.focus();
  }

  private async find(search: string): Promise<void> {
    this.search = search;
    await this.listing.run(() => this.list(search));
  }

  /** List the matching models of every provider that the user can use now. */
  private async list(search: string): Promise<void> {
    this.choice ??= await this.api.model(); // a search may be faster than the first list
    const usable = this.choice.providers.filter(isUsable);
    const groups = await Promise.all(
      usable.map(async (provider) => {
        if (provider.id === "demo") {
          const models = "demo model".includes(search.trim().toLowerCase()) ? ["demo"] : [];
          return { provider, models, more: false };
        }
        const { models, more } = await this.api.models(provider.id, search);
        return {
          provider,
          models: models.slice(0, MOST_SHOWN),
          more: more || models.length > MOST_SHOWN,
        };
      }),
    );
    if (search === this.search) this.groups = groups; // an older answer may come last
  }

  private isChosen(provider: ProviderId, model: string): boolean {
    return this.me.model.provider === provider && this.me.model.model === model;
  }

  private async choose(provider: ProviderId, model: string): Promise<void> {
    await this.choosing.run(async () => {
      await this.api.chooseModel({ provider, model });
      this.dispatchEvent(new CustomEvent("model-changed", { bubbles: true, composed: true }));
      this.close();
    });
  }

  private readonly onOutside = (event: Event) => {
    if (this.open && !event.composedPath().includes(this)) this.open = false;
  };
}

function isUsable({ id, keySet, shared, url }: ProviderView): boolean {
  return id === "demo" || keySet || shared || url !== null;
}

declare global {
  interface HTMLElementTagNameMap {
    "model-picker": ModelPicker;
  }
}
