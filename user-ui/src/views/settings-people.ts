/** For admins: the users and the invitations. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { InvitationRow, UserRow } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";

@customElement("settings-people")
export class SettingsPeople extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) myId = "";
  /** Whether the server mails invitations. */
  @property({ type: Boolean }) mail = false;
  @state() private people: readonly UserRow[] = [];
  @state() private invitations: readonly InvitationRow[] = [];

  /** The id of the user whose deletion awaits confirmation. */
  @state() private deleting: string | null = null;

  private readonly listing = new RequestState(this);
  private readonly inviting = new RequestState(this);

  static override styles = [base, controls, sectionStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.listing.run(() => this.load());
  }

  override render() {
    return html`
      <h2>People</h2>
      <p class="muted">Each person has an agent of their own.</p>
      <ul>
        ${this.people.map((person) => this.person(person))}
      </ul>
      ${this.listing.outcome()}
      <h3>Invite a person</h3>
      ${
        this.mail
          ? nothing
          : html`<p class="muted">
              This server sends no mail. Its operator makes the sign-in link of an invited person
              with
              <code>./ocmt link --email …</code>
            </p>`
      }
      <form @submit=${this.onInvite}>
        <label class="unseen" for="invite">E-mail address</label>
        <div class="row">
          <input
            id="invite"
            name="email"
            type="email"
            required
            autocomplete="off"
            placeholder="name@example.com"
          />
          <button ?disabled=${this.inviting.busy}>Invite</button>
        </div>
      </form>
      ${this.inviting.outcome()}
      ${
        this.invitations.length === 0
          ? nothing
          : html`<h3>Invited</h3>
              <ul>
                ${this.invitations.map((invitation) => this.invitation(invitation))}
              </ul>`
      }
    `;
  }

  private person(person: UserRow) {
    return html`<li>
      <div>
        ${person.email} ${person.role === "admin" ? html`<span class="tag">admin</span>` : nothing}
        ${
          person.status === "active"
            ? nothing
            : html`<span class="tag off"
                >${person.status === "deleting" ? "being deleted" : "suspended"}</span
              >`
        }
        <div class="muted small">
          ${
            person.lastSignInAt === null
              ? "Has not signed in yet"
              : `Last signed in ${fullLabel(new Date(person.lastSignInAt).getTime())}`
          }
        </div>
        ${person.pending === null ? nothing : html`<div class="small">${person.pending}</div>`}
      </div>
      ${person.id === this.myId || person.status === "deleting" ? nothing : this.acts(person)}
    </li>`;
  }

  private acts(person: UserRow) {
    if (this.deleting === person.id) return this.confirmation(person);
    return html`
      ${
        person.status === "suspended"
          ? html`<button class="small plain" @click=${() => this.setStatus(person, "active")}>
              Reactivate<span class="unseen"> ${person.email}</span>
            </button>`
          : html`<sure-button
              label="Suspend"
              what=" ${person.email}"
              @sure=${() => this.setStatus(person, "suspended")}
            ></sure-button>`
      }
      <button class="small plain" @click=${() => (this.deleting = person.id)}>
        Delete<span class="unseen"> ${person.email}</span>
      </button>
    `;
  }

  /** Deleting cannot be undone, so the admin has to type the address. */
  private confirmation(person: UserRow) {
    return html`<form @submit=${(event: SubmitEvent) => this.onDelete(event, person)}>
      <label class="small" for="confirm">
        This permanently deletes the agent of ${person.email} with its files, conversations and
        keys. Type the address to confirm.
      </label>
      <div class="row">
        <input
          id="confirm"
          name="email"
          type="email"
          required
          autocomplete="off"
          placeholder=${person.email}
        />
        <button class="small danger" ?disabled=${this.listing.busy}>Delete permanently</button>
        <button type="button" class="small plain" @click=${() => (this.deleting = null)}>
          Cancel
        </button>
      </div>
    </form>`;
  }

  private readonly onDelete = async (event: SubmitEvent, person: UserRow) => {
    event.preventDefault();
    const email = fieldText(event.target as HTMLFormElement, "email");
    await this.listing.run(async () => {
      await this.api.deletePerson(person.id, email);
      this.deleting = null;
      await this.load();
    }, `${person.email} is being deleted.`);
  };

  private invitation(invitation: InvitationRow) {
    return html`<li>
      <div>
        ${invitation.email}
        <div class="muted small">
          Valid until ${fullLabel(new Date(invitation.expiresAt).getTime())}
        </div>
      </div>
      <sure-button
        label="Withdraw"
        question="Withdraw invitation?"
        what=" of ${invitation.email}"
        @sure=${() => this.withdraw(invitation)}
      ></sure-button>
    </li>`;
  }

  private async load(): Promise<void> {
    [this.people, this.invitations] = await Promise.all([
      this.api.people(),
      this.api.invitations(),
    ]);
  }

  private async setStatus(person: UserRow, status: "active" | "suspended"): Promise<void> {
    await this.listing.run(async () => {
      await this.api.setStatus(person.id, status);
      await this.load();
    });
  }

  private async withdraw(invitation: InvitationRow): Promise<void> {
    await this.inviting.run(async () => {
      await this.api.revokeInvitation(invitation.id);
      await this.load();
    }, `The invitation of ${invitation.email} was withdrawn.`);
  }

  private readonly onInvite = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const email = fieldText(form, "email");
    await this.inviting.run(
      async () => {
        await this.api.invite(email);
        form.reset();
        await this.load();
      },
      this.mail ? `${email} was invited by mail.` : `${email} was invited.`,
    );
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-people": SettingsPeople;
  }
}
