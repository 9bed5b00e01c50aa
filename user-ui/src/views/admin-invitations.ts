/** Invitations: many at once, by mail or by a link to copy. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { addresses } from "../admin/people";
import type { AdminApi } from "../api/admin";
import type { InvitationRow } from "../api/generated";
import { RequestState } from "../api/request-state";
import { copyText } from "../components/clipboard";
import "../components/sure-button";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { sectionStyles } from "./settings-styles";

@customElement("admin-invitations")
export class AdminInvitations extends LitElement {
  @property({ attribute: false }) admin!: AdminApi;
  /** Whether the server mails invitations. */
  @property({ type: Boolean }) mail = false;
  @state() private invitations: readonly InvitationRow[] = [];
  /** The link made last, by the id of its invitation; it is not shown again. */
  @state() private made: { readonly id: string; readonly link: string } | null = null;

  /** The place in the list of the last changed invitation; -1 without one. */
  @state() private changedAt = -1;
  @query("textarea") private field!: HTMLTextAreaElement | null;

  private readonly work = new RequestState(this);
  /** What became of the last change of an invitation, which is shown at its place. */
  private readonly change = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      textarea {
        width: 100%;
        min-height: 5rem;
        padding: 0.5rem 0.875rem;
        border: 1px solid var(--field-line);
        border-radius: 10px;
        background: var(--surface);
        color: var(--ink);
        font: inherit;
        resize: vertical;
      }
      form button {
        margin-top: 0.5rem;
      }
      .link {
        flex-basis: 100%;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(() => this.load());
  }

  override render() {
    return html`
      <h2>Invitations</h2>
      <p class="muted">
        ${
          this.mail
            ? "Each person gets a mail with a link that signs them in once, within seven days."
            : "This server sends no mail: copy each person’s link and give it to them yourself."
        }
      </p>
      <form @submit=${this.onInvite}>
        <label for="emails">E-mail addresses</label>
        <textarea
          id="emails"
          name="emails"
          required
          autocapitalize="off"
          spellcheck="false"
          placeholder="ada@example.com, ben@example.com"
        ></textarea>
        <button ?disabled=${this.work.busy}>Invite</button>
      </form>
      ${this.work.outcome()}
      ${
        this.invitations.length === 0 && this.changedAt < 0
          ? nothing
          : html`<h3>Invited</h3>
              <ul>
                ${this.invitations.map(
                  (invitation, place) => html`${this.outcomeAt(place)}${this.row(invitation)}`,
                )}
                ${this.outcomeAt(this.invitations.length)}
              </ul>`
      }
    `;
  }

  private row(invitation: InvitationRow) {
    return html`<li>
      <div>
        ${invitation.email}
        <div class="muted small">Valid until ${fullLabel(Date.parse(invitation.expiresAt))}</div>
      </div>
      <button
        class="small plain"
        ?disabled=${this.change.busy}
        @click=${() => this.copyLink(invitation)}
      >
        Copy link<span class="unseen"> for ${invitation.email}</span>
      </button>
      <sure-button
        label="Withdraw"
        question="Withdraw invitation?"
        what=" of ${invitation.email}"
        @sure=${() => this.withdraw(invitation)}
      ></sure-button>
      ${
        this.made?.id === invitation.id
          ? html`<div class="link">
              <label class="small" for="link">
                It signs in whoever opens it first as ${invitation.email}. Give it to nobody else.
              </label>
              <input id="link" readonly .value=${this.made.link} @focus=${selectAll} />
            </div>`
          : nothing
      }
    </li>`;
  }

  /** The outcome of the last change, where the changed row is or was. */
  private outcomeAt(place: number) {
    return place === this.changedAt
      ? html`<li class="outcome">${this.change.outcome()}</li>`
      : nothing;
  }

  /** Change the invitation; if it is `gone` then, its outcome takes its place. */
  private async changed(
    invitation: InvitationRow,
    { gone, done }: { gone: boolean; done: string },
    task: () => Promise<void>,
  ): Promise<void> {
    const place = this.invitations.indexOf(invitation);
    this.changedAt = place + 1;
    if ((await this.change.run(task, done)) && gone) this.changedAt = place;
  }

  /** What could not be sent is in the field again, before what was written meanwhile. */
  private putBack(text: string): void {
    const { field } = this;
    if (field !== null) field.value = [text, field.value].filter(Boolean).join("\n");
  }

  private async load(): Promise<void> {
    this.invitations = await this.admin.invitations();
  }

  private async copyLink(invitation: InvitationRow): Promise<void> {
    const done = `Created a link for ${invitation.email}. Earlier links no longer work.`;
    await this.changed(invitation, { gone: false, done }, async () => {
      const link = await this.admin.inviteLink(invitation.id);
      this.made = { id: invitation.id, link };
      await copyText(link);
    });
  }

  private async withdraw(invitation: InvitationRow): Promise<void> {
    const done = `The invitation of ${invitation.email} was withdrawn.`;
    await this.changed(invitation, { gone: true, done }, async () => {
      await this.admin.withdraw(invitation.id);
      await this.load();
    });
  }

  private readonly onInvite = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const text = fieldText(form, "emails");
    const { emails, wrong } = addresses(text);
    if (wrong.length > 0 || emails.length === 0) {
      this.work.fail(
        `${wrong.length === 0 ? "That" : `“${wrong.join("”, “")}”`} is no e-mail address. ` +
          "Nobody was invited.",
      );
      return;
    }
    this.changedAt = -1;
    // At once, so that what is written meanwhile is the next one.
    form.reset();
    let refused: readonly string[] = [];
    const sent = await this.work.run(
      async () => {
        const outcomes = await this.admin.invite(emails);
        refused = outcomes.filter(({ invited }) => !invited).map(({ detail }) => detail ?? "");
        await this.load();
      },
      emails.length === 1 ? `${emails[0] ?? ""} was invited.` : `${emails.length} were invited.`,
    );
    if (!sent) this.putBack(text);
    else if (refused.length > 0) {
      this.work.fail(
        `${emails.length - refused.length} of ${emails.length} were invited. ${refused.join(" ")}`,
      );
    }
  };
}

function selectAll(event: Event): void {
  (event.target as HTMLInputElement).select();
}

declare global {
  interface HTMLElementTagNameMap {
    "admin-invitations": AdminInvitations;
  }
}
