/**
 * Signing in: request a link by address, use a link, or enter the code that another browser shows.
 *
 * Opening a link does not use it; the button does. Mail scanners open links too, and some of them
 * run scripts.
 */

import { LitElement, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { LinkAccount } from "../api/generated";
import { Problem } from "../api/problem";
import { RequestState } from "../api/request-state";
import { mailIcon } from "../components/icons";
import { base, controls } from "../styles/controls";
import { fieldText } from "./form";
import { signInStyles } from "./sign-in-styles";

type Step = "address" | "mailed" | "link" | "code-shown";

@customElement("sign-in-view")
export class SignInView extends LitElement {
  @property({ attribute: false }) api!: Api;
  /** The token of the opened link; held in memory only. */
  @property({ attribute: false }) token: string | null = null;
  /** Why the user was signed out; empty if they were not. */
  @property() reason = "";
  /** Whether the server mails links. */
  @property({ type: Boolean }) mail = false;

  @state() private step: Step = "address";
  /** The account of the opened link; null until the server has answered. */
  @state() private account: LinkAccount | null = null;
  @state() private email = "";
  @state() private message = "";
  @state() private code = "";
  @query("h1") private heading!: HTMLElement | null;

  private readonly work = new RequestState(this);

  static override styles = [base, controls, signInStyles];

  override willUpdate(changed: Map<string, unknown>): void {
    if (!changed.has("token") || this.token === null) return;
    this.account = null;
    this.go("link");
    void this.loadAccount(this.token);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("visibilitychange", this.onVisible);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.onVisible);
  }

  override render() {
    return html`<main>
      <img src="/favicon.svg" width="48" height="48" alt="" />
      ${this.stepContent()}
      ${this.work.problem === "" ? nothing : html`<p class="problem" role="alert">${this.work.problem}</p>`}
    </main>`;
  }

  private stepContent() {
    switch (this.step) {
      case "address":
        if (!this.mail) return this.withoutMail();
        return html`
          <h1 tabindex="-1">Sign in</h1>
          <p class="muted">${this.reason || "We mail you a link. There is no password."}</p>
          <form @submit=${this.onAddress}>
            <label for="email">E-mail address</label>
            <input
              id="email"
              name="email"
              type="email"
              autocomplete="email"
              autocapitalize="off"
              spellcheck="false"
              required
              placeholder="you@example.com"
              .value=${this.email}
            />
            <button ?disabled=${this.work.busy}>
              ${this.work.busy ? "Sending…" : "Mail me a link"}
            </button>
          </form>
        `;
      case "mailed":
        return html`
          <h1 tabindex="-1">${mailIcon}Check your mail</h1>
          <p>${this.message}</p>
          <p class="muted">
            Your address: <b>${this.email}</b>. Open the link on this device if you can.
          </p>
          <form @submit=${this.onCode}>
            <label for="code">Opened the link elsewhere?</label>
            <p class="muted small" id="code-help">It shows six digits there. Type them here.</p>
            <input
              id="code"
              name="code"
              class="digits"
              inputmode="numeric"
              autocomplete="one-time-code"
              pattern="[0-9]{6}"
              maxlength="6"
              title="Six digits"
              aria-label="Six-digit code"
              aria-describedby="code-help"
              required
              placeholder="000000"
            />
            <button class="plain" ?disabled=${this.work.busy}>Sign in with the code</button>
          </form>
          <button class="quiet" @click=${() => this.go("address")}>Use another address</button>
        `;
      case "link":
        return html`
          <h1 tabindex="-1">Welcome</h1>
          ${this.account === null ? nothing : this.accountText(this.account)}
          ${
            this.account === null && this.work.problem !== ""
              ? html`<button @click=${() => void this.loadAccount(this.token ?? "")}>
                  Try again
                </button>`
              : html`<button
                  ?disabled=${this.work.busy || this.account === null}
                  @click=${this.onLink}
                >
                  ${this.work.busy && this.account !== null ? "Signing in…" : "Sign in"}
                </button>`
          }
          <button class="quiet" @click=${() => this.go("address")}>Request a new link</button>
        `;
      case "code-shown":
        return html`
          <h1 tabindex="-1">Type this code in the other browser</h1>
          <p class="code">
            <span class="unseen">${this.code.replace(/\B/g, " ")}</span>
            <span aria-hidden="true">${this.code}</span>
          </p>
          <p class="muted">
            The link was requested in another browser or on another device, and it signs in only
            there. Go back there and type these digits. If you did not request a link, close this
            page and do not share the code.
          </p>
        `;
    }
  }

  private withoutMail() {
    return html`
      <h1 tabindex="-1">Sign in</h1>
      ${this.reason === "" ? nothing : html`<p class="muted">${this.reason}</p>`}
      <p>This server sends no mail. Ask the person who runs it for a sign-in link.</p>
      <p class="muted">They make one with this command, and your address:</p>
      <p><code>./ocmt link --email you@example.com</code></p>
    `;
  }

  private accountText({ email, here, signedInAs }: LinkAccount) {
    return html`
      <p class="muted">
        This link signs in to the account of <b>${email}</b>${
          here ? "." : ", in the browser that requested it."
        }
      </p>
      ${
        here && signedInAs !== null && signedInAs !== email
          ? html`<p>
              You are signed in here as <b>${signedInAs}</b>. Continuing signs that account out.
            </p>`
          : nothing
      }
      ${here ? html`<p class="muted">If this is not your account, close this page.</p>` : nothing}
    `;
  }

  private async loadAccount(token: string): Promise<void> {
    await this.work.run(async () => {
      try {
        const account = await this.api.linkAccount(token);
        if (this.token === token) this.account = account;
      } catch (error) {
        if (error instanceof Problem && error.code === "link-invalid") this.go("address");
        throw error;
      }
    });
  }

  private go(step: Step): void {
    this.step = step;
    this.work.clear();
    void this.updateComplete.then(() => this.heading?.focus());
  }

  private readonly onAddress = async (event: SubmitEvent) => {
    event.preventDefault();
    this.email = fieldText(event.target as HTMLFormElement, "email");
    await this.work.run(async () => {
      this.message = (await this.api.askForLink(this.email)).message;
      this.go("mailed");
    });
  };

  private readonly onCode = (event: SubmitEvent) => {
    event.preventDefault();
    const code = fieldText(event.target as HTMLFormElement, "code");
    void this.work.run(async () => {
      await this.api.useCode(code);
      this.signedIn();
    });
  };

  private readonly onLink = async () => {
    const token = this.token ?? "";
    await this.work.run(async () => {
      const outcome = await this.api.useToken(token);
      this.token = null;
      if ("code" in outcome) {
        this.code = outcome.code;
        this.go("code-shown");
      } else {
        this.signedIn();
      }
    });
  };

  private readonly onVisible = () => {
    if (document.visibilityState === "visible" && this.step === "mailed") void this.checkSession();
  };

  /** The link may have been used in another tab of this browser. */
  private async checkSession(): Promise<void> {
    try {
      if ((await this.api.start()).me !== null) this.signedIn();
    } catch {
      // The server did not answer: stay on this step.
    }
  }

  private signedIn(): void {
    this.dispatchEvent(new CustomEvent("signed-in"));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "sign-in-view": SignInView;
  }
}
