/** Short constructors of frames and events, for the chat tests. */

import type { ApprovalView, ServerFrame, WireMessage } from "../src/api/generated";
import { INITIAL, type ChatState, type Message } from "../src/chat/state";
import { reduce, type Happening } from "../src/chat/store";

export const NOON = Date.UTC(2026, 10, 23, 12);

export function wire(id: string, role: "user" | "assistant", text: string, at = NOON): WireMessage {
  return { id, role, text, at: new Date(at).toISOString() };
}

export function frame(what: ServerFrame, now = NOON): Happening {
  return { type: "frame", frame: what, now };
}

export function status(
  state: "running" | "paused" | "provisioning" | "unreachable",
  since = "t0",
): ServerFrame {
  return { type: "status", state, detail: null, since, warning: null };
}

export function after(...happenings: Happening[]): ChatState {
  return happenings.reduce(reduce, INITIAL);
}

export function texts(state: ChatState): string[] {
  return state.messages.map((message: Message) => `${message.role}: ${message.text}`);
}

/** A call that waits for a decision, with these differences. */
export function asked(changes: Partial<ApprovalView> = {}): ApprovalView {
  return {
    id: "a1",
    number: 1,
    server: "Mail",
    tool: "send",
    arguments: "{}",
    state: "waiting",
    decision: null,
    detail: null,
    version: 1,
    changed: [],
    repeats: null,
    alwaysRefused: null,
    createdAt: new Date(NOON).toISOString(),
    expiresAt: new Date(NOON).toISOString(),
    decidedAt: null,
    finishedAt: null,
    ...changes,
  };
}
