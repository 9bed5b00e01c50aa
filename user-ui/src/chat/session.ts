/**
 * One conversation: connects the client's socket to the reducer, and decides when to request the
 * history, when to send waiting messages, and when to give up on an answer.
 */

import type { AgentState, ClientFrame, ServerFrame } from "../api/generated";
import type { DraftStorage } from "./draft-storage";
import { described } from "./attachments";
import type { FileStorage } from "./file-storage";
import { newId, nextAttempt } from "./ids";
import { canAnswer, canTakeMessages, HISTORY_LIMIT, isAsleep, MAIN } from "./protocol";
import type { SocketWorld } from "./socket";
import {
  INITIAL,
  isStreaming,
  unsent,
  type ChatState,
  type Connection,
  type Message,
  type UserMessage,
} from "./state";
import { reduce, type Happening } from "./store";
import { piecesOf, sentFiles } from "./upload";

export interface SessionWorld extends SocketWorld {
  now(): number;
  visible(): boolean;
  /** Runs `draw` before the next frame is painted, so that many deltas are rendered once. */
  nextFrame(draw: () => void): void;
}

/** What a conversation needs of the client that holds the socket. */
export interface SessionLink {
  /** Send now. Returns false without an open connection. */
  send(frame: ClientFrame): boolean;
  /** Wait until the network has taken most of what was sent. */
  drained(): Promise<void>;
  reconnect(): void;
}

/** Delays between reads of the history for an answer that a lost connection cut off. */
const RECOVERY_MS = [2_000, 4_000, 8_000, 15_000, 30_000, 60_000];

export class ChatSession extends EventTarget {
  private current: ChatState = INITIAL;
  private drawPlanned = false;
  private cancelRecovery: (() => void) | null = null;
  private recoveries = 0;
  private shown = false;
  /** Files that this page has sent, by the key of their message, until the history has them. */
  private readonly sent = new Map<string, readonly File[]>();
  /** Addresses of pictures on this page, which take memory until they are revoked. */
  private readonly pictures = new Set<string>();
  /** Questions to ask again in the fork that was requested. */
  private readonly retried = new Set<string>();
  /** The message whose files are being sent. */
  private uploading: object | null = null;

  constructor(
    readonly id: string,
    private readonly link: SessionLink,
    private readonly world: SessionWorld,
    readonly kept: DraftStorage,
    readonly files: FileStorage,
  ) {
    super();
    this.happen({ type: "restored", messages: this.kept.outbox });
  }

  get state(): ChatState {
    return this.current;
  }

  get isShown(): boolean {
    return this.shown;
  }

  /** A new conversation: the agent has no messages of it. */
  startEmpty(): void {
    this.happen({ type: "new" });
  }

  end(): void {
    this.cancelRecovery?.();
    this.uploading = null;
    this.freeAll(this.pictures);
  }

  /** The conversation is on the screen, or no longer: only then is it loaded. */
  show(shown: boolean): void {
    this.shown = shown;
    this.proceed();
  }

  write(text: string, files: readonly File[] = []): void {
    const id = newId();
    this.files.set(id, files);
    const now = this.world.now();
    const shown = described(files);
    for (const { url } of shown) if (url !== null) this.pictures.add(url);
    this.happen({ type: "written", id, text, files: shown, now });
    this.proceed();
  }

  again(id: string): void {
    const message = this.current.messages.find((one) => one.id === id);
    if (message?.role === "user" && message.files.length > 0 && message.delivery === "sent") {
      void this.againWithFiles(message);
      return;
    }
    this.happen({ type: "again", id, now: this.world.now() });
    this.proceed();
  }

  /** The files of a message that the agent has. Throws if one is gone. */
  private async filesOf(message: UserMessage): Promise<readonly File[]> {
    const known = this.sent.get(message.key);
    if (known !== undefined) return known;
    return Promise.all(
      message.files.map(async ({ name, url }) => {
        const answer = url === null ? null : await fetch(url);
        if (answer?.ok !== true) throw new Error(`${name} is not there any more.`);
        const blob = await answer.blob();
        return new File([blob], name, { type: blob.type });
      }),
    );
  }

  private async againWithFiles(message: UserMessage): Promise<void> {
    try {
      this.files.set(nextAttempt(message.id), await this.filesOf(message));
    } catch {
      const detail = "The files of this message are not there any more. Attach them again.";
      this.happen({ type: "notice", notice: { detail, retry: false } });
      return;
    }
    this.happen({ type: "again", id: message.id, now: this.world.now() });
    this.proceed();
  }

  /** Begin a conversation with what came before a message, to write it anew. */
  fork(id: string): void {
    this.retried.delete(id);
    this.send({ type: "fork", message: id });
  }

  /** Ask for another answer: in a conversation with what came before its question. */
  tryAgain(answer: string): void {
    const all = this.all;
    const index = all.findIndex(({ key }) => key === answer);
    const question = all.slice(0, index).findLast(({ role }) => role === "user");
    if (question?.role !== "user") return;
    const asked = this.send({ type: "fork", message: question.id });
    if (asked) this.retried.add(question.id);
  }

  /** What to write in a fork of this conversation, and whether to send it at once. */
  async forkedFrom(id: string): Promise<{ files: readonly File[]; retry: boolean }> {
    const retry = this.retried.delete(id);
    const question = this.all.find((message) => message.id === id);
    const none = question?.role !== "user" || question.files.length === 0;
    // Without a file that is gone the message can still be changed, but is not sent as it is.
    const files = none ? [] : await this.filesOf(question).catch(() => null);
    return { files: files ?? [], retry: retry && files !== null };
  }

  private get all(): readonly Message[] {
    return [...this.current.older, ...this.current.messages];
  }

  discard(id: string): void {
    this.happen({ type: "discarded", id });
  }

  stop(): void {
    this.send({ type: "stop" });
  }

  askHistory(): void {
    this.happen({ type: "history-wanted" });
    this.proceed();
  }

  /** Load the messages before the oldest one. */
  askOlder(): void {
    const { olderFrom, olderAsked, connection, history } = this.current;
    if (olderFrom === null || olderAsked || connection !== "open" || history !== "loaded") return;
    if (this.send({ type: "history", limit: HISTORY_LIMIT, before: olderFrom })) {
      this.happen({ type: "older-asked" });
    }
  }

  dismissNotice(): void {
    this.happen({ type: "notice", notice: null });
  }

  reconnect(): void {
    this.link.reconnect();
  }

  onConnection(connection: Connection): void {
    if (connection !== "open") {
      this.cancelRecovery?.();
      this.cancelRecovery = null;
      this.uploading = null;
      this.retried.clear();
    }
    this.happen({ type: "connection", connection });
  }

  onFrame(frame: ServerFrame): void {
    // A fork that failed is not named: none that comes later is sent without being asked.
    if (frame.type === "error" && frame.id === null) this.retried.clear();
    this.happen({ type: "frame", frame, now: this.world.now() });
    this.proceed();
  }

  /** Send the requests that the current state needs. Safe to call at any time. */
  proceed(): void {
    const { connection, status, statusFresh } = this.current;
    if (connection !== "open" || !statusFresh || status === null) return;
    if (this.needsHistory(status.state)) {
      if (this.send({ type: "history", limit: HISTORY_LIMIT })) {
        this.happen({ type: "history-asked", now: this.world.now() });
      }
    }
    if (canTakeMessages(status.state)) this.sendWaiting();
    this.recover();
  }

  /** Whether to load the history. It wakes the agent, so a silent tab does not. */
  private needsHistory(agent: AgentState): boolean {
    const { history, stale, messages } = this.current;
    if (!stale || history === "asked" || !this.world.visible()) return false;
    if (!canAnswer(agent)) return false;
    const doubtful = messages.some((message) => isStreaming(message) && message.doubtful);
    if (!this.shown && !doubtful) return false;
    return history === "missing" || doubtful || !isAsleep(agent);
  }

  private sendWaiting(): void {
    for (const message of unsent(this.current)) {
      if (message.delivery !== "waiting") continue;
      if (this.uploading !== null) return; // messages are sent in their order
      if (message.files.length > 0) {
        void this.upload(message);
        return;
      }
      if (!this.send({ type: "send", id: message.id, text: message.text })) return;
      this.happen({ type: "sent-out", id: message.id });
    }
  }

  /** Send a message with files: first their pieces, as fast as the network takes them. */
  private async upload(message: UserMessage): Promise<void> {
    const mine = (this.uploading = {});
    const { id, text } = message;
    this.happen({ type: "sent-out", id });
    const files = await this.files.get(id);
    const isWanted = () => {
      const now = unsent(this.current).find((one) => one.id === id);
      return this.uploading === mine && now?.delivery === "sending";
    };
    let readable = files.length >= message.files.length;
    try {
      for await (const piece of readable ? piecesOf(id, files) : []) {
        await this.link.drained();
        // The connection was lost, the message discarded, or the server refused its files.
        if (!isWanted() || !this.send(piece)) break;
      }
    } catch {
      readable = false; // one was changed or deleted since it was attached
    }
    if (this.uploading !== mine) return;
    const wanted = isWanted();
    this.uploading = null;
    if (wanted && !readable) {
      const detail = "The files of this message are gone. Remove it, and attach them again.";
      this.onFrame({ type: "error", id, code: "files-gone", detail, retry: false });
      return;
    }
    if (readable) this.sent.set(message.key, files);
    if (wanted) this.send({ type: "send", id, text, files: sentFiles(files) });
    this.proceed();
  }

  private send(frame: Extract<ClientFrame, { conversation?: string }>): boolean {
    return this.link.send(this.id === MAIN ? frame : { ...frame, conversation: this.id });
  }

  /** Read the history for an answer whose connection was lost: its `final` may never come. */
  private recover(): void {
    const doubtful = this.current.messages.some((m) => isStreaming(m) && m.doubtful);
    if (!doubtful) {
      this.cancelRecovery?.();
      this.cancelRecovery = null;
      this.recoveries = 0;
      return;
    }
    if (this.cancelRecovery !== null) return;
    const delay = RECOVERY_MS[this.recoveries];
    if (delay === undefined) {
      this.recoveries = 0;
      this.happen({ type: "given-up" });
      return;
    }
    this.cancelRecovery = this.world.later(() => {
      this.cancelRecovery = null;
      this.recoveries += 1;
      this.askHistory();
    }, delay);
  }

  private happen(event: Happening): void {
    const before = this.current;
    this.current = reduce(before, event);
    if (before.messages !== this.current.messages) {
      this.keepUnsent(before);
      this.freeFiles();
    }
    if (this.drawPlanned || before === this.current) return;
    this.drawPlanned = true;
    this.world.nextFrame(() => {
      this.drawPlanned = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  private keepUnsent(before: ChatState): void {
    const now = unsent(this.current);
    const then = unsent(before);
    if (now.length === then.length && now.every((message, i) => message.id === then[i]?.id)) return;
    this.kept.outbox = now;
    for (const { key, id, files } of then) {
      if (files.length === 0) continue;
      const left = now.find((message) => message.key === key);
      if (left === undefined) this.files.delete(id);
      else if (left.id !== id) this.files.rename(id, left.id);
    }
  }

  /** Free the files and pictures that the history has addresses of, or that no message has. */
  private freeFiles(): void {
    if (this.sent.size === 0 && this.pictures.size === 0) return;
    const messages = this.all.filter((message) => message.role === "user");
    const urls = new Set(messages.flatMap(({ files }) => files.map(({ url }) => url)));
    this.freeAll([...this.pictures].filter((url) => !urls.has(url)));
    for (const key of this.sent.keys()) {
      const files = messages.find((message) => message.key === key)?.files ?? [];
      if (files.every(({ url }) => url !== null && !this.pictures.has(url))) this.sent.delete(key);
    }
  }

  private freeAll(pictures: Iterable<string>): void {
    for (const url of pictures) {
      URL.revokeObjectURL(url);
      this.pictures.delete(url);
    }
  }
}
