/** The frames of `/api/chat`, and which agent states allow which of them. */

import type { AgentState, ServerFrame } from "../api/generated";

const KNOWN: Record<ServerFrame["type"], true> = {
  status: true,
  conversations: true,
  conversation: true,
  deleted: true,
  found: true,
  history: true,
  older: true,
  accepted: true,
  delta: true,
  work: true,
  final: true,
  aborted: true,
  approval: true,
  forked: true,
  error: true,
};

/** The frame in `data`; null when it is malformed or of an unknown type. */
export function parseFrame(data: unknown): ServerFrame | null {
  if (typeof data !== "string") return null;
  try {
    const frame: unknown = JSON.parse(data);
    if (typeof frame !== "object" || frame === null || !("type" in frame)) return null;
    return Object.hasOwn(KNOWN, String(frame.type)) ? (frame as ServerFrame) : null;
  } catch {
    return null;
  }
}

/** Largest message to send; the server takes frames of at most 256 KiB. */
export const MAX_TEXT_BYTES = 240 * 1024;

/** Whether `text`, as JSON and UTF-8, fits into one frame. */
export function fitsFrame(text: string): boolean {
  return new TextEncoder().encode(JSON.stringify(text)).length <= MAX_TEXT_BYTES;
}

export const HISTORY_LIMIT = 100;

/** The first conversation. It always exists, and jobs report in it. */
export const MAIN = "main";

/** States in which the gateway can answer; asleep ones wake for it. */
export function canAnswer(state: AgentState): boolean {
  return state === "running" || state === "paused" || state === "stopped" || state === "waking";
}

export function isAsleep(state: AgentState): boolean {
  return state === "paused" || state === "stopped";
}

export function isSettingUp(state: AgentState): boolean {
  return state === "none" || state === "provisioning";
}

/** States in which messages are sent; in the others they wait on the page. */
export function canTakeMessages(state: AgentState): boolean {
  return !isSettingUp(state) && state !== "unreachable";
}
