/**
 * The draft and the unsent messages of a conversation, kept in this browser's storage until they are
 * sent: across reloads, sign-ins and closed tabs.
 *
 * The keys contain the user's id: another user of the same browser does not get them. Each message
 * has a key of its own, so that two tabs do not overwrite each other's.
 */

import type { MessageFile } from "./attachments";
import { MAIN } from "./protocol";
import type { UserMessage } from "./state";
import { written } from "./store";

interface KeptMessage {
  readonly id: string;
  readonly text: string;
  readonly at: number;
  /** Their bytes are in `FileStorage`. */
  readonly files?: readonly MessageFile[];
}

export class DraftStorage {
  /** Ids of the kept messages that this tab shows. */
  private mine: readonly string[] = [];

  constructor(
    private readonly userId: string,
    private readonly storage: Storage = localStorage,
    private readonly conversation = MAIN,
  ) {}

  /** The storage of another conversation of this user. */
  of(conversation: string): DraftStorage {
    return new DraftStorage(this.userId, this.storage, conversation);
  }

  /** Conversations in which the agent answered while none of this browser's tabs showed it. */
  get unread(): string[] {
    return (this.read("unread") ?? "").split(" ").filter(Boolean);
  }

  set unread(ids: readonly string[]) {
    this.write("unread", ids.join(" "));
  }

  /** Conversations with messages that were not sent yet. */
  get unsent(): string[] {
    const found = this.keys().flatMap((key) => {
      const name = key.slice(this.start.length);
      if (name.startsWith("outbox.")) return [MAIN];
      return /^c\.((?:d-)?[0-9a-f-]{36})\.outbox\./.exec(name)?.[1] ?? [];
    });
    return [...new Set(found)];
  }

  get draft(): string {
    return this.read("draft") ?? "";
  }

  set draft(text: string) {
    this.write("draft", text);
  }

  get outbox(): UserMessage[] {
    const kept = this.ids().flatMap((id) => this.message(id) ?? []);
    kept.sort((one, other) => one.at - other.at);
    this.mine = kept.map(({ id }) => id);
    // They may have been sent before the reload, so the next attempt is not the first.
    return kept.map(({ id, text, at, files }) => ({
      ...written(id, text, at, files),
      attempts: 1,
    }));
  }

  set outbox(messages: readonly UserMessage[]) {
    const before = new Set(this.mine);
    this.mine = messages.map(({ id }) => id);
    for (const { id, text, at, files } of messages) {
      if (before.delete(id)) continue;
      // The address of a picture on this page is of no use after a reload.
      const described =
        files.length === 0 ? {} : { files: files.map((f) => ({ ...f, url: null })) };
      this.write(`outbox.${id}`, JSON.stringify({ id, text, at, ...described }));
    }
    for (const gone of before) this.write(`outbox.${gone}`, "");
  }

  /** Remove this conversation's draft and unsent messages. */
  clear(): void {
    this.write("draft", "");
    for (const id of this.ids()) this.write(`outbox.${id}`, "");
  }

  /** Remove those of all conversations. */
  clearAll(): void {
    for (const key of this.keys()) this.remove(key);
  }

  private ids(): string[] {
    const start = this.key("outbox.");
    return this.keys().flatMap((key) => (key.startsWith(start) ? [key.slice(start.length)] : []));
  }

  /** The keys of all of this user's conversations. */
  private keys(): string[] {
    try {
      return Array.from(
        { length: this.storage.length },
        (_, index) => this.storage.key(index) ?? "",
      ).filter((key) => key.startsWith(this.start));
    } catch {
      return [];
    }
  }

  private message(id: string): KeptMessage | null {
    try {
      return JSON.parse(this.read(`outbox.${id}`) ?? "null") as KeptMessage | null;
    } catch {
      return null;
    }
  }

  private get start(): string {
    return `ocmt.${this.userId}.`;
  }

  private key(name: string): string {
    const of = this.conversation === MAIN ? "" : `c.${this.conversation}.`;
    return this.start + of + name;
  }

  private read(name: string): string | null {
    try {
      return this.storage.getItem(this.key(name));
    } catch {
      return null; // Some private modes refuse storage; the page works without it.
    }
  }

  private write(name: string, value: string): void {
    try {
      if (value === "") this.remove(this.key(name));
      else this.storage.setItem(this.key(name), value);
    } catch {
      // Refused as above, or full: the text is kept in memory only.
    }
  }

  private remove(key: string): void {
    try {
      this.storage.removeItem(key);
    } catch {
      // Refused as above.
    }
  }
}
