/** The chat protocol as a pure reducer: (state, event) → state. */

import type { ApprovalView, ServerFrame, WireMessage, WireTool } from "../api/generated";
import { fromWire, mergeHistory, queuedLast, timeOf } from "./history";
import type { MessageFile } from "./attachments";
import { nextAttempt } from "./ids";
import { isAsleep } from "./protocol";
import {
  isOpen,
  isStreaming,
  type AgentMessage,
  type ChatState,
  type Connection,
  type Failure,
  type Message,
  type UserMessage,
} from "./state";

/** Codes of errors after which the agent certainly does not have the message. */
const REFUSALS = new Set(["agent-refused", "agent-stopped"]);

export type Happening =
  | { readonly type: "frame"; readonly frame: ServerFrame; readonly now: number }
  | { readonly type: "connection"; readonly connection: Connection }
  | {
      readonly type: "written";
      readonly id: string;
      readonly text: string;
      readonly files?: readonly MessageFile[];
      readonly now: number;
    }
  | { readonly type: "restored"; readonly messages: readonly UserMessage[] }
  | { readonly type: "sent-out"; readonly id: string }
  | { readonly type: "again"; readonly id: string; readonly now: number }
  | { readonly type: "discarded"; readonly id: string }
  | { readonly type: "history-asked"; readonly now: number }
  | { readonly type: "history-wanted" }
  | { readonly type: "older-asked" }
  | { readonly type: "new" }
  | { readonly type: "given-up" }
  | { readonly type: "notice"; readonly notice: Failure | null };

export function reduce(state: ChatState, event: Happening): ChatState {
  switch (event.type) {
    case "frame":
      return onFrame(state, event.frame, event.now);
    case "connection":
      return onConnection(state, event.connection);
    case "written":
      return {
        ...state,
        messages: [...state.messages, written(event.id, event.text, event.now, event.files)],
        approvals: state.approvals.filter(isOpen),
      };
    case "restored":
      return { ...state, messages: [...state.messages, ...event.messages] };
    case "sent-out":
      return onUser(state, event.id, (message) => ({
        ...message,
        delivery: "sending",
        attempts: message.attempts + 1,
      }));
    case "again":
      return again(state, event.id, event.now);
    case "discarded":
      return { ...state, messages: state.messages.filter((message) => message.id !== event.id) };
    case "history-asked":
      return { ...state, history: "asked", stale: false, historyAskedAt: event.now };
    case "history-wanted":
      return { ...state, stale: true, notice: null };
    case "older-asked":
      return { ...state, olderAsked: true };
    case "new":
      return { ...state, history: "loaded", stale: false };
    case "given-up":
      return { ...state, messages: state.messages.map(interrupted) };
    case "notice":
      return { ...state, notice: event.notice };
  }
}

export function written(
  id: string,
  text: string,
  now: number,
  files: readonly MessageFile[] = [],
): UserMessage {
  return {
    role: "user",
    key: id,
    id,
    text,
    files,
    at: now,
    delivery: "waiting",
    attempts: 0,
    failure: null,
    runId: null,
    queued: false,
  };
}

function onFrame(state: ChatState, frame: ServerFrame, now: number): ChatState {
  switch (frame.type) {
    case "status": {
      const { state: agent, detail, since, warning } = frame;
      const before = state.status;
      // After a reconnect: an agent that slept throughout has no new messages.
      const slept = isAsleep(agent) && before?.state === agent && before.since === since;
      const stale = state.stale || (!state.statusFresh && state.history === "loaded" && !slept);
      return {
        ...state,
        status: { state: agent, detail, since, warning },
        statusFresh: true,
        stale,
      };
    }
    case "history":
      return onHistory(state, frame.messages, frame.older ?? null);
    case "older":
      return onOlder(state, frame.messages, frame.older ?? null);
    case "accepted":
      return onAccepted(state, frame.id, frame.runId, now);
    case "delta":
      return onDelta(state, frame.runId, frame.text, now, frame.replace === true);
    case "work":
      return onWork(state, frame.runId, now, frame.tool, frame.thoughts);
    case "final": {
      const wire = fromWire(frame.message) as AgentMessage;
      const known = answerOf(state, frame.runId);
      const worked = Boolean(known?.text) || (known?.tools.length ?? 0) > 0;
      if (wire.text === "" && wire.files.length === 0 && !worked) {
        return onWaiting(state, frame.runId);
      }
      return onEnd(state, frame.runId, now, (answer) => ({
        ...answer,
        id: wire.id,
        text: wire.text === "" ? answer.text : wire.text,
        files: wire.files,
        at: timeOf(frame.message.at) || now,
        phase: "done",
        doubtful: false,
      }));
    }
    case "aborted":
      return onEnd(state, frame.runId, now, (answer) => ({ ...answer, at: now, phase: "stopped" }));
    case "approval":
      return { ...state, approvals: withApproval(state.approvals, frame.approval) };
    case "conversations":
    case "conversation":
    case "deleted":
    case "found":
    case "forked":
      return state; // the client's, see client.ts
    case "error":
      return onError(state, frame.id, {
        detail: frame.detail,
        retry: frame.retry,
        refused: REFUSALS.has(frame.code),
      });
  }
}

/**
 * A history has the newest messages only. What was shown and is not in it any more is older; without
 * anything in common there may be a gap, and older messages are loaded anew.
 */
function onHistory(
  state: ChatState,
  wires: readonly WireMessage[],
  from: number | null,
): ChatState {
  const ids = new Set(wires.map(({ id }) => id));
  const overlap = state.messages.findIndex(({ id }) => id !== null && ids.has(id));
  const contiguous = from !== null && overlap >= 0;
  const older = contiguous ? [...state.older, ...state.messages.slice(0, overlap)] : [];
  const gap = from !== null && overlap < 0 && state.messages.length > 0;
  const shown = gap ? state.messages.filter(isOwn) : state.messages.slice(contiguous ? overlap : 0);
  return {
    ...state,
    history: "loaded",
    messages: mergeHistory(shown, wires, state.historyAskedAt),
    older,
    olderFrom: older.length === 0 ? from : state.olderFrom,
    olderAsked: contiguous && state.olderAsked,
  };
}

/** Whether only this page knows the message, yet. */
function isOwn(message: Message): boolean {
  return message.role === "user" ? message.delivery !== "sent" : message.phase === "streaming";
}

function onOlder(state: ChatState, wires: readonly WireMessage[], from: number | null): ChatState {
  const known = new Set([...state.older, ...state.messages].map(({ id }) => id));
  const fresh = wires.filter(({ id }) => !known.has(id)).map(fromWire);
  return { ...state, older: [...fresh, ...state.older], olderFrom: from, olderAsked: false };
}

/** The list by number with this approval in it, unless it has a later version. */
export function withApproval(
  approvals: readonly ApprovalView[],
  changed: ApprovalView,
): readonly ApprovalView[] {
  const known = approvals.find((one) => one.id === changed.id);
  if (known !== undefined && known.version > changed.version) return approvals;
  const others = approvals.filter((one) => one.id !== changed.id);
  return [...others, changed].sort((a, b) => a.number - b.number);
}

function onConnection(state: ChatState, connection: Connection): ChatState {
  if (connection === state.connection) return state;
  if (state.connection !== "open") return { ...state, connection };
  return {
    ...state,
    connection,
    statusFresh: false,
    // The server sends the open ones again; what ended meanwhile it does not.
    approvals: state.approvals.filter((one) => !isOpen(one)),
    // A history request whose answer was lost with the connection has to be repeated.
    history: state.history === "asked" ? "missing" : state.history,
    olderAsked: false,
    stale: state.stale || state.history === "asked",
    messages: state.messages.map((message) => {
      if (message.role === "user" && message.delivery === "sending") {
        return { ...message, delivery: "waiting" };
      }
      return isStreaming(message) ? { ...message, doubtful: true } : message;
    }),
  };
}

function onAccepted(state: ChatState, id: string, runId: string, now: number): ChatState {
  const question = state.messages.find((message) => message.id === id);
  if (question?.role !== "user" || question.runId !== null) return state;
  const again = question.attempts > 1;
  const queued = !again && state.messages.some((m) => isStreaming(m) && m.runId !== runId);
  const accepted = onUser(state, id, (message) => ({
    ...message,
    delivery: "sent",
    failure: null,
    runId,
    queued,
  }));
  if (again) {
    // The first attempt may have been received, and answered while disconnected.
    return withAnswer({ ...accepted, stale: true }, runId, now, { doubtful: true });
  }
  return queued ? accepted : withAnswer(accepted, runId, now, {});
}

function onDelta(
  state: ChatState,
  runId: string,
  text: string,
  now: number,
  whole: boolean,
): ChatState {
  const ready = withAnswer(text === "" ? state : taken(state, runId), runId, now, {});
  return {
    ...ready,
    messages: ready.messages.map((message) => {
      if (message.role !== "assistant" || message.runId !== runId) return message;
      if (message.phase !== "streaming" && message.phase !== "interrupted") return message;
      // The first delta after a reconnect contains the whole text so far.
      const before = whole || message.doubtful ? "" : message.text;
      return { ...message, text: before + text, phase: "streaming", doubtful: false };
    }),
  };
}

/** A call of a tool began or ended, or the model thought on. */
function onWork(
  state: ChatState,
  runId: string,
  now: number,
  tool: WireTool | undefined,
  thoughts: string | undefined,
): ChatState {
  const ready = withAnswer(taken(state, runId), runId, now, {});
  return {
    ...ready,
    messages: ready.messages.map((message) =>
      message.role === "assistant" && message.runId === runId && message.phase === "streaming"
        ? {
            ...message,
            tools: tool === undefined ? message.tools : withTool(message.tools, tool),
            thoughts: thoughts ?? message.thoughts,
          }
        : message,
    ),
  };
}

function withTool(tools: readonly WireTool[], changed: WireTool): readonly WireTool[] {
  const index = tools.findIndex(({ id }) => id === changed.id);
  return index < 0 ? [...tools, changed] : tools.with(index, changed);
}

/** The agent answers the message of this run: it waits no longer. */
function taken(state: ChatState, runId: string): ChatState {
  const messages = state.messages.map((message) =>
    message.role === "user" && message.queued && (message.runId ?? message.id) === runId
      ? { ...message, queued: false }
      : message,
  );
  return { ...state, messages };
}

function onEnd(
  state: ChatState,
  runId: string,
  now: number,
  end: (answer: AgentMessage) => AgentMessage,
): ChatState {
  const mine = state.messages.some((m) => m.role === "user" && m.runId === runId);
  const seen = answerOf(state, runId) !== undefined;
  const ready = withAnswer(state, runId, now, {});
  const messages = ready.messages.map((message) =>
    message.role === "assistant" && message.runId === runId ? end(message) : message,
  );
  // The gateway takes up a message that waits in a run that has another id.
  const next = state.messages.some((message) => message.role === "user" && message.queued);
  const incomplete =
    answerOf(state, runId)?.tools.some((tool) => tool.state === "running") === true;
  // A run that this page did not start: its question came from another tab.
  const stale = ready.stale || next || incomplete || (!seen && !mine);
  return { ...ready, stale, messages };
}

/** The run ended without an answer: the agent reads the message in the run under way or later. */
function onWaiting(state: ChatState, runId: string): ChatState {
  const messages = state.messages
    .filter((message) => message.role === "user" || message.runId !== runId)
    .map((message) =>
      message.role === "user" && message.runId === runId ? { ...message, queued: true } : message,
    );
  return { ...state, stale: true, messages: queuedLast(messages) };
}

function onError(state: ChatState, id: string | null, failure: Failure): ChatState {
  const question = state.messages.find(
    (message) =>
      id !== null &&
      message.role === "user" &&
      (message.id === id || message.key === id || message.runId === id),
  );
  const runId = question?.runId ?? id;
  const messages = state.messages.flatMap((message) => {
    if (message.role === "user" || runId === null || message.runId !== runId) return [message];
    return message.text === "" && message.tools.length === 0 ? [] : [interrupted(message)];
  });
  if (question?.role !== "user") {
    // Without a message it may be about the requested history: stop waiting for that.
    const history = state.history === "asked" ? "missing" : state.history;
    return { ...state, messages, notice: failure, history, olderAsked: false };
  }
  return onUser({ ...state, messages }, question.id, (message) => ({
    ...message,
    failure,
    queued: false,
    delivery: message.delivery === "sent" ? "sent" : "failed",
  }));
}

/**
 * Send a failed message again: with the same id when it was never accepted, so that it is delivered
 * once; with the next id when its run failed, since the gateway ignores an id that it has seen.
 */
function again(state: ChatState, id: string, now: number): ChatState {
  const message = state.messages.find((candidate) => candidate.id === id);
  if (message?.role !== "user") return state;
  if (message.delivery === "failed") {
    return onUser(state, id, (failed) => ({
      ...failed,
      id: failed.failure?.refused ? nextAttempt(id) : id,
      delivery: "waiting",
      failure: null,
    }));
  }
  const cleared = onUser(state, id, (failed) => ({ ...failed, failure: null }));
  const attempt = written(nextAttempt(id), message.text, now, message.files);
  return { ...cleared, messages: [...cleared.messages, attempt] };
}

function interrupted(message: Message): Message {
  return isStreaming(message) ? { ...message, phase: "interrupted" } : message;
}

function answerOf(state: ChatState, runId: string): AgentMessage | undefined {
  return state.messages.find(
    (message): message is AgentMessage => message.role === "assistant" && message.runId === runId,
  );
}

/** The state with an answer, empty if new, for `runId`. */
function withAnswer(
  state: ChatState,
  runId: string,
  now: number,
  more: Partial<AgentMessage>,
): ChatState {
  if (answerOf(state, runId) !== undefined) return state;
  const answer: AgentMessage = {
    role: "assistant",
    key: `run:${runId}`,
    id: null,
    runId,
    text: "",
    files: [],
    tools: [],
    thoughts: "",
    at: now,
    phase: "streaming",
    live: true,
    doubtful: false,
    ...more,
  };
  return { ...state, messages: queuedLast([...state.messages, answer]) };
}

function onUser(
  state: ChatState,
  id: string,
  change: (message: UserMessage) => UserMessage,
): ChatState {
  const messages = state.messages.map((message) =>
    message.role === "user" && message.id === id ? change(message) : message,
  );
  return { ...state, messages };
}
