/** A switch: notifications on this device. */

import { LitElement, css, html } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { NotificationsView } from "../api/generated";
import { RequestState } from "../api/request-state";
import { support, turnOff, turnOn, type Support } from "../notifications/push";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

const WHY_NOT: Record<Exclude<Support, "yes">, string> = {
  insecure: "Browsers allow notifications only for pages with https.",
  install:
    "On iPhone and iPad, add this page to the Home Screen first: Share, then “Add to Home Screen”. " +
    "Open it from there, and turn notifications on here.",
  none: "This browser has no notifications.",
  blocked:
    "This browser blocks notifications of this page. Allow them in the browser’s settings for this " +
    "site, then reload the page.",
};

@customElement("settings-notifications")
export class SettingsNotifications extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() private view: NotificationsView | null = null;
  @state() private able = support();

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      label {
        display: inline-flex;
        align-items: center;
        gap: 0.625rem;
        min-height: 2.75rem;
        margin: 0;
      }
      input {
        width: 1.25rem;
        height: 1.25rem;
        accent-color: var(--accent);
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(() => this.load());
  }

  override render() {
    return html`
      <h2>Notifications</h2>
      <p class="muted">
        When an answer or a decision waits and none of your devices shows this page. A notification
        does not contain what your agent wrote.
      </p>
      ${this.able === "yes" ? this.switch() : html`<p>${WHY_NOT[this.able]}</p>`}
      ${this.work.outcome()}
    `;
  }

  private switch() {
    return html`<label>
      <input
        type="checkbox"
        role="switch"
        aria-checked=${this.view?.on ?? false}
        .checked=${this.view?.on ?? false}
        ?disabled=${this.view === null || this.work.busy}
        @change=${this.onChange}
      />
      On this device
    </label>`;
  }

  private async load(): Promise<void> {
    this.view = await this.api.call("GET /api/notifications", {});
  }

  private readonly onChange = async (event: Event) => {
    const input = event.target as HTMLInputElement;
    const { checked } = input;
    const { view } = this;
    if (view === null) return;
    await this.work.run(
      async () => {
        if (!checked) await turnOff(this.api);
        else if (!(await turnOn(this.api, view))) this.able = support();
        await this.load();
        this.dispatchEvent(
          new CustomEvent("notifications-changed", { bubbles: true, composed: true }),
        );
      },
      checked ? "" : "This device gets no notifications any more.",
    );
    // A failure leaves the view as it was, so that no update sets the switch back.
    input.checked = this.view?.on ?? false;
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-notifications": SettingsNotifications;
  }
}
