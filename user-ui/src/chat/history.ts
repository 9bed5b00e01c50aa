/**
 * Merges the gateway's history into the messages shown.
 *
 * The history wins. Kept from the page are only messages that it cannot contain yet: those not sent
 * or accepted, streaming answers, and those that ended after the history was requested.
 */

import type { WireMessage, WireTool } from "../api/generated";
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
        files: wire.files ?? [],
        at,
        delivery: "sent",
        attempts: 1,
        failure: wire.state === "failed" ? { detail: wire.detail ?? "", retry: true } : null,
        runId: null,
        queued: wire.state === "queued",
      }
    : {
        role: "assistant",
        key: wire.id,
        id: wire.id,
        runId: null,
        text: wire.text,
        files: wire.files ?? [],
        tools: wire.tools ?? [],
        thoughts: wire.thoughts ?? "",
        at,
        phase: wire.state === "stopped" ? "stopped" : "done",
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
  const indexes = new Map(merged.map((message, index) => [message.id, index]));
  const placed = new Map<Message, number>();

  for (const message of shown) {
    let index = indexes.get(message.id) ?? -1;
    if (index < 0 && message.role === "user" && message.runId !== null && message.text !== "") {
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
    // The history has what it knows of a run that was stopped before its first word.
    if (message.phase === "stopped" && message.text === "") return false;
    if (message.phase === "streaming") return !answered(message, shown, merged, placed);
    if (message.phase === "done") return message.live && message.at >= askedAt;
    return message.live && !answered(message, shown, merged, placed);
  });
  return queuedLast([...merged, ...rest]);
}

/** `messages` with those that wait for the agent behind the answer that they wait for. */
export function queuedLast(messages: Message[]): Message[] {
  const first = messages.findIndex(waits);
  if (first < 0 || messages.slice(first).every(waits)) return messages;
  return [...messages.filter((message) => !waits(message)), ...messages.filter(waits)];
}

function waits(message: Message): boolean {
  if (message.role === "assistant") return false;
  return message.queued || message.delivery === "waiting" || message.delivery === "sending";
}

/** The page's own object where nothing changed, so that the message is not rendered again. */
function keepIdentity(mine: Message, theirs: Message): Message {
  if (mine.role === "user" && theirs.role === "user") {
    // A failure that this page saw may be missing in the history.
    const failure = theirs.failure ?? (mine.runId === null ? null : mine.failure);
    const same =
      mine.delivery === "sent" &&
      mine.id === theirs.id &&
      mine.queued === theirs.queued &&
      mine.failure?.detail === failure?.detail &&
      theirs.files.every((file, i) => file.url === mine.files[i]?.url);
    if (same) return mine;
    const files = theirs.files.length === 0 ? mine.files : theirs.files;
    return { ...mine, id: theirs.id, files, delivery: "sent", failure, queued: theirs.queued };
  }
  if (mine.role === "assistant" && theirs.role === "assistant") {
    const same =
      mine.text === theirs.text &&
      mine.phase === theirs.phase &&
      mine.files.length === theirs.files.length &&
      mine.thoughts === theirs.thoughts &&
      sameTools(mine.tools, theirs.tools);
    if (same) return mine;
    return { ...theirs, key: mine.key, live: mine.live };
  }
  return theirs;
}

function sameTools(mine: readonly WireTool[], theirs: readonly WireTool[]): boolean {
  return (
    mine.length === theirs.length &&
    mine.every((tool, i) => tool.id === theirs[i]?.id && tool.state === theirs[i].state)
  );
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
