/** The view model of a conversation: the reducer computes it, the views show it. */

import type { MessageFile } from "./attachments";
import type { AgentView, ApprovalView, WireFile, WireTool } from "../api/generated";

export type Connection = "connecting" | "open" | "waiting" | "offline";

export interface Failure {
  readonly detail: string;
  readonly retry: boolean;
  /** The agent refused the message under its id: it has to be sent under another. */
  readonly refused?: boolean;
}

export interface UserMessage {
  readonly role: "user";
  /** Stays the same while the message is on the page, although its id may change. */
  readonly key: string;
  readonly id: string;
  readonly text: string;
  readonly files: readonly MessageFile[];
  readonly at: number;
  /** `waiting`: for the connection or the agent. `sending`: sent, not yet accepted. */
  readonly delivery: "waiting" | "sending" | "sent" | "failed";
  readonly attempts: number;
  readonly failure: Failure | null;
  /** The run that answers it; null until it is accepted, and for messages from the history. */
  readonly runId: string | null;
  /** The agent has it but works on an earlier message. */
  readonly queued: boolean;
}

export interface AgentMessage {
  readonly role: "assistant";
  readonly key: string;
  readonly id: string | null;
  readonly runId: string | null;
  readonly text: string;
  readonly files: readonly WireFile[];
  /** The calls of tools that led to it, in their order. */
  readonly tools: readonly WireTool[];
  /** What the model thought, if its provider tells. */
  readonly thoughts: string;
  readonly at: number;
  readonly phase: "streaming" | "done" | "stopped" | "interrupted";
  /** Received while streaming on this page: such a message is never folded. */
  readonly live: boolean;
  /** The connection was lost while it streamed: text may be missing until it is final. */
  readonly doubtful: boolean;
}

export type Message = UserMessage | AgentMessage;

export interface ChatState {
  readonly connection: Connection;
  /** The last status frame; null before the first one. */
  readonly status: AgentView | null;
  /** Whether a status frame has arrived on the current connection. */
  readonly statusFresh: boolean;
  readonly messages: readonly Message[];
  /** Those before `messages`, as far as they were loaded. */
  readonly older: readonly Message[];
  /** Where the messages before `older` begin; null if there are none. */
  readonly olderFrom: number | null;
  readonly olderAsked: boolean;
  readonly history: "missing" | "asked" | "loaded";
  /** Whether the gateway may have messages that are not shown. */
  readonly stale: boolean;
  readonly historyAskedAt: number;
  /** Calls that wait for a decision or run, and those that ended since the user last wrote. */
  readonly approvals: readonly ApprovalView[];
  /** An error that is not about one message. */
  readonly notice: Failure | null;
}

export const INITIAL: ChatState = {
  connection: "connecting",
  status: null,
  statusFresh: false,
  messages: [],
  older: [],
  olderFrom: null,
  olderAsked: false,
  history: "missing",
  stale: true,
  historyAskedAt: 0,
  approvals: [],
  notice: null,
};

/** Whether a call is still to be decided or run. */
export function isOpen(approval: ApprovalView): boolean {
  return ["waiting", "approved", "running"].includes(approval.state);
}

export function isWaiting({ state }: ApprovalView): boolean {
  return state === "waiting";
}

/** How many calls wait, in words. */
export function waitingText(count: number): string {
  return count === 1 ? "1 call waits for you" : `${count} calls wait for you`;
}

export function isStreaming(message: Message): message is AgentMessage {
  return message.role === "assistant" && message.phase === "streaming";
}

/** Whether a call of a tool runs, so that the agent need not be said to think. */
export function usesTool(message: AgentMessage): boolean {
  return message.phase === "streaming" && message.tools.some(({ state }) => state === "running");
}

export function isRunning(state: ChatState): boolean {
  return state.messages.some(isStreaming);
}

/** Messages that the agent has not accepted. */
export function unsent(state: ChatState): UserMessage[] {
  return state.messages.filter(
    (message): message is UserMessage => message.role === "user" && message.delivery !== "sent",
  );
}
