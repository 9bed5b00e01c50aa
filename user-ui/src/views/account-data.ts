/** The page's theme, the export of one's own data, and the end of the account. */

import { LitElement, css, html } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import { RequestState } from "../api/request-state";
import { base, controls } from "../styles/controls";
import { THEMES, setTheme, theme, type Theme } from "../theme";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";

const NAMES: Record<Theme, string> = { system: "As the system", light: "Light", dark: "Dark" };

@customElement("account-data")
export class AccountData extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() email = "";
  @state() private chosen = theme();
  @state() private deleting = false;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      fieldset {
        margin: 0;
        padding: 0;
        border: 0;
      }
      legend {
        padding: 0;
        font-weight: 600;
      }
      fieldset label {
        display: inline-flex;
        align-items: center;
        gap: 0.5rem;
        min-height: 2.75rem;
        margin: 0 1rem 0 0;
        font-weight: 400;
      }
      input[type="radio"] {
        accent-color: var(--accent);
      }
    `,
  ];

  override render() {
    return html`
      <h2>Account</h2>
      <fieldset>
        <legend>Theme of this browser</legend>
        ${THEMES.map(
          (one) =>
            html`<label>
              <input
                type="radio"
                name="theme"
                .checked=${one === this.chosen}
                @change=${() => this.choose(one)}
              />
              ${NAMES[one]}
            </label>`,
        )}
      </fieldset>
      <h3>Your data</h3>
      <p>
        All that this server keeps about you, in one file. Keys stay encrypted here and are not in
        it; your agent’s files are under <a href="/agent">Your agent</a>.
      </p>
      <a class="button small plain" href=${this.api.url("/api/account/export", {})} download
        >Export your data</a
      >
      <h3>Delete your account</h3>
      ${this.deleting ? this.confirmation() : this.offer()} ${this.work.outcome()}
    `;
  }

  private offer() {
    return html`<p>
        Your agent is removed with its files, conversations and scheduled jobs, and your keys can no
        longer be decrypted by anybody. Nothing of it can be brought back.
      </p>
      <button class="small danger" @click=${() => (this.deleting = true)}>Delete account…</button>`;
  }

  private confirmation() {
    return html`<form @submit=${this.onDelete}>
      <label for="confirm">
        Type ${this.email} to delete your account and your agent permanently.
      </label>
      <div class="row">
        <input
          id="confirm"
          name="email"
          type="email"
          required
          autocomplete="off"
          placeholder=${this.email}
        />
        <button class="small danger" ?disabled=${this.work.busy}>Delete permanently</button>
        <button type="button" class="small plain" @click=${() => (this.deleting = false)}>
          Cancel
        </button>
      </div>
    </form>`;
  }

  private choose(one: Theme): void {
    this.chosen = one;
    setTheme(one);
  }

  private readonly onDelete = async (event: SubmitEvent) => {
    event.preventDefault();
    const email = fieldText(event.target as HTMLFormElement, "email");
    await this.work.run(async () => {
      await this.api.call("POST /api/account/deletion", { body: { email } });
      this.dispatchEvent(new CustomEvent("signed-out", { bubbles: true, composed: true }));
    });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "account-data": AccountData;
  }
}
