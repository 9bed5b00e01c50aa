/** The chat page. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import { again } from "../api/again";
import type { Api } from "../api/client";
import type { ApprovalView, Me } from "../api/generated";
import { choose, filesIn, fitted } from "../chat/attachments";
import { draftFiles } from "../chat/file-storage";
import { isAsleep, isSettingUp } from "../chat/protocol";
import type { ChatSession } from "../chat/session";
import { INITIAL, isRunning, isWaiting, type ChatState } from "../chat/state";
import { agentName } from "../components/agent-face";
import "../components/empty-chat";
import "../components/message-composer";
import type { MessageComposer } from "../components/message-composer";
import "../components/message-list";
import type { MessageList } from "../components/message-list";
import "../components/model-picker";
import "../components/setup-progress";
import { moodOf } from "../components/status-pill";
import "../components/trouble-banner";
import { base, controls } from "../styles/controls";
import { chatStyles } from "./chat-styles";

const SPOKEN_LENGTH = 600;
/** OpenClaw's commands for another conversation, and a message that may follow. */
const NEW_CONVERSATION = /^\s*\/(?:new|reset)\b\s*([^]*)$/i;

@customElement("chat-view")
export class ChatView extends LitElement {
  @property({ attribute: false }) session!: ChatSession;
  @property({ attribute: false }) api!: Api;
  @property({ attribute: false }) me!: Me;

  @state() private chat: ChatState = INITIAL;
  @state() private draft = "";
  @state() private files: readonly File[] = [];
  /** Why files could not be attached. */
  @state() private fileProblems: readonly string[] = [];
  @state() private spoken = "";
  /** The files that are being attached, in the order in which they were chosen. */
  private attaching: Promise<void> = Promise.resolve();
  @query("message-list") private list!: MessageList;
  @query("message-composer") private composer!: MessageComposer;

  static override styles = [base, controls, chatStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    this.chat = this.session.state;
    this.draft = this.session.kept.draft;
    this.loadCards();
    this.inTurn(() => this.restoreFiles());
    this.session.addEventListener("change", this.onChange);
    this.session.show(true);
    this.addEventListener("dragover", this.onDrag);
    this.addEventListener("drop", this.onDrop);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.session.removeEventListener("change", this.onChange);
    this.session.show(false);
  }

  override firstUpdated(): void {
    // Not on a phone: its keyboard would cover the page.
    if (matchMedia("(hover: hover)").matches) this.composer.focus();
  }

  override render() {
    const { older, messages, notice, approvals, olderFrom, olderAsked } = this.chat;
    return html`
      <h1 class="unseen">Chat with ${this.me.agent.name || "your agent"}</h1>
      <model-picker .api=${this.api} .me=${this.me}></model-picker>
      <div class="conversation">
        <trouble-banner .session=${this.session} .chat=${this.chat} .api=${this.api}>
        </trouble-banner>
        <message-list
          .messages=${older.length === 0 ? messages : [...older, ...messages]}
          ?more=${olderFrom !== null}
          ?loading=${olderAsked}
          @older=${() => this.session.askOlder()}
          waiting=${this.waiting()}
          agent=${agentName(this.me)}
          ?under=${moodOf(this.chat) === "trouble"}
          @again=${(event: CustomEvent<string>) => this.session.again(event.detail)}
          @retry=${(event: CustomEvent<string>) => this.session.tryAgain(event.detail)}
          @edit=${(event: CustomEvent<string>) => this.session.fork(event.detail)}
          @discard=${(event: CustomEvent<string>) => this.session.discard(event.detail)}
        >
          ${this.beginning()}
          ${repeat(
            approvals,
            ({ id }) => id,
            (approval) => this.approval(approval),
          )}
        </message-list>
      </div>
      <div class="foot">
        ${
          notice === null
            ? nothing
            : html`<div class="problem" role="alert">
                <p>${notice.detail}</p>
                ${
                  notice.retry
                    ? html`<button class="small danger" @click=${() => this.session.askHistory()}>
                        Try again
                      </button>`
                    : nothing
                }
                <button class="quiet" @click=${() => this.session.dismissNotice()}>Dismiss</button>
              </div>`
        }
        <attached-files
          .files=${this.files}
          .problems=${this.fileProblems}
          @remove=${(event: CustomEvent<number>) => {
            this.setFiles(this.files.filter((_, index) => index !== event.detail));
          }}
        ></attached-files>
        <message-composer
          .draft=${this.draft}
          ?attached=${this.files.length > 0}
          @attach=${(event: CustomEvent<readonly File[]>) => this.attach(event.detail)}
          ?running=${isRunning(this.chat)}
          @draft=${(event: CustomEvent<string>) => this.setDraft(event.detail)}
          @write=${(event: CustomEvent<string>) => this.write(event.detail)}
          @stop=${() => this.session.stop()}
        ></message-composer>
        <p class="hint">${this.hint()}</p>
      </div>
      <div class="unseen" aria-live="polite">${this.spoken}</div>
    `;
  }

  /** A call to decide on. Until its card is loaded, a link to the inbox is in its place. */
  private approval(approval: ApprovalView) {
    return html`<decision-card
      slot="end"
      .approval=${approval}
      .api=${this.api}
      email=${this.me.user.email}
    >
      <a href="/tools">A call waits for your decision</a>
    </decision-card>`;
  }

  /** The content above the first message. */
  private beginning() {
    const { messages, history, status, connection } = this.chat;
    if (status !== null && isSettingUp(status.state)) {
      return html`<setup-progress .detail=${status.detail} .since=${status.since}>
      </setup-progress>`;
    }
    if (messages.length > 0) return nothing;
    if (history === "loaded") {
      return html`<empty-chat
        ?demo=${this.me.model.demo}
        name=${this.me.agent.name}
        .face=${this.me.agent.face}
        @begin=${(event: CustomEvent<string>) => {
          this.setDraft(event.detail);
          this.composer.focus();
        }}
      ></empty-chat>`;
    }
    const trouble = connection !== "open" && connection !== "connecting";
    if (trouble || status?.state === "failed" || status?.state === "unreachable") return nothing;
    const waking = status !== null && (isAsleep(status.state) || status.state === "waking");
    return html`<div class="loading">
      <p>
        ${waking ? "Waking your agent to load your conversation…" : "Loading your conversation…"}
      </p>
    </div>`;
  }

  private waiting(): string {
    return this.chat.status?.state === "waking" ? "Waking up…" : "Thinking…";
  }

  private hint() {
    const { status, connection } = this.chat;
    if (connection === "open" && status?.warning) return status.warning;
    if (connection === "open" && status !== null && isAsleep(status.state)) {
      return "Your agent is asleep; your message wakes it.";
    }
    if (connection === "open" && status?.state === "waking") return "Your agent is waking up…";
    if (this.me.model.demo) {
      return html`You are using the demo model. <a href="/settings">Add a key</a> to use a real one.`;
    }
    return "Agents can make mistakes. Check important answers.";
  }

  private loadCards(): void {
    if (this.chat.approvals.length === 0) return;
    // Without it the link stays; the next change tries again.
    again(() => import("../components/decision-card")).catch(() => undefined);
  }

  private setDraft(text: string): void {
    this.draft = text;
    this.session.kept.draft = text;
  }

  private inTurn(task: () => Promise<void>): void {
    this.attaching = this.attaching.then(task, task);
  }

  private async restoreFiles(): Promise<void> {
    const kept = await this.session.files.get(draftFiles(this.session.id));
    if (kept.length > 0) this.files = kept;
    this.loadFiles();
  }

  private attach(added: readonly File[]): void {
    this.inTurn(async () => {
      const all = await fitted(added);
      // What was attached when they were chosen may have been sent or removed since.
      const { files, problems } = choose(this.files, all);
      this.setFiles(files, problems);
      this.composer.focus();
    });
  }

  private setFiles(files: readonly File[], problems: readonly string[] = []): void {
    this.files = files;
    this.fileProblems = problems;
    this.session.files.set(draftFiles(this.session.id), files);
    this.loadFiles();
  }

  private loadFiles(): void {
    if (this.files.length === 0 && this.fileProblems.length === 0) return;
    again(() => import("../components/attached-files")).catch(() => undefined);
  }

  private write(text: string): void {
    this.setDraft("");
    const other = NEW_CONVERSATION.exec(text);
    if (other !== null) {
      this.dispatchEvent(new CustomEvent("new-conversation", { detail: other[1] ?? "" }));
      return;
    }
    const { files } = this;
    this.setFiles([]);
    this.session.write(text, files);
    this.list.toEnd();
  }

  private readonly onDrag = (event: DragEvent) => {
    if (event.dataTransfer?.types.includes("Files") === true) event.preventDefault();
  };

  private readonly onDrop = (event: DragEvent) => {
    const files = filesIn(event.dataTransfer);
    if (files.length === 0) return;
    event.preventDefault();
    this.attach(files);
  };

  private readonly onChange = () => {
    const before = this.chat;
    this.chat = this.session.state;
    this.loadCards();
    const waited = before.approvals.filter(isWaiting).length;
    if (this.chat.approvals.filter(isWaiting).length > waited) {
      this.spoken = "Your agent waits for your decision on a call.";
    }
    const wasRunning = isRunning(before);
    const running = isRunning(this.chat);
    if (running && !wasRunning) this.spoken = "Your agent is answering.";
    if (!running && wasRunning) {
      const answer = this.chat.messages.findLast((message) => message.role === "assistant");
      this.spoken = `${agentName(this.me)}: ${answer?.text.slice(0, SPOKEN_LENGTH) ?? ""}`;
    }
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "chat-view": ChatView;
  }
}
