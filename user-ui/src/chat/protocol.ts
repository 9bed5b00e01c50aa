/** What the page does with the frames of `/api/chat`, and what the agent's states mean for it. */

import type { AgentState, ServerFrame } from "../api/generated";

const KNOWN: Record<ServerFrame["type"], true> = {
  status: true,
  history: true,
  accepted: true,
  delta: true,
  final: true,
  aborted: true,
  error: true,
};

/** The frame in `data`, or null for what this version of the page does not know. */
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
