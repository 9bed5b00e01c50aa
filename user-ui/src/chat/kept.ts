/**
 * What a person wrote and nobody has received yet, kept in this tab across reloads and sign-ins.
 *
 * Per user: whoever signs in next in the same tab gets none of it.
 */

import type { UserMessage } from "./state";
import { written } from "./store";

interface KeptMessage {
  readonly id: string;
  readonly text: string;
  readonly at: number;
}

export class Kept {
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
      // They may have gone out before the reload, so what follows counts as another attempt.
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
      return null; // Storage is refused in some private modes; the page works without.
    }
  }

  private write(name: string, value: string): void {
    try {
      if (value === "") this.storage.removeItem(`ocmt.${name}.${this.userId}`);
      else this.storage.setItem(`ocmt.${name}.${this.userId}`, value);
    } catch {
      // As above, or full: then it is kept on the page only.
    }
  }
}
