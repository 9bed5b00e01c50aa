/**
 * The scrolling list of messages.
 *
 * It follows the newest text while it is scrolled to the end. Scrolling up stops that until the
 * reader returns to the end. Only the messages near the screen are rendered; spaces as high as the
 * others are above and below them. What the reader sees stays in place when heights turn out to
 * differ, when older messages are loaded, and when messages above it grow.
 */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { Message } from "../chat/state";
import { base, controls } from "../styles/controls";
import { DEFAULT_NAME } from "./agent-face";
import "./chat-message";
import { downIcon } from "./icons";
import { heightOf, nextRange, rangeAt, type Range } from "./message-window";
import { dayLabel, startOfDay } from "./times";

const NEAR_END_PX = 64;
const NEAR_START_PX = 1_500;
/** How far beyond the screen messages are rendered. */
const MARGIN_PX = 1_200;
/** Messages rendered in one frame, so that no frame takes long. */
const STEP = 6;
const FIRST_GUESS_PX = 120;

/** Where the reader is: the first message on the screen, and its distance from the list's top. */
interface Reading {
  readonly key: string;
  readonly top: number;
  /** How far the list was scrolled then. */
  readonly scrolled: number;
}

@customElement("message-list")
export class MessageList extends LitElement {
  @property({ attribute: false }) messages: readonly Message[] = [];
  @property() waiting = "";
  /** The agent's name. */
  @property() agent = DEFAULT_NAME;
  /** A banner covers the top: leave room, so that it does not hide a short conversation. */
  @property({ type: Boolean, reflect: true }) under = false;
  /** Whether there are older messages to load, and whether they are on their way. */
  @property({ type: Boolean }) more = false;
  @property({ type: Boolean }) loading = false;
  @state() private following = true;
  @state() private range: Range = { from: 0, to: 0 };
  @query(".scroll") private scroller!: HTMLElement;
  @query(".column") private column!: HTMLElement;
  @query(".messages") private list!: HTMLElement;
  @query(".above") private above!: HTMLElement;
  @query(".below") private below!: HTMLElement;

  private readonly resized = new ResizeObserver(() => this.settle());
  /** Measured heights, with the day label and the gap, by the messages' keys. */
  private readonly measured = new Map<string, number>();
  private heights: number[] = [];
  private lastTop = 0;
  private reading: Reading | null = null;
  private firstKey: string | null = null;
  private framePlanned = false;

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
        overflow-anchor: none; /* The list keeps its place itself, in every browser. */
      }
      .column {
        display: flex;
        flex-direction: column;
        width: 100%;
        max-width: var(--column);
        min-height: 100%;
        margin: 0 auto;
        padding: 1rem 1rem 1.5rem;
      }
      :host([under]) .column {
        padding-top: 8rem;
      }
      .item {
        padding-bottom: 0.5rem;
      }
      ::slotted(*) {
        margin-bottom: 0.5rem;
      }
      .day,
      .older {
        margin: 0;
        padding: 1rem 0 0.5rem;
        text-align: center;
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
    const { from, to } = this.range;
    const before = this.messages[from - 1];
    let day = before === undefined ? 0 : startOfDay(before.at);
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
          ${this.loading ? html`<p class="older" role="status">Loading older messages…</p>` : nothing}
          <slot></slot>
          <div class="messages">
            <div class="space above"></div>
            ${repeat(
              this.messages.slice(from, to),
              (message) => message.key,
              (message) => {
                const last = day;
                day = startOfDay(message.at);
                return html`<div class="item" data-key=${message.key}>
                  ${last === day ? nothing : html`<p class="day">${dayLabel(message.at, now)}</p>`}
                  <chat-message
                    .message=${message}
                    ?newest=${message === newest}
                    waiting=${this.waiting}
                    agent=${this.agent}
                  ></chat-message>
                </div>`;
              },
            )}
            <div class="space below"></div>
          </div>
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

  override willUpdate(): void {
    if (this.hasUpdated) this.noteScrolling();
    this.shiftRange();
    const known = [...this.measured.values()].sort((one, other) => one - other);
    const guess = known[known.length >> 1] ?? FIRST_GUESS_PX;
    this.heights = this.messages.map(({ key }) => this.measured.get(key) ?? guess);
    if (!this.hasUpdated || this.following) this.show(this.rangeAtEnd());
  }

  override firstUpdated(): void {
    this.resized.observe(this.column);
    this.resized.observe(this.scroller);
  }

  override updated(): void {
    const { from, to } = this.range;
    // Not as attributes, which the content security policy refuses.
    this.above.style.height = `${heightOf(this.heights, 0, from)}px`;
    this.below.style.height = `${heightOf(this.heights, to, this.messages.length)}px`;
    this.settle();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.resized.disconnect();
  }

  /** Scroll to the end and follow new text. */
  readonly toEnd = () => {
    this.following = true;
    this.show(this.rangeAtEnd());
  };

  private show(range: Range): void {
    this.range = range;
    this.firstKey = this.messages[range.from]?.key ?? null;
  }

  /** Messages came or went at the beginning: render the same ones as before. */
  private shiftRange(): void {
    const { from, to } = this.range;
    if (this.firstKey === null || this.messages[from]?.key === this.firstKey) return;
    const index = this.messages.findIndex(({ key }) => key === this.firstKey);
    const shift = Math.max(index, 0) - from;
    this.show({ from: from + shift, to: Math.min(to + shift, this.messages.length) });
  }

  private rangeAtEnd(): Range {
    const end = this.messages.length;
    const height = (this.hasUpdated ? this.scroller.clientHeight : innerHeight) + MARGIN_PX;
    let from = end;
    for (let sum = 0; from > 0 && sum < height; from -= 1) sum += this.heights[from - 1] ?? 0;
    // Not too many at once: the others follow, one frame after the other.
    const before = this.range.to > this.range.from ? Math.min(this.range.from, end) : end;
    return { from: Math.max(from, Math.min(before, end) - STEP), to: end };
  }

  /** Measure what is rendered, keep the reader's place, and see whether more must be rendered. */
  private settle(): void {
    this.noteScrolling();
    this.measure();
    if (this.following) {
      this.scroller.scrollTop = this.scroller.scrollHeight;
      this.lastTop = this.scroller.scrollTop;
    } else this.keepPlace();
    this.plan();
    if (this.more && !this.loading && this.scroller.scrollTop < NEAR_START_PX) {
      this.dispatchEvent(new CustomEvent("older"));
    }
  }

  private measure(): void {
    for (const item of this.items()) {
      this.measured.set(item.dataset.key ?? "", item.getBoundingClientRect().height);
    }
  }

  private items(): HTMLElement[] {
    return [...this.list.querySelectorAll<HTMLElement>(".item")];
  }

  private keepPlace(): void {
    const { reading } = this;
    const item = this.items().find(({ dataset }) => dataset.key === reading?.key);
    if (item !== undefined && reading !== null) {
      const moved = this.topOf(item) - reading.top;
      if (Math.abs(moved) >= 1) {
        this.scroller.scrollTop += moved;
        this.lastTop = this.scroller.scrollTop;
      }
    }
    this.note();
  }

  /** The reader scrolled, and the event for it has not come yet. */
  private noteScrolling(): void {
    if (this.reading?.scrolled !== this.scroller.scrollTop) this.note();
  }

  private note(): void {
    const first = this.items().find((item) => this.topOf(item) + item.offsetHeight > 0);
    const scrolled = this.scroller.scrollTop;
    this.reading =
      first === undefined
        ? null
        : { key: first.dataset.key ?? "", top: this.topOf(first), scrolled };
  }

  private topOf(item: HTMLElement): number {
    return item.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top;
  }

  /** Render more in the next frame, if messages near the screen are missing. */
  private plan(): void {
    const next = this.following ? this.rangeAtEnd() : this.nextRange();
    if (this.framePlanned || (next.from === this.range.from && next.to === this.range.to)) return;
    this.framePlanned = true;
    requestAnimationFrame(() => {
      this.framePlanned = false;
      if (this.isConnected && !this.following) this.show(this.nextRange());
      else this.requestUpdate();
    });
  }

  private nextRange(): Range {
    const { scrollTop, clientHeight } = this.scroller;
    const top = scrollTop - this.list.offsetTop;
    const heights = this.messages.map(({ key }, index) => {
      return this.measured.get(key) ?? this.heights[index] ?? FIRST_GUESS_PX;
    });
    const seen = rangeAt(heights, top, top + clientHeight);
    const wanted = rangeAt(heights, top - MARGIN_PX, top + clientHeight + MARGIN_PX);
    return nextRange(this.range, wanted, seen, STEP);
  }

  private readonly onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - clientHeight - scrollTop < NEAR_END_PX;
    // Growing text moves the end away; only upward movement is the reader's scrolling.
    if (atEnd && scrollTop >= this.lastTop) this.following = true;
    else if (scrollTop < this.lastTop - 1 && !this.isAtVeryEnd()) this.following = false;
    this.lastTop = scrollTop;
    this.note();
    this.plan();
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
