/**
 * Merges the gateway's history into the messages shown.
 *
 * The history wins. Kept from the page are only messages that it cannot contain yet: those not sent
 * or accepted, streaming answers, and those that ended after the history was requested.
 */

import type { WireMessage } from "../api/generated";
import type { AgentMessage, Message, UserMessage } from "./state";

export function timeOf(at: string): number {
  const time = new Date(at).getTime();
  return Number.isNaN(time) ? 0 : time;
}

export function fromWire(wire: WireMessage): Message {
  const at = timeOf(wire.at);
  return wire.role === "user"
    ? {
        role: "user",
        key: wire.id,
        id: wire.id,
        text: wire.text,
        at,
        delivery: "sent",
        attempts: 1,
        failure: null,
        runId: null,
      }
    : {
        role: "assistant",
        key: wire.id,
        id: wire.id,
        runId: null,
        text: wire.text,
        at,
        phase: "done",
        live: false,
        doubtful: false,
      };
}

export function mergeHistory(
  shown: readonly Message[],
  wires: readonly WireMessage[],
  askedAt: number,
): Message[] {
  const merged = wires.map(fromWire);
  const known = new Set(shown.map((message) => message.id));
  const placed = new Map<Message, number>();

  for (const message of shown) {
    let index = merged.findIndex((other) => other.id === message.id);
    if (index < 0 && message.role === "user" && message.runId !== null) {
      // Accepted: the gateway stores it under its own id.
      index = merged.findLastIndex(
        (other) =>
          other.role === "user" && !known.has(other.id) && sameText(other.text, message.text),
      );
    }
    const theirs = merged[index];
    if (theirs === undefined) continue;
    placed.set(message, index);
    merged[index] = keepIdentity(message, theirs);
  }

  const rest = shown.filter((message) => {
    if (placed.has(message)) return false;
    if (message.role === "user") {
      return message.delivery !== "sent" || message.at >= askedAt || answerOpen(shown, message);
    }
    if (message.phase === "streaming") return !answered(message, shown, merged, placed);
    if (message.phase === "done") return message.live && message.at >= askedAt;
    return message.live && !answered(message, shown, merged, placed);
  });
  return [...merged, ...rest];
}

/** The page's own object where nothing changed, so that the message is not rendered again. */
function keepIdentity(mine: Message, theirs: Message): Message {
  if (mine.role === "user" && theirs.role === "user") {
    const same = mine.delivery === "sent" && mine.id === theirs.id && mine.failure === null;
    return same ? mine : { ...mine, id: theirs.id, delivery: "sent" };
  }
  if (mine.role === "assistant" && theirs.role === "assistant") {
    if (mine.text === theirs.text && mine.phase === "done") return mine;
    return { ...theirs, key: mine.key, live: mine.live };
  }
  return theirs;
}

function sameText(theirs: string, mine: string): boolean {
  // A gateway may put a line of context before the user's text.
  return theirs.trim().endsWith(mine.trim());
}

/** Whether the answer to `question` is still streaming. */
function answerOpen(shown: readonly Message[], question: UserMessage): boolean {
  return shown.some(
    (message) =>
      message.role === "assistant" &&
      message.phase === "streaming" &&
      message.runId === question.runId,
  );
}

/** Whether the history contains the full text of an answer that this page received in part. */
function answered(
  answer: AgentMessage,
  shown: readonly Message[],
  merged: readonly Message[],
  placed: ReadonlyMap<Message, number>,
): boolean {
  if (answer.phase === "streaming" && !answer.doubtful) return false;
  const question = shown.find(
    (message) => message.role === "user" && message.runId === answer.runId,
  );
  const index = question === undefined ? undefined : placed.get(question);
  if (index === undefined) return false;
  return merged.slice(index + 1).some((message) => message.role === "assistant");
}
