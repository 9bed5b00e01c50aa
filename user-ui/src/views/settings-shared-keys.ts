/** For admins: keys of providers that people may use without seeing them. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import { AdminApi } from "../api/admin";
import type { Api } from "../api/client";
import type {
  ProviderId,
  SharedKeyRequest,
  SharedKeyRow,
  SharedKeysAnswer,
  UserRow,
} from "../api/generated";
import { RequestState } from "../api/request-state";
import { dollars } from "../components/money";
import "../components/sure-button";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";

@customElement("settings-shared-keys")
export class SettingsSharedKeys extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private shared: SharedKeysAnswer | null = null;
  @state() private people: readonly UserRow[] = [];
  /** The provider whose form is open. */
  @state() private editing: ProviderId | null = null;
  @state() private everyone = true;

  private admin!: AdminApi;
  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      form {
        display: grid;
        gap: 0.75rem;
        flex: 1 1 100%;
      }
      fieldset {
        margin: 0;
        padding: 0;
        border: 0;
      }
      .choices label {
        display: block;
        font-weight: 400;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.admin = new AdminApi(this.api);
    void this.work.run(async () => {
      [this.shared, this.people] = await Promise.all([
        this.admin.sharedKeys(),
        this.admin.people(),
      ]);
    });
  }

  override render() {
    return html`
      <h2>Shared keys</h2>
      <p class="muted">
        Providers that people may use without a key of their own. Nobody can read the key.
      </p>
      ${this.shared === null ? nothing : this.shown(this.shared)} ${this.work.outcome()}
    `;
  }

  private shown({ keys, providers }: SharedKeysAnswer) {
    const free = providers.filter(({ id }) => !keys.some(({ provider }) => provider === id));
    const added = free.find(({ id }) => id === this.editing);
    return html`
      <ul>
        ${keys.map((row) => this.row(row))}
      </ul>
      ${
        free.length === 0
          ? nothing
          : html`<label for="provider">Share a key for</label>
              <select
                id="provider"
                @change=${(event: Event) => {
                  const { value } = event.target as HTMLSelectElement;
                  this.edit(free.find(({ id }) => id === value)?.id ?? null, true);
                }}
              >
                <option value="" ?selected=${added === undefined}>Choose a provider</option>
                ${free.map(
                  ({ id, name }) =>
                    html`<option value=${id} ?selected=${id === this.editing}>${name}</option>`,
                )}
              </select>`
      }
      ${added === undefined ? nothing : this.form(added.id, null)}
    `;
  }

  private row(row: SharedKeyRow) {
    const who = row.everyone
      ? "Everyone"
      : row.users.map(({ email }) => email).join(", ") || "Nobody";
    return html`<li>
      <div>
        ${row.name} ${row.suspended ? html`<span class="tag off">suspended</span>` : nothing}
        <div class="muted small">
          ${who}; ${limitOf(row)}. ${row.url ?? nothing}
          ${row.keyHint === null ? nothing : html`Key ${row.keyHint}.`}
        </div>
      </div>
      <span title="This month">${dollars(row.monthSpentUsd)}</span>
      <button
        class="small plain"
        aria-label="Change the shared key for ${row.name}"
        @click=${() => this.edit(this.editing === row.provider ? null : row.provider, row.everyone)}
      >
        Change
      </button>
      <sure-button
        label="Stop sharing"
        what=" the key for ${row.name}"
        @sure=${() => this.stop(row)}
      ></sure-button>
      ${this.editing === row.provider ? this.form(row.provider, row) : nothing}
    </li>`;
  }

  private form(provider: ProviderId, row: SharedKeyRow | null) {
    const own = provider === "own";
    const chosen = new Set(row?.users.map(({ userId }) => userId));
    return html`<form
      @submit=${(event: SubmitEvent) => void this.save(event, provider)}
      autocomplete="off"
    >
      ${
        own
          ? html`<label>
              Address
              <input
                name="url"
                type="url"
                ?required=${row === null}
                placeholder="http://ollama.lan:11434/v1"
                .value=${row?.url ?? ""}
              />
            </label>`
          : nothing
      }
      <label>
        Key
        <input
          name="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          ?required=${row === null && !own}
          placeholder=${row === null ? "" : "Leave empty to keep the current key"}
        />
      </label>
      <fieldset class="choices">
        <legend>Who may use it</legend>
        <label>
          <input
            type="radio"
            name="who"
            value="everyone"
            .checked=${this.everyone}
            @change=${() => (this.everyone = true)}
          />
          Everyone
        </label>
        <label>
          <input
            type="radio"
            name="who"
            value="chosen"
            .checked=${!this.everyone}
            @change=${() => (this.everyone = false)}
          />
          Chosen people
        </label>
        ${
          this.everyone
            ? nothing
            : this.people.map(
                ({ id, email }) =>
                  html`<label>
                    <input type="checkbox" name="user" .value=${id} .checked=${chosen.has(id)} />
                    ${email}
                  </label>`,
              )
        }
      </fieldset>
      ${this.limit("dayUsd", "Limit of each person per day, $", row?.dayUsd ?? null)}
      ${this.limit("monthUsd", "Limit of each person per month, $", row?.monthUsd ?? null)}
      <label>
        <input type="checkbox" name="suspended" .checked=${row?.suspended ?? false} />
        Suspended
      </label>
      <button ?disabled=${this.work.busy}>${row === null ? "Share" : "Save"}</button>
    </form>`;
  }

  private limit(name: string, label: string, value: number | null) {
    return html`<label>
      ${label}
      <input
        name=${name}
        type="number"
        min="0"
        step="any"
        .value=${value === null ? "" : String(value)}
      />
    </label>`;
  }

  private edit(provider: ProviderId | null, everyone: boolean): void {
    this.editing = provider;
    this.everyone = everyone;
  }

  private async save(event: SubmitEvent, provider: ProviderId): Promise<void> {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const fields = new FormData(form);
    const amount = (name: string) => {
      const text = fieldText(form, name);
      return text === "" ? null : Number(text);
    };
    const key = fieldText(form, "key");
    const url = fieldText(form, "url");
    const request: SharedKeyRequest = {
      ...(key === "" ? {} : { key }),
      ...(url === "" ? {} : { url }),
      everyone: this.everyone,
      userIds: this.everyone ? [] : fields.getAll("user").map(String),
      suspended: fields.has("suspended"),
      dayUsd: amount("dayUsd"),
      monthUsd: amount("monthUsd"),
    };
    await this.work.run(async () => {
      this.shared = await this.admin.shareKey(provider, request);
      this.editing = null;
    }, "Saved. It holds from the next request on.");
  }

  private async stop(row: SharedKeyRow): Promise<void> {
    await this.work.run(async () => {
      await this.admin.stopSharingKey(row.provider);
      this.shared = await this.admin.sharedKeys();
    }, `The key for ${row.name} is not shared any more.`);
  }
}

function limitOf({ dayUsd, monthUsd }: SharedKeyRow): string {
  const parts = [
    dayUsd === null ? "" : `${dollars(dayUsd)} a day`,
    monthUsd === null ? "" : `${dollars(monthUsd)} a month`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "no limit" : `each at most ${parts.join(", ")}`;
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-shared-keys": SettingsSharedKeys;
  }
}
