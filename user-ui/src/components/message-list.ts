/**
 * The scrolling list of messages.
 *
 * It follows the newest text while it is scrolled to the end. Scrolling up stops that until the
 * reader returns to the end. Only the newest messages are rendered, and older ones as the reader
 * scrolls up to them.
 */

import { LitElement, css, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Message } from "../chat/state";
import { base, controls } from "../styles/controls";
import "./chat-message";
import { downIcon } from "./icons";
import { dayLabel, startOfDay } from "./times";

const NEAR_END_PX = 64;
const NEAR_START_PX = 800;
const STEP = 20;

@customElement("message-list")
export class MessageList extends LitElement {
  @property({ attribute: false }) messages: readonly Message[] = [];
  @property() waiting = "";
  /** A banner covers the top: leave room, so that it does not hide a short conversation. */
  @property({ type: Boolean, reflect: true }) under = false;
  @state() private following = true;
  @state() private rendered = STEP;
  @query(".scroll") private scroller!: HTMLElement;
  @query(".column") private column!: HTMLElement;

  private readonly resized = new ResizeObserver(() => this.follow());
  private lastTop = 0;
  /** Distance from the end that rendering older messages must keep. */
  private keptFromEnd: number | null = null;

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
        position: relative;
        min-height: 0;
      }
      .scroll {
        position: relative; /* Contains what is positioned in it, such as texts for screen readers. */
        height: 100%;
        overflow-y: auto;
        overscroll-behavior: contain;
        scrollbar-gutter: stable both-edges;
      }
      .column {
        display: flex;
        flex-direction: column;
        gap: 0.5rem;
        width: 100%;
        max-width: var(--column);
        min-height: 100%;
        margin: 0 auto;
        padding: 1rem 1rem 1.5rem;
      }
      :host([under]) .column {
        padding-top: 8rem;
      }
      .day {
        align-self: center;
        margin: 1rem 0 0.5rem;
        color: var(--muted);
        font-size: 0.8125rem;
        font-weight: 600;
      }
      .jump {
        position: absolute;
        bottom: 0.75rem;
        inset-inline: 0;
        width: max-content;
        margin-inline: auto;
        border-color: var(--line);
        background: var(--surface);
        color: var(--ink);
        box-shadow: var(--shadow);
      }
      .jump:hover {
        background: var(--sunken);
      }
    `,
  ];

  override render() {
    const newest = this.messages.findLast((message) => message.role === "assistant");
    const now = Date.now();
    const shown = this.messages.slice(-this.rendered);
    let day = 0;
    return html`
      <div
        class="scroll"
        tabindex="0"
        role="log"
        aria-live="off"
        aria-label="Conversation"
        @scroll=${this.onScroll}
      >
        <div class="column">
          <slot></slot>
          ${repeat(
            shown,
            (message) => message.key,
            (message) => {
              const before = day;
              day = startOfDay(message.at);
              return html`${
                  before === day ? nothing : html`<p class="day">${dayLabel(message.at, now)}</p>`
                }<chat-message
                  .message=${message}
                  ?newest=${message === newest}
                  waiting=${this.waiting}
                ></chat-message>`;
            },
          )}
          <slot name="end"></slot>
        </div>
      </div>
      ${
        this.following
          ? nothing
          : html`<button class="small jump" @click=${this.toEnd}>${downIcon}Jump to newest</button>`
      }
    `;
  }

  override firstUpdated(): void {
    this.resized.observe(this.column);
    this.resized.observe(this.scroller);
  }

  override willUpdate(changed: PropertyValues<this>): void {
    const before = changed.get("messages");
    if (before === undefined || this.following) return;
    // New messages at the end must not take away those that are being read.
    this.rendered += Math.max(0, this.messages.length - before.length);
  }

  override updated(): void {
    if (this.keptFromEnd === null) return;
    this.scroller.scrollTop = this.scroller.scrollHeight - this.keptFromEnd;
    this.keptFromEnd = null;
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.resized.disconnect();
  }

  /** Scroll to the end and follow new text. */
  readonly toEnd = () => {
    this.following = true;
    this.follow();
  };

  private follow(): void {
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.renderOlder();
  }

  /** Render more if the reader is near the oldest rendered message. */
  private renderOlder(): void {
    if (this.rendered >= this.messages.length || this.keptFromEnd !== null) return;
    if (this.scroller.scrollTop > NEAR_START_PX) return;
    this.keptFromEnd = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.rendered += STEP;
  }

  private readonly onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - clientHeight - scrollTop < NEAR_END_PX;
    // Growing text moves the end away; only upward movement is the reader's scrolling.
    if (atEnd && scrollTop >= this.lastTop) this.following = true;
    else if (scrollTop < this.lastTop - 1 && !this.isAtVeryEnd()) this.following = false;
    this.lastTop = scrollTop;
    this.renderOlder();
  };

  private isAtVeryEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - clientHeight - scrollTop <= 1;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "message-list": MessageList;
  }
}
