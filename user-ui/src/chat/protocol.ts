/** The frames on `/api/chat`, in both directions. */

import type { AgentState, AgentStatus } from "../api/types";

export interface WireMessage {
  readonly id: string;
  readonly role: "user" | "assistant";
  readonly text: string;
  readonly at: string | number;
}

export type ClientFrame =
  | { readonly type: "history"; readonly limit: number }
  | { readonly type: "send"; readonly id: string; readonly text: string }
  | { readonly type: "stop" };

export type ServerFrame =
  | ({ readonly type: "status" } & AgentStatus)
  | { readonly type: "history"; readonly messages: readonly WireMessage[] }
  | { readonly type: "accepted"; readonly id: string; readonly runId: string }
  | {
      readonly type: "delta";
      readonly runId: string;
      readonly text: string;
      /** The text is the whole so far, not what follows. */
      readonly replace?: boolean;
    }
  | { readonly type: "final"; readonly runId: string; readonly message: WireMessage }
  | { readonly type: "aborted"; readonly runId: string }
  | {
      readonly type: "error";
      readonly id: string | null;
      readonly code: string;
      readonly detail: string;
      readonly retry: boolean;
    };

const KNOWN: ReadonlySet<string> = new Set<ServerFrame["type"]>([
  "status",
  "history",
  "accepted",
  "delta",
  "final",
  "aborted",
  "error",
]);

/** The frame in `data`, or null for what this version of the page does not know. */
export function parseFrame(data: unknown): ServerFrame | null {
  if (typeof data !== "string") return null;
  try {
    const frame: unknown = JSON.parse(data);
    if (typeof frame !== "object" || frame === null || !("type" in frame)) return null;
    return KNOWN.has(String(frame.type)) ? (frame as ServerFrame) : null;
  } catch {
    return null;
  }
}

/** Largest message we try to send; the server takes frames of at most 256 KiB. */
export const MAX_TEXT_BYTES = 240 * 1024;

/** Whether `text`, as JSON and UTF-8, fits into one frame. */
export function fitsFrame(text: string): boolean {
  return new TextEncoder().encode(JSON.stringify(text)).length <= MAX_TEXT_BYTES;
}

export const HISTORY_LIMIT = 100;

/** States in which asking for the conversation, or sending, can be answered. */
export function canAnswer(state: AgentState): boolean {
  return state === "running" || state === "paused" || state === "stopped" || state === "waking";
}

export function isAsleep(state: AgentState): boolean {
  return state === "paused" || state === "stopped";
}

export function isSettingUp(state: AgentState): boolean {
  return state === "none" || state === "provisioning";
}

/** States in which a written message is sent; in the others it waits here and goes out by itself. */
export function canTakeMessages(state: AgentState): boolean {
  return !isSettingUp(state) && state !== "unreachable";
}
