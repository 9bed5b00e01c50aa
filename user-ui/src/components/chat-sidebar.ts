/** The conversations and the pages: beside the view, or in a sheet on a phone. */

import { LitElement, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Me, WireConversation, WireHit } from "../api/generated";
import type { ChatClient } from "../chat/client";
import { EMPTY_LIST, matching, titleOf, type ConversationList } from "../chat/conversations";
import { MAIN } from "../chat/protocol";
import { waitingText } from "../chat/state";
import { base, controls } from "../styles/controls";
import { conversationPath } from "../views/location";
import type { View } from "../views/registry";
import "./agent-face";
import { moreIcon, newIcon, pinIcon } from "./icons";
import { sidebarStyles } from "./sidebar-styles";
import "./sure-button";
import { dayLabel } from "./times";

const SEARCH_AFTER_MS = 300;
const MAX_TITLE = 120;

@customElement("chat-sidebar")
export class ChatSidebar extends LitElement {
  @property({ attribute: false }) client!: ChatClient;
  /** The conversation on the screen; null on another page. */
  @property({ attribute: false }) current: string | null = null;
  @property() path = "";
  /** The agent's name, empty without one, and its face. */
  @property({ attribute: false }) agent: Me["agent"] = { name: "", face: "" };
  @property({ attribute: false }) views: readonly View[] = [];
  /** Calls that wait for the user's decision. */
  @property({ type: Number }) waiting = 0;

  @state() private list: ConversationList = EMPTY_LIST;
  @state() private query = "";
  /** The conversation whose actions are open. */
  @state() private acting: string | null = null;
  @state() private renaming: string | null = null;
  @query(".rename input") private nameField!: HTMLInputElement | null;

  private searchTimer = 0;

  static override styles = [base, controls, sidebarStyles];

  override willUpdate(changed: PropertyValues<this>): void {
    // Not when it is connected: this code may be loaded after the page has set the properties.
    if (!changed.has("client")) return;
    changed.get("client")?.removeEventListener("change", this.onChange);
    this.client.addEventListener("change", this.onChange);
    this.list = this.client.list;
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.client.removeEventListener("change", this.onChange);
    clearTimeout(this.searchTimer);
  }

  override render() {
    const shown = matching(this.list.entries, this.query);
    return html`
      <div class="top">
        <a class="brand" href="/" aria-label="OCMT, main conversation">
          <img src="/favicon.svg" width="28" height="28" alt="" />
        </a>
        <button
          class="small new"
          @click=${() => this.dispatchEvent(new CustomEvent("new-conversation"))}
        >
          ${newIcon}New conversation
        </button>
        ${
          this.agent.name === "" && this.agent.face === ""
            ? nothing
            : html`<a class="agent" href="/agent" title="Your agent">
                <agent-face .face=${this.agent.face}></agent-face>
                <span class="name">${this.agent.name}</span>
              </a>`
        }
        <input
          type="search"
          aria-label="Search conversations"
          placeholder="Search"
          .value=${this.query}
          @input=${this.onSearch}
        />
      </div>
      <nav class="list" aria-label="Conversations" tabindex="-1">
        ${this.list.problem === "" ? nothing : html`<p class="problem" role="alert">${this.list.problem}</p>`}
        <ul>
          ${this.isListed() || this.query !== "" ? nothing : this.unlisted()}
          ${repeat(
            shown,
            ({ id }) => id,
            (entry) => this.row(entry),
          )}
        </ul>
        ${this.query === "" ? this.rest() : this.hits()}
      </nav>
      <nav class="pages" aria-label="Pages">${this.views.map((view) => this.page(view))}</nav>
      <button
        class="quiet commands"
        aria-keyshortcuts="Control+K Meta+K"
        @click=${() => this.dispatchEvent(new CustomEvent("commands"))}
      >
        Commands <kbd>${navigator.userAgent.includes("Mac") ? "⌘" : "Ctrl"} K</kbd>
      </button>
    `;
  }

  /** Whether the conversation on the screen is in the list: a new one is not yet. */
  private isListed(): boolean {
    const { current } = this;
    return current === null || this.list.entries.some(({ id }) => id === current);
  }

  private unlisted() {
    const id = this.current ?? MAIN;
    return html`<li class="row current">
      <a href=${conversationPath(id)} aria-current="page"
        ><span class="name">${titleOf({ id, title: "" })}</span></a
      >
    </li>`;
  }

  private row(entry: WireConversation) {
    const here = entry.id === this.current;
    const unread = entry.unread && !here && !entry.working;
    if (this.list.deleting.includes(entry.id)) return this.deletedSoon(entry);
    return html`<li class="row ${here ? "current" : ""} ${unread ? "unread" : ""}">
      ${
        this.renaming === entry.id
          ? this.renameForm(entry)
          : html`<a href=${conversationPath(entry.id)} aria-current=${here ? "page" : nothing}>
                ${entry.pinned ? html`<span class="pin" title="Pinned">${pinIcon}</span>` : nothing}
                <span class="name" dir="auto">${titleOf(entry)}</span>
                ${this.mark(entry, unread)}
              </a>
              <button
                class="quiet more"
                aria-label="Actions for ${titleOf(entry)}"
                title="Actions"
                aria-expanded=${this.acting === entry.id}
                @click=${() => (this.acting = this.acting === entry.id ? null : entry.id)}
              >
                ${moreIcon}
              </button>`
      }
      ${this.acting === entry.id && this.renaming !== entry.id ? this.actions(entry) : nothing}
    </li>`;
  }

  private deletedSoon(entry: WireConversation) {
    return html`<li class="row deleting">
      <span class="name" dir="auto">${titleOf(entry)}</span>
      <span class="when" role="status">
        ${entry.working ? "Stopping your agent, then deleting…" : "Deleting…"}
      </span>
    </li>`;
  }

  private mark(entry: WireConversation, unread: boolean) {
    if (entry.working) {
      return html`<span class="working" title="Working"></span><span class="unseen">working</span>`;
    }
    return unread
      ? html`<span class="news" title="Unread"></span><span class="unseen">unread</span>`
      : nothing;
  }

  private actions(entry: WireConversation) {
    return html`<div class="actions" @keydown=${this.onActionsKey}>
      <button class="small plain" @click=${() => this.rename(entry)}>Rename</button>
      <button
        class="small plain"
        @click=${() => {
          this.client.pin(entry.id, !entry.pinned);
          this.acting = null;
        }}
      >
        ${entry.pinned ? "Unpin" : "Pin"}
      </button>
      ${
        entry.id === MAIN
          ? nothing
          : html`<sure-button
              label="Delete"
              what=" ${titleOf(entry)}"
              @sure=${() => this.client.delete(entry.id)}
            ></sure-button>`
      }
    </div>`;
  }

  private renameForm(entry: WireConversation) {
    return html`<form class="rename" @submit=${(event: Event) => this.onRename(event, entry.id)}>
      <input
        aria-label="Name of the conversation"
        maxlength=${MAX_TITLE}
        .value=${entry.title}
        @keydown=${(event: KeyboardEvent) => {
          if (event.key === "Escape") this.renaming = null;
        }}
      />
      <button class="small">Save</button>
    </form>`;
  }

  private rest() {
    if (!this.list.loaded) {
      return html`<p class="hint">Your conversations are listed when your agent is awake.</p>`;
    }
    return this.list.more ? html`<p class="hint">Search to find older conversations.</p>` : nothing;
  }

  private hits() {
    const found = this.list.found;
    if (found?.query !== this.query.trim()) {
      return html`<p class="hint" role="status">Searching in messages…</p>`;
    }
    return html`<h3>In messages</h3>
      ${
        found.hits.length === 0
          ? html`<p class="hint" role="status">No message has these words.</p>`
          : html`<ul>
              ${found.hits.map((hit) => this.hit(hit))}
            </ul>`
      }
      ${
        found.incomplete
          ? html`<p class="hint">Your agent is still indexing older messages.</p>`
          : nothing
      }`;
  }

  private hit(hit: WireHit) {
    return html`<li class="row hit">
      <a href=${conversationPath(hit.conversation)}>
        <span class="name">${titleOf({ id: hit.conversation, title: hit.title })}</span>
        <span class="snippet" dir="auto">${hit.snippet}</span>
        <span class="when">${dayLabel(new Date(hit.at).getTime(), Date.now())}</span>
      </a>
    </li>`;
  }

  private page(view: View) {
    const waits = view.path === "/tools" ? this.waiting : 0;
    return html`<a
      class="page"
      href=${view.path}
      aria-label=${waits === 0 ? view.title : `${view.title}, ${waitingText(waits)}`}
      aria-current=${this.path === view.path ? "page" : nothing}
    >
      ${view.icon}<span>${view.title}</span>
      ${waits === 0 ? nothing : html`<span class="count" aria-hidden="true">${Math.min(waits, 99)}</span>`}
    </a>`;
  }

  private async rename(entry: WireConversation): Promise<void> {
    this.renaming = entry.id;
    await this.updateComplete;
    this.nameField?.focus();
    this.nameField?.select();
  }

  private onRename(event: Event, id: string): void {
    event.preventDefault();
    this.client.rename(id, this.nameField?.value.trim() ?? "");
    this.renaming = null;
    this.acting = null;
  }

  private readonly onActionsKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      this.acting = null;
    }
  };

  private readonly onChange = () => {
    this.list = this.client.list;
  };

  private readonly onSearch = (event: Event) => {
    this.query = (event.target as HTMLInputElement).value;
    clearTimeout(this.searchTimer);
    this.searchTimer = window.setTimeout(() => this.client.search(this.query), SEARCH_AFTER_MS);
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "chat-sidebar": ChatSidebar;
  }
}
