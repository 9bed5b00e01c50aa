/**
 * One conversation: connects the client's socket to the reducer, and decides when to request the
 * history, when to send waiting messages, and when to give up on an answer.
 */

import type { AgentState, ClientFrame, ServerFrame } from "../api/generated";
import type { DraftStorage } from "./draft-storage";
import { newId } from "./ids";
import { canAnswer, canTakeMessages, HISTORY_LIMIT, isAsleep, MAIN } from "./protocol";
import type { SocketWorld } from "./socket";
import { INITIAL, isStreaming, unsent, type ChatState, type Connection } from "./state";
import { reduce, type Happening } from "./store";

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

  constructor(
    readonly id: string,
    private readonly link: SessionLink,
    private readonly world: SessionWorld,
    readonly kept: DraftStorage,
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
  }

  /** The conversation is on the screen, or no longer: only then is it loaded. */
  show(shown: boolean): void {
    this.shown = shown;
    this.proceed();
  }

  write(text: string): void {
    this.happen({ type: "written", id: newId(), text, now: this.world.now() });
    this.proceed();
  }

  again(id: string): void {
    this.happen({ type: "again", id, now: this.world.now() });
    this.proceed();
  }

  /** Begin a conversation with what came before a message, to write it anew. */
  fork(id: string): void {
    this.send({ type: "fork", message: id });
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
    }
    this.happen({ type: "connection", connection });
  }

  onFrame(frame: ServerFrame): void {
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
      if (!this.send({ type: "send", id: message.id, text: message.text })) return;
      this.happen({ type: "sent-out", id: message.id });
    }
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
    if (before.messages !== this.current.messages) this.keepUnsent(before);
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
  }
}
