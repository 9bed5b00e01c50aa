/**
 * The draft and the unsent messages, kept in this tab's storage across reloads and sign-ins.
 *
 * The keys contain the user's id: another user of the same tab does not get them.
 */

import type { UserMessage } from "./state";
import { written } from "./store";

interface KeptMessage {
  readonly id: string;
  readonly text: string;
  readonly at: number;
}

export class DraftStorage {
  constructor(
    private readonly userId: string,
    private readonly storage: Storage = sessionStorage,
  ) {}

  get draft(): string {
    return this.read("draft") ?? "";
  }

  set draft(text: string) {
    this.write("draft", text);
  }

  get outbox(): UserMessage[] {
    try {
      const kept = JSON.parse(this.read("outbox") ?? "[]") as KeptMessage[];
      // They may have been sent before the reload, so the next attempt is not the first.
      return kept.map(({ id, text, at }) => ({ ...written(id, text, at), attempts: 1 }));
    } catch {
      return [];
    }
  }

  set outbox(messages: readonly UserMessage[]) {
    const kept: KeptMessage[] = messages.map(({ id, text, at }) => ({ id, text, at }));
    this.write("outbox", kept.length === 0 ? "" : JSON.stringify(kept));
  }

  clear(): void {
    this.write("draft", "");
    this.write("outbox", "");
  }

  private read(name: string): string | null {
    try {
      return this.storage.getItem(`ocmt.${name}.${this.userId}`);
    } catch {
      return null; // Some private modes refuse storage; the page works without it.
    }
  }

  private write(name: string, value: string): void {
    try {
      if (value === "") this.storage.removeItem(`ocmt.${name}.${this.userId}`);
      else this.storage.setItem(`ocmt.${name}.${this.userId}`, value);
    } catch {
      // Refused as above, or full: the text is kept in memory only.
    }
  }
}
