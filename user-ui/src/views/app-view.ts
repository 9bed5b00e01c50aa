/** The page as a whole: who is signed in, which view shows, and the chat session behind them. */

import { LitElement, html, nothing } from "lit";
import { customElement, state } from "lit/decorators.js";

import { Api } from "../api/client";
import { Problem, sentence } from "../api/problem";
import type { Me } from "../api/generated";
import { browserWorld } from "../chat/browser";
import { DraftStorage } from "../chat/draft-storage";
import { ChatSession } from "../chat/session";
import { isWaiting } from "../chat/state";
import { backIcon, connectionsIcon, settingsIcon, toolsIcon } from "../components/icons";
import { moodOf, type Mood } from "../components/status-pill";
import { base, controls } from "../styles/controls";
import { appStyles } from "./app-styles";
import "./chat-view";
import { goTo, inPageTarget, pathNow, takeSignInToken, type Path } from "./location";
import "./settings-view";
import "./sign-in-view";

type Who = "unknown" | "unreachable" | "signed-out" | "signed-in";

const RETRY_MS = 4_000;

/** The views that are loaded when they are shown. */
const ON_DEMAND: Partial<Record<Path, () => Promise<unknown>>> = {
  "/tools": () => import("./tools-view"),
  "/connections": () => import("./connections-view"),
  "/agent": () => import("./agent-view"),
  "/admin": () => import("./admin-view"),
};

@customElement("ocmt-app")
export class AppView extends LitElement {
  @state() private who: Who = "unknown";
  @state() private me: Me | null = null;
  @state() private path = pathNow();
  @state() private token: string | null = takeSignInToken();
  @state() private problem = "";
  /** Whether the problem is a server's error; false when no server answered. */
  @state() private answered = false;
  @state() private reason = "";
  @state() private mood: Mood = "connecting";
  /** Calls that wait for the user's decision. */
  @state() private waiting = 0;
  /** The code of a view that is loaded on demand could not be loaded. */
  @state() private incomplete = false;

  private readonly api = new Api(import.meta.env.VITE_API_URL ?? "");
  private session: ChatSession | null = null;
  private retryTimer = 0;

  static override styles = [base, controls, appStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    this.api.onSignedOut = () => this.leave("You were signed out. Sign in to continue.");
    window.addEventListener("popstate", this.onPop);
    window.addEventListener("hashchange", this.onHash);
    window.addEventListener("online", this.onNetwork);
    window.addEventListener("offline", this.onNetwork);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.addEventListener("click", this.onClick);
    if (this.token === null) void this.enter();
    else this.who = "signed-out";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.removeEventListener("popstate", this.onPop);
    window.removeEventListener("hashchange", this.onHash);
    window.removeEventListener("online", this.onNetwork);
    window.removeEventListener("offline", this.onNetwork);
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.retryTimer);
    this.session?.end();
  }

  override render() {
    if (this.who === "signed-out") {
      return html`<sign-in-view
        .api=${this.api}
        .token=${this.token}
        reason=${this.reason}
        @signed-in=${this.onSignedIn}
      ></sign-in-view>`;
    }
    if (this.who === "unreachable") {
      return html`<main class="alone" role="alert">
        <h1>${this.answered ? "The server reported an error" : "No answer from the server"}</h1>
        <p>${this.problem}</p>
        <p class="muted">This page retries automatically.</p>
        <button @click=${() => void this.enter()}>Try again</button>
      </main>`;
    }
    return html`
      <header>
        ${
          this.path === "/"
            ? html`<img src="/favicon.svg" width="32" height="32" alt="OCMT" />`
            : html`<a class="button plain icon" href="/" aria-label="Back to the chat"
                >${backIcon}</a
              >`
        }
        <a class="pill" href="/agent" title="Your agent" aria-label="Your agent’s page">
          <status-pill mood=${this.mood}></status-pill>
        </a>
        <nav aria-label="Pages">
          <a
            class="button plain icon"
            href="/tools"
            aria-label=${toolsLabel(this.waiting)}
            title="Tools"
            aria-current=${this.path === "/tools" ? "page" : nothing}
          >
            ${toolsIcon}
            ${
              this.waiting === 0
                ? nothing
                : html`<span class="count" aria-hidden="true">${Math.min(this.waiting, 99)}</span>`
            }
          </a>
          <a
            class="button plain icon"
            href="/connections"
            aria-label="Connections"
            title="Connections"
            aria-current=${this.path === "/connections" ? "page" : nothing}
          >
            ${connectionsIcon}
          </a>
          <a
            class="button plain icon"
            href="/settings"
            aria-label="Settings"
            title="Settings"
            aria-current=${this.path === "/settings" ? "page" : nothing}
          >
            ${settingsIcon}
          </a>
        </nav>
      </header>
      ${this.view()}
    `;
  }

  private view() {
    if (this.me === null || this.session === null) return html`<main></main>`;
    if (this.incomplete) return this.notLoaded();
    if (this.path === "/tools") {
      return html`<tools-view
        role="main"
        .api=${this.api}
        .session=${this.session}
        .me=${this.me}
      ></tools-view>`;
    }
    if (this.path === "/connections") {
      return html`<connections-view
        role="main"
        .api=${this.api}
        .me=${this.me}
      ></connections-view>`;
    }
    if (this.path === "/admin") {
      return html`<admin-view role="main" .api=${this.api} .me=${this.me}></admin-view>`;
    }
    if (this.path === "/agent") return html`<agent-view role="main" .api=${this.api}></agent-view>`;
    return this.path === "/settings"
      ? html`<settings-view
          role="main"
          .api=${this.api}
          .me=${this.me}
          @model-changed=${this.onModelChanged}
          @signed-out=${this.onSignedOut}
        ></settings-view>`
      : html`<chat-view
          role="main"
          .session=${this.session}
          .api=${this.api}
          .me=${this.me}
          @model-changed=${this.onModelChanged}
        ></chat-view>`;
  }

  private notLoaded() {
    return html`<main class="alone" role="alert">
      <h1>This view could not be loaded</h1>
      <p>Check your connection, then reload the page.</p>
      <button @click=${() => location.reload()}>Reload</button>
    </main>`;
  }

  /** Load the signed-in user and start the chat session. */
  private async enter(): Promise<void> {
    clearTimeout(this.retryTimer);
    try {
      this.me = await this.api.me();
    } catch (error) {
      if (error instanceof Problem && error.status === 401) return; // `leave` was called.
      this.problem = sentence(error);
      this.answered = error instanceof Problem && error.status > 0;
      this.who = "unreachable";
      this.retryTimer = window.setTimeout(() => void this.enter(), RETRY_MS);
      return;
    }
    this.token = null;
    this.who = "signed-in";
    this.begin(this.me);
    if (this.path === "/sign-in") goTo("/", { replace: true });
    this.show();
  }

  private begin(me: Me): void {
    this.session?.end();
    const session = new ChatSession(
      this.api.chatUrl(location.origin),
      browserWorld(this.api),
      new DraftStorage(me.user.id),
    );
    session.addEventListener("change", () => {
      this.mood = moodOf(session.state);
      this.waiting = session.state.approvals.filter(isWaiting).length;
    });
    this.session = session;
    session.start();
  }

  /** Show the sign-in page after the session ended. The draft stays in this tab's storage. */
  private leave(reason: string): void {
    const before = this.who;
    clearTimeout(this.retryTimer);
    this.session?.end();
    this.session = null;
    this.me = null;
    this.mood = "connecting";
    this.waiting = 0;
    // Without an earlier sign-in on this page there is nothing to explain.
    if (before === "signed-in") this.reason = reason;
    this.who = "signed-out";
    goTo("/sign-in", { replace: true });
    this.show();
  }

  private show(): void {
    this.path = pathNow();
    this.loadView();
    const titles: Record<string, string> = {
      "/connections": "Connections",
      "/settings": "Settings",
      "/sign-in": "Sign in",
      "/tools": "Tools",
      "/agent": "Your agent",
      "/admin": "Administration",
    };
    const title = titles[this.path];
    document.title = title === undefined ? "OCMT" : `${title} · OCMT`;
  }

  /** Most visits are to the chat, which starts without this code. */
  private loadView(): void {
    this.incomplete = false;
    ON_DEMAND[this.path]?.().catch(() => (this.incomplete = true));
  }

  private readonly onSignedIn = () => {
    this.reason = "";
    void this.enter();
  };

  private readonly onSignedOut = () => {
    this.session?.kept.clear();
    this.leave("You are signed out.");
  };

  private readonly onModelChanged = async () => {
    try {
      this.me = await this.api.me();
    } catch {
      // The change itself succeeded; the next load shows it.
    }
  };

  private readonly onPop = () => this.show();

  private readonly onHash = () => {
    const token = takeSignInToken();
    if (token === null) return;
    this.token = token;
    this.who = "signed-out";
  };

  private readonly onVisibility = () => this.session?.onVisibility();

  private readonly onNetwork = () => this.session?.onNetwork();

  private readonly onClick = (event: MouseEvent) => {
    const target = inPageTarget(event);
    if (target === null) return;
    event.preventDefault();
    goTo(target);
    this.show();
  };
}

function toolsLabel(waiting: number): string {
  if (waiting === 0) return "Tools";
  return waiting === 1 ? "Tools, 1 call waits for you" : `Tools, ${waiting} calls wait for you`;
}

declare global {
  interface HTMLElementTagNameMap {
    "ocmt-app": AppView;
  }
}
