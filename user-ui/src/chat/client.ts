/**
 * A signed-in user's chat: the socket, the conversations that were opened on this page, and the list
 * of all of them. Conversations go on while another one is on the screen.
 *
 * Events: `change` when the list or the shown conversation changed; `deleted` and `forked` with the
 * id of a conversation.
 */

import type { ApprovalView, ClientFrame, ServerFrame, WireConversation } from "../api/generated";
import { EMPTY_LIST, onListFrame, withEntry, type ConversationList } from "./conversations";
import type { DraftStorage } from "./draft-storage";
import { draftFiles, type FileStorage } from "./file-storage";
import { newId } from "./ids";
import { canAnswer, isAsleep, MAIN } from "./protocol";
import { ChatSession, type SessionLink, type SessionWorld } from "./session";
import { ChatSocket } from "./socket";
import type { ChatState, Connection } from "./state";

type ForkedFrame = Extract<ServerFrame, { type: "forked" }>;

/** With no frame for this long after a request, the connection is taken for dead. */
const SILENCE_MS = 45_000;
/** Requests that the server always answers. */
const ANSWERED = new Set<ClientFrame["type"]>(["history", "send", "conversations"]);

export class ChatClient extends EventTarget implements SessionLink {
  private readonly socket: ChatSocket;
  private readonly sessions = new Map<string, ChatSession>();
  private readonly approvals = new Map<string, ApprovalView>();
  private connection: Connection = "connecting";
  private status: Extract<ServerFrame, { type: "status" }> | null = null;
  private current: ConversationList = EMPTY_LIST;
  private listAsked = false;
  private listStale = true;
  /** When each conversation was last reported as read, by its `at`. */
  private readonly read = new Map<string, string>();
  private cancelSilence: (() => void) | null = null;

  constructor(
    url: string,
    private readonly world: SessionWorld,
    private readonly kept: DraftStorage,
    private readonly files: FileStorage,
  ) {
    super();
    this.socket = new ChatSocket(url, world, {
      connection: (connection) => this.onConnection(connection),
      frame: (frame) => this.onFrame(frame),
    });
  }

  get list(): ConversationList {
    return this.current;
  }

  /** The list, with what was answered unseen. OpenClaw counts only what users write as unread. */
  private marked(list: ConversationList): ConversationList {
    const unread = new Set(this.kept.unread);
    const entries = list.entries.map((entry) =>
      unread.has(entry.id) && !entry.unread ? { ...entry, unread: true } : entry,
    );
    return { ...list, entries };
  }

  /** The agent's state and the connection, which all conversations share. */
  get state(): ChatState {
    return this.session(MAIN).state;
  }

  /** The conversation with this id, opened if necessary. */
  session(id: string): ChatSession {
    return this.sessions.get(id) ?? this.open(id);
  }

  entry(id: string): WireConversation | undefined {
    return this.current.entries.find((entry) => entry.id === id);
  }

  /** A new conversation. The agent learns of it with its first message. */
  create(): string {
    const id = newId();
    this.open(id).startEmpty();
    return id;
  }

  start(): void {
    for (const id of this.kept.unsent) this.session(id);
    this.socket.start();
  }

  end(): void {
    this.cancelSilence?.();
    for (const session of this.sessions.values()) session.end();
    this.socket.end();
  }

  send(frame: ClientFrame): boolean {
    if (!this.socket.send(frame)) return false;
    if (ANSWERED.has(frame.type)) this.listen();
    return true;
  }

  drained(): Promise<void> {
    return this.socket.drained();
  }

  reconnect(): void {
    this.socket.hurry();
  }

  rename(id: string, title: string): void {
    this.change(id, { title });
  }

  pin(id: string, pinned: boolean): void {
    this.change(id, { pinned });
  }

  delete(id: string): void {
    this.listed({ problem: "" });
    if (this.entry(id) === undefined) this.forget(id);
    else if (!this.send({ type: "delete", conversation: id })) this.unsent();
    else this.listed({ deleting: [...this.current.deleting, id] });
  }

  search(query: string): void {
    this.listed({ found: null, problem: "" });
    if (query.trim() !== "" && !this.send({ type: "search", query: query.trim() })) this.unsent();
  }

  /** The page became visible or hidden. */
  onVisibility(): void {
    if (!this.world.visible()) return;
    this.socket.hurry();
    for (const session of this.sessions.values()) session.proceed();
    this.proceed();
  }

  /** The browser went online or offline. */
  onNetwork(): void {
    if (this.world.online()) this.socket.hurry();
    else this.socket.reset();
  }

  private open(id: string): ChatSession {
    const session = new ChatSession(id, this, this.world, this.kept.of(id), this.files);
    this.sessions.set(id, session);
    session.addEventListener("change", () => {
      this.proceed();
      this.dispatchEvent(new Event("change"));
    });
    session.onConnection(this.connection);
    if (this.status !== null && this.connection === "open") session.onFrame(this.status);
    for (const approval of this.approvals.values()) {
      session.onFrame({ type: "approval", approval });
    }
    return session;
  }

  private onConnection(connection: Connection): void {
    this.connection = connection;
    if (connection !== "open") {
      this.cancelSilence?.();
      this.cancelSilence = null;
      this.status = null;
      this.listAsked = false;
      this.listStale = true;
      this.approvals.clear();
      this.listed({ deleting: [] });
    }
    for (const session of this.sessions.values()) session.onConnection(connection);
  }

  private onFrame(frame: ServerFrame): void {
    this.cancelSilence?.();
    this.cancelSilence = null;
    this.distribute(frame);
    this.proceed();
  }

  private distribute(frame: ServerFrame): void {
    switch (frame.type) {
      case "status":
        this.status = frame;
        for (const session of this.sessions.values()) session.onFrame(frame);
        return;
      case "approval":
        this.approvals.set(frame.approval.id, frame.approval);
        for (const session of this.sessions.values()) session.onFrame(frame);
        return;
      case "conversations":
      case "conversation":
      case "deleted":
      case "found":
        this.onListFrame(frame);
        return;
      case "forked":
        void this.onForked(frame);
        return;
      case "error":
        if (frame.about === "conversations") {
          this.onListFrame(frame);
          return;
        }
    }
    this.sessions.get(frame.conversation ?? MAIN)?.onFrame(frame);
  }

  /** The message before which it was forked is written anew there, or sent again as it was. */
  private async onForked({ conversation, message, fork, text }: ForkedFrame): Promise<void> {
    const { files, retry } = await this.session(conversation ?? MAIN).forkedFrom(message);
    if (retry) this.session(fork).write(text, files);
    else {
      this.kept.of(fork).draft = text;
      this.files.set(draftFiles(fork), files);
    }
    this.dispatchEvent(new CustomEvent("forked", { detail: fork }));
  }

  private onListFrame(frame: ServerFrame): void {
    if (frame.type === "conversations") this.listAsked = false;
    if (frame.type === "error") this.listAsked = false;
    if (frame.type === "deleted") this.forget(frame.conversation);
    if (frame.type === "conversation") this.noteUnseen(frame.conversation);
    this.listed(this.marked(onListFrame(this.current, frame)));
  }

  /** The agent ended its work in a conversation that is not on the screen. */
  private noteUnseen(changed: WireConversation): void {
    const worked = this.entry(changed.id)?.working === true && !changed.working;
    const shown = this.sessions.get(changed.id)?.isShown === true && this.world.visible();
    if (worked && !shown) this.kept.unread = [...new Set([...this.kept.unread, changed.id])];
  }

  private listed(changes: Partial<ConversationList>): void {
    this.current = { ...this.current, ...changes };
    this.dispatchEvent(new Event("change"));
  }

  /** Drop what this page has of a deleted conversation. */
  private forget(id: string): void {
    const session = this.sessions.get(id);
    const kept = this.kept.of(id);
    this.files.delete(draftFiles(id));
    for (const message of kept.outbox) this.files.delete(message.id);
    kept.clear();
    if (session === undefined || id === MAIN) return;
    this.sessions.delete(id);
    session.end();
    this.dispatchEvent(new CustomEvent("deleted", { detail: id }));
  }

  private change(id: string, changes: { title?: string; pinned?: boolean }): void {
    const entry = this.entry(id);
    if (entry === undefined) return;
    if (!this.send({ type: "change", conversation: id, ...changes })) {
      this.unsent();
      return;
    }
    this.listed({
      entries: withEntry(this.current.entries, { ...entry, ...changes }),
      problem: "",
    });
  }

  private unsent(): void {
    this.listed({ problem: "No connection to the server. Try again in a moment." });
  }

  /** Send the requests that the list needs. */
  private proceed(): void {
    const agent = this.status?.state;
    if (agent === undefined || !canAnswer(agent) || !this.world.visible()) return;
    this.loadList(isAsleep(agent));
    this.markRead(agent === "running");
  }

  /** The list is loaded with a history, which wakes the agent, or when the agent is awake. */
  private loadList(asleep: boolean): void {
    if (!this.listStale || this.listAsked) return;
    const waking = [...this.sessions.values()].some(({ state }) => state.history === "asked");
    if (asleep && !waking) return;
    if (!this.send({ type: "conversations" })) return;
    this.listAsked = true;
    this.listStale = false;
  }

  /** The shown conversation is read. Reported to an agent that is awake, once for each use. */
  private markRead(awake: boolean): void {
    const shown = [...this.sessions.values()].find(({ isShown }) => isShown);
    const entry = shown === undefined ? undefined : this.entry(shown.id);
    if (entry === undefined || !entry.unread || entry.working) return;
    this.kept.unread = this.kept.unread.filter((id) => id !== entry.id);
    this.listed({
      entries: withEntry(this.current.entries, { ...entry, unread: false }),
    });
    if (!awake || this.read.get(entry.id) === entry.at) return;
    this.read.set(entry.id, entry.at);
    this.send({ type: "change", conversation: entry.id, read: true });
  }

  private listen(): void {
    this.cancelSilence?.();
    this.cancelSilence = this.world.later(() => {
      this.cancelSilence = null;
      this.socket.reset();
    }, SILENCE_MS);
  }
}
