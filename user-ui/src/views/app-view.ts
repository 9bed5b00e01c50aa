/**
 * The page as a whole: who is signed in, which view shows, and the chat behind them. The views beside
 * the chat are in `registry.ts`.
 */

import { LitElement, html, nothing } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { keyed } from "lit/directives/keyed.js";

import { again } from "../api/again";
import { Api } from "../api/client";
import { Problem, sentence } from "../api/problem";
import type { Me } from "../api/generated";
import { browserWorld } from "../chat/browser";
import { ChatClient } from "../chat/client";
import { titleOf } from "../chat/conversations";
import { DraftStorage } from "../chat/draft-storage";
import { MAIN } from "../chat/protocol";
import { isWaiting, waitingText } from "../chat/state";
import { backIcon, menuIcon, toolsIcon } from "../components/icons";
import { moodOf, type Mood } from "../components/status-pill";
import { base, controls } from "../styles/controls";
import { appStyles } from "./app-styles";
import "./chat-view";
import {
  conversationAt,
  conversationPath,
  goTo,
  inPageTarget,
  pathNow,
  takeSignInToken,
} from "./location";
import { viewAt, viewsOf, type View } from "./registry";
import { SignInTarget } from "./sign-in-target";

type Who = "unknown" | "unreachable" | "signed-out" | "signed-in";

const RETRY_MS = 4_000;
const WIDE = "(min-width: 60rem)";

@customElement("ocmt-app")
export class AppView extends LitElement {
  @state() private who: Who = "unknown";
  @state() private me: Me | null = null;
  @state() private path = pathNow();
  /** The conversation on the screen, or the last that was. */
  @state() private conversation = conversationAt(pathNow()) ?? MAIN;
  @state() private token: string | null = takeSignInToken();
  @state() private problem = "";
  /** Whether the problem is a server's error; false when no server answered. */
  @state() private answered = false;
  @state() private reason = "";
  @state() private mood: Mood = "connecting";
  /** Calls that wait for the user's decision. */
  @state() private waiting = 0;
  @state() private heading = "";
  /** Whether another conversation has something new. */
  @state() private news = false;
  /** The code of the view could not be loaded. */
  @state() private incomplete = false;
  /** There is room for the sidebar; otherwise it is a sheet. */
  @state() private wide = matchMedia(WIDE).matches;
  @query("dialog") private sheet!: HTMLDialogElement | null;

  private readonly api = new Api(import.meta.env.VITE_API_URL ?? "");
  private readonly widths = matchMedia(WIDE);
  private readonly target = new SignInTarget();
  private client: ChatClient | null = null;
  private retryTimer = 0;

  static override styles = [base, controls, appStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    this.api.onSignedOut = () => {
      this.target.remember(location.pathname + location.search);
      this.leave("You were signed out. Sign in to continue.");
    };
    window.addEventListener("popstate", this.onPop);
    window.addEventListener("hashchange", this.onHash);
    window.addEventListener("online", this.onNetwork);
    window.addEventListener("offline", this.onNetwork);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.widths.addEventListener("change", this.onWidth);
    this.addEventListener("click", this.onClick);
    this.addEventListener("signed-out", this.onSignedOut);
    this.addEventListener("model-changed", this.onMeChanged);
    this.addEventListener("me-changed", this.onMeChanged);
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
    this.widths.removeEventListener("change", this.onWidth);
    clearTimeout(this.retryTimer);
    this.client?.end();
  }

  override willUpdate(): void {
    if (this.who === "signed-out") this.loadSignIn();
    this.toggleAttribute("sided", this.wide && this.who === "signed-in");
  }

  override render() {
    if (this.who === "signed-out") {
      if (this.incomplete) return notLoaded("whole");
      return html`<sign-in-view
        .api=${this.api}
        .token=${this.token}
        reason=${this.reason}
        @signed-in=${this.onSignedIn}
      ></sign-in-view>`;
    }
    if (this.who === "unreachable") {
      return html`<main class="alone whole" role="alert">
        <h1>${this.answered ? "The server reported an error" : "No answer from the server"}</h1>
        <p>${this.problem}</p>
        <p class="muted">This page retries automatically.</p>
        <button @click=${() => void this.enter()}>Try again</button>
      </main>`;
    }
    return html`${this.side()}${this.header()}${this.view()}`;
  }

  private side() {
    if (this.client === null || this.me === null) return nothing;
    const sidebar = html`<chat-sidebar
      .client=${this.client}
      .current=${conversationAt(this.path)}
      .path=${this.path ?? ""}
      .views=${viewsOf(this.me)}
      .waiting=${this.waiting}
      @new-conversation=${this.onNew}
    ></chat-sidebar>`;
    return this.wide
      ? html`<aside aria-label="Conversations and pages">${sidebar}</aside>`
      : html`<dialog aria-label="Conversations and pages">${sidebar}</dialog>`;
  }

  private header() {
    const chat = conversationAt(this.path) !== null;
    const news = this.waiting > 0 || this.news;
    return html`<header>
      ${
        this.wide
          ? nothing
          : html`<button
              class="plain icon"
              aria-label=${news ? "Menu, with something new" : "Menu"}
              title="Menu"
              @click=${() => this.sheet?.showModal()}
            >
              ${menuIcon}${news ? html`<span class="dot"></span>` : nothing}
            </button>`
      }
      ${
        chat
          ? html`<div class="title" dir="auto">${this.heading}</div>`
          : html`<a
                class="button plain icon"
                href=${conversationPath(this.conversation)}
                aria-label="Back to the chat"
                title="Back to the chat"
                >${backIcon}</a
              >
              <div class="title"></div>`
      }
      <a class="pill" href="/agent" title="Your agent">
        <status-pill mood=${this.mood}></status-pill>
      </a>
      ${
        this.wide || this.waiting === 0
          ? nothing
          : html`<a
              class="button plain icon"
              href="/tools"
              aria-label="Decide: ${waitingText(this.waiting)}"
              title="Decisions"
              >${toolsIcon}<span class="dot"></span
            ></a>`
      }
    </header>`;
  }

  private view() {
    if (this.me === null || this.client === null) return html`<main></main>`;
    if (conversationAt(this.path) !== null) {
      const session = this.client.session(this.conversation);
      return keyed(
        session,
        html`<chat-view
          role="main"
          .session=${session}
          .api=${this.api}
          .me=${this.me}
          @new-conversation=${this.onNew}
        ></chat-view>`,
      );
    }
    const view = this.path === null ? undefined : viewAt(this.path);
    if (view === undefined || !viewsOf(this.me).includes(view)) return nowhere();
    return this.incomplete
      ? notLoaded()
      : view.render({
          api: this.api,
          me: this.me,
          session: this.client.session(this.conversation),
        });
  }

  /** Load the signed-in user and start the chat. */
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
    if (pathNow() === "/sign-in") history.replaceState(null, "", this.target.take());
    this.show();
    // Not needed for the first look at the chat.
    await again(() => import("../components/chat-sidebar")).catch(() => undefined);
  }

  private begin(me: Me): void {
    this.client?.end();
    const client = new ChatClient(
      this.api.chatUrl(location.origin),
      browserWorld(this.api),
      new DraftStorage(me.user.id),
    );
    client.addEventListener("change", this.onChat);
    client.addEventListener("deleted", this.onDeleted);
    client.addEventListener("forked", this.onForked);
    this.client = client;
    client.start();
  }

  /** Show the sign-in page after the session ended. Drafts stay in the browser's storage. */
  private leave(reason: string): void {
    const before = this.who;
    clearTimeout(this.retryTimer);
    this.client?.end();
    this.client = null;
    this.me = null;
    this.mood = "connecting";
    this.waiting = 0;
    this.news = false;
    // Without an earlier sign-in on this page there is nothing to explain.
    if (before === "signed-in") this.reason = reason;
    this.who = "signed-out";
    goTo("/sign-in", { replace: true });
    this.show();
  }

  private show(): void {
    this.path = pathNow();
    this.conversation = conversationAt(this.path) ?? this.conversation;
    const view = this.path === null ? undefined : viewAt(this.path);
    if (view !== undefined) this.load(view);
    this.onChat();
  }

  private load(view: View): void {
    again(view.load).then(
      () => (this.incomplete = false),
      () => (this.incomplete = true),
    );
  }

  /** Most visits are signed in, and start without this code. */
  private loadSignIn(): void {
    again(() => import("./sign-in-view")).catch(() => (this.incomplete = true));
  }

  private readonly onChat = () => {
    const { client } = this;
    if (client !== null) {
      this.mood = moodOf(client.state);
      this.waiting = client.state.approvals.filter(isWaiting).length;
      const entry = client.entry(this.conversation);
      this.heading = titleOf(entry ?? { id: this.conversation, title: "" });
      this.news = client.list.entries.some(
        ({ id, unread, working }) => id !== this.conversation && unread && !working,
      );
    }
    document.title = this.titleOfPage();
  };

  private titleOfPage(): string {
    if (this.path === "/sign-in") return "Sign in · OCMT";
    if (this.path === null) return "Not found · OCMT";
    if (conversationAt(this.path) === null) return `${viewAt(this.path)?.title ?? ""} · OCMT`;
    return this.conversation === MAIN ? "OCMT" : `${this.heading} · OCMT`;
  }

  /** Another tab or this one deleted the conversation. */
  private readonly onDeleted = (event: Event) => {
    if (!(event instanceof CustomEvent) || event.detail !== this.conversation) return;
    this.conversation = MAIN;
    if (conversationAt(this.path) !== null) {
      goTo("/", { replace: true });
      this.show();
    }
  };

  private readonly onForked = (event: Event) => {
    if (!(event instanceof CustomEvent) || typeof event.detail !== "string") return;
    goTo(conversationPath(event.detail));
    this.show();
  };

  /** Begin a conversation, with its first message if there is one. */
  private readonly onNew = (event: CustomEvent<string | null>) => {
    if (this.client === null) return;
    const id = this.client.create();
    if (event.detail) this.client.session(id).write(event.detail);
    goTo(conversationPath(id));
    this.sheet?.close();
    this.show();
  };

  private readonly onSignedIn = () => {
    this.reason = "";
    void this.enter();
  };

  private readonly onSignedOut = () => {
    if (this.me !== null) new DraftStorage(this.me.user.id).clearAll();
    this.target.forget();
    this.leave("You are signed out.");
  };

  private readonly onMeChanged = () => {
    this.api.me().then(
      (me) => (this.me = me),
      () => undefined, // The change itself succeeded; the next load shows it.
    );
  };

  private readonly onPop = () => this.show();

  private readonly onHash = () => {
    const token = takeSignInToken();
    if (token === null) return;
    this.token = token;
    this.who = "signed-out";
  };

  private readonly onWidth = () => (this.wide = this.widths.matches);

  private readonly onVisibility = () => this.client?.onVisibility();

  private readonly onNetwork = () => this.client?.onNetwork();

  private readonly onClick = (event: MouseEvent) => {
    const onBackdrop = event.composedPath()[0] === this.sheet;
    if (onBackdrop) this.sheet?.close();
    const target = inPageTarget(event);
    if (target === null) return;
    event.preventDefault();
    goTo(target);
    this.sheet?.close();
    this.show();
  };
}

function notLoaded(extent = "") {
  return html`<main class="alone ${extent}" role="alert">
    <h1>This view could not be loaded</h1>
    <p>Check your connection, then reload the page.</p>
    <button @click=${() => location.reload()}>Reload</button>
  </main>`;
}

function nowhere() {
  return html`<main class="alone">
    <h1>There is nothing at this address</h1>
    <p>The link may be old, or mistyped.</p>
    <p><a class="button" href="/">Go to the chat</a></p>
  </main>`;
}

declare global {
  interface HTMLElementTagNameMap {
    "ocmt-app": AppView;
  }
}
