/** One message. It renders again only when its message object changes. */

import { LitElement, html, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { again } from "../api/again";
import { sizeText, type MessageFile } from "../chat/attachments";
import { usesTool, type AgentMessage, type Message, type UserMessage } from "../chat/state";
import { MarkdownView, parseIntervalMs } from "../markdown/view";
import { base, controls } from "../styles/controls";
import { DEFAULT_NAME } from "./agent-face";
import { copyText } from "./clipboard";
import { markdownStyles } from "./markdown-styles";
import { messageStyles } from "./message-styles";
import { fullLabel, timeLabel } from "./times";

const LONG_QUESTION = 1_200;
const LONG_ANSWER = 5_000;
const LONG_LINES = 24;
/** Characters to render of a folded answer: those that are visible, and some more. */
const FOLDED_LENGTH = 2_500;
const COPIED_MS = 2_000;
const NAMES_SETTINGS = /\bsettings\b/i;

@customElement("chat-message")
export class ChatMessage extends LitElement {
  @property({ attribute: false }) message!: Message;
  /** The newest answer is never folded. */
  @property({ type: Boolean }) newest = false;
  /** The agent's name. */
  @property() agent = DEFAULT_NAME;
  /** Text shown while the answer is still empty. */
  @property() waiting = "";

  @state() private open = false;
  @state() private copied = false;
  @query(".text.markdown") private body!: HTMLElement | null;

  private view: MarkdownView | null = null;
  private parsedAt = 0;
  private parseTimer = 0;
  private copiedTimer = 0;

  static override styles = [base, controls, messageStyles, markdownStyles];

  override render() {
    const message = this.message;
    return message.role === "user" ? this.question(message) : this.answer(message);
  }

  override updated(changed: PropertyValues): void {
    if (this.message.role !== "assistant") return;
    // Without its code the cards are missing; the next change tries again.
    if (hasWork(this.message)) again(() => import("./tool-calls")).catch(() => undefined);
    if (["message", "newest", "open"].some((name) => changed.has(name))) {
      this.scheduleParse(this.message);
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.view?.stop();
    clearTimeout(this.parseTimer);
    clearTimeout(this.copiedTimer);
    this.parseTimer = 0;
  }

  private question(message: UserMessage) {
    const failed = message.failure;
    const folded = this.folded(message.text.length > LONG_QUESTION || isTall(message.text));
    return html`
      <article class="question" aria-label="You" @pointerenter=${this.refreshTime}>
        ${
          message.files.length === 0
            ? nothing
            : html`<ul class="files">
                ${message.files.map(file)}
              </ul>`
        }
        ${
          message.text === ""
            ? nothing
            : html`<div class="bubble ${folded ? "folded" : ""}">
                <p class="text" dir="auto">${message.text}</p>
              </div>`
        }
        ${this.fold(folded, message.text.length > LONG_QUESTION || isTall(message.text))}
        <div class="meta">
          ${
            message.delivery === "sent" && !message.queued
              ? this.time(message.at)
              : this.delivery(message)
          }
          ${message.text === "" ? nothing : this.copyButton()}${this.editButton(message)}
        </div>
        ${
          failed === null
            ? nothing
            : html`<div class="problem" role="alert">
                <p>
                  ${failed.detail}
                  ${NAMES_SETTINGS.test(failed.detail) ? html`<a href="/settings">Open settings</a>` : nothing}
                </p>
                ${
                  failed.retry
                    ? html`<button class="small danger" @click=${() => this.emit("again")}>
                        Send again
                      </button>`
                    : nothing
                }
                ${
                  message.delivery === "failed"
                    ? html`<button class="quiet" @click=${() => this.emit("discard")}>
                        Remove
                      </button>`
                    : nothing
                }
              </div>`
        }
      </article>
    `;
  }

  private answer(message: AgentMessage) {
    const long = this.isLong(message);
    const folded = this.folded(long);
    const thinking = message.phase === "streaming" && message.text === "" && !usesTool(message);
    return html`
      <article
        class="answer"
        aria-label=${this.agent}
        aria-busy=${message.phase === "streaming"}
        @pointerenter=${this.refreshTime}
        @focusin=${this.unfold}
      >
        ${
          hasWork(message)
            ? html`<tool-calls .tools=${message.tools} thoughts=${message.thoughts}></tool-calls>`
            : nothing
        }
        <div class=${folded ? "folded" : ""}>
          <div class="text markdown" ?hidden=${message.text === ""}></div>
        </div>
        ${
          message.files.length === 0
            ? nothing
            : html`<ul class="files">
                ${message.files.map(file)}
              </ul>`
        }
        ${
          thinking
            ? html`<p class="thinking">
                <span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>${this.waiting}
              </p>`
            : nothing
        }
        ${this.fold(folded, long)}
        <div class="meta">
          ${
            message.phase === "streaming"
              ? nothing
              : html`${ending(message)}${this.time(message.at)}${message.text === "" ? nothing : this.copyButton()}${this.retryButton(message)}`
          }
        </div>
      </article>
    `;
  }

  private delivery(message: UserMessage) {
    const words = {
      waiting: "Waiting to be sent",
      sending: "Sending…",
      failed: "Not sent",
      sent: "Waiting for its turn",
    }[message.delivery];
    return html`<span class="delivery" data-delivery=${message.delivery}>${words}</span>`;
  }

  private time(at: number) {
    return html`<time datetime=${new Date(at).toISOString()} title=${fullLabel(at)}>
      ${timeLabel(at, Date.now())}
    </time>`;
  }

  private copyButton() {
    return html`<button class="quiet" @click=${this.copy}>
      ${this.copied ? "Copied" : "Copy"}<span class="unseen"> message</span>
    </button>`;
  }

  /** A message that the agent has read is written anew in another conversation. */
  private editButton(message: UserMessage) {
    if (message.delivery !== "sent" || message.queued) return nothing;
    return html`<button
      class="quiet"
      title="Write it anew in another conversation"
      @click=${() => this.emit("edit")}
    >
      Edit<span class="unseen"> in another conversation</span>
    </button>`;
  }

  /** Another answer to the same question, beside this one. */
  private retryButton(message: AgentMessage) {
    if (!this.newest || message.phase === "streaming") return nothing;
    const retry = () => {
      const detail = message.key;
      this.dispatchEvent(new CustomEvent("retry", { detail, bubbles: true, composed: true }));
    };
    return html`<button class="quiet" title="Ask again in another conversation" @click=${retry}>
      Try again<span class="unseen"> in another conversation</span>
    </button>`;
  }

  private isLong(message: AgentMessage): boolean {
    return !message.live && !this.newest && message.text.length > LONG_ANSWER;
  }

  private folded(long: boolean): boolean {
    return long && !this.open;
  }

  private fold(folded: boolean, long: boolean) {
    if (!long) return nothing;
    return html`<button
      class="quiet more"
      aria-expanded=${!folded}
      @click=${() => (this.open = !this.open)}
    >
      ${folded ? "Show more" : "Show less"}
    </button>`;
  }

  /** Parse now, or after an interval while a long text is still streaming. */
  private scheduleParse(message: AgentMessage): void {
    const interval = message.phase === "streaming" ? parseIntervalMs(message.text.length) : 0;
    const due = this.parsedAt + interval - performance.now();
    if (due <= 0) {
      clearTimeout(this.parseTimer);
      this.parseTimer = 0;
      this.parse();
    } else if (this.parseTimer === 0) {
      this.parseTimer = window.setTimeout(() => {
        this.parseTimer = 0;
        this.parse();
      }, due);
    }
  }

  private parse(): void {
    if (this.body === null) return;
    this.view ??= new MarkdownView(this.body);
    const { message } = this;
    const folded = message.role === "assistant" && this.folded(this.isLong(message));
    this.view.show(folded ? message.text.slice(0, FOLDED_LENGTH) : message.text);
    this.parsedAt = performance.now();
  }

  private readonly refreshTime = () => this.requestUpdate();

  private readonly unfold = (event: FocusEvent) => {
    // An element with the focus must be visible.
    const target = event.composedPath()[0] as HTMLElement;
    if (target.closest(".folded") !== null) this.open = true;
  };

  private readonly copy = async () => {
    this.copied = await copyText(this.message.text);
    this.copiedTimer = window.setTimeout(() => (this.copied = false), COPIED_MS);
  };

  private emit(name: "again" | "discard" | "edit"): void {
    const event = new CustomEvent(name, { detail: this.message.id, bubbles: true, composed: true });
    this.dispatchEvent(event);
  }
}

function hasWork(message: AgentMessage): boolean {
  return message.tools.length > 0 || message.thoughts !== "";
}

function file({ kind, name, url, size }: MessageFile) {
  if (url === null) {
    return size === undefined
      ? html`<li class="muted">${name} could not be delivered.</li>`
      : html`<li class="muted">${name} (${sizeText(size)})</li>`;
  }
  return kind === "image"
    ? html`<li>
        <a href=${url} target="_blank"><img src=${url} alt=${name} loading="lazy" /></a>
      </li>`
    : html`<li><a href=${url} download=${name}>${name}</a></li>`;
}

function isTall(text: string): boolean {
  return text.split("\n", LONG_LINES + 1).length > LONG_LINES;
}

function ending(message: AgentMessage) {
  if (message.phase === "stopped") return html`<span class="ending">Stopped</span>`;
  if (message.phase === "interrupted") {
    return html`<span class="ending"
      >Interrupted: the rest of the answer was lost. Ask again.</span
    >`;
  }
  return nothing;
}

declare global {
  interface HTMLElementTagNameMap {
    "chat-message": ChatMessage;
  }
}
