/** The view model of a conversation: what the reducer makes and the views show. */

import type { AgentView } from "../api/generated";

export type Connection = "connecting" | "open" | "waiting" | "offline";

export interface Failure {
  readonly detail: string;
  readonly retry: boolean;
}

export interface UserMessage {
  readonly role: "user";
  /** Stays the same for the life of the message on the page, whatever ids it gets. */
  readonly key: string;
  readonly id: string;
  readonly text: string;
  readonly at: number;
  /** `waiting`: for the connection or the agent's set-up. `sending`: out, not yet accepted. */
  readonly delivery: "waiting" | "sending" | "sent" | "failed";
  readonly attempts: number;
  readonly failure: Failure | null;
  /** The run that answers it; null before it was accepted and for messages from the history. */
  readonly runId: string | null;
}

export interface AgentMessage {
  readonly role: "assistant";
  readonly key: string;
  readonly id: string | null;
  readonly runId: string | null;
  readonly text: string;
  readonly at: number;
  readonly phase: "streaming" | "done" | "stopped" | "interrupted";
  /** Seen while it was written: such a message is never collapsed under the reader's eyes. */
  readonly live: boolean;
  /** The connection was lost while it streamed: parts may be missing until it is final. */
  readonly doubtful: boolean;
}

export type Message = UserMessage | AgentMessage;

export interface ChatState {
  readonly connection: Connection;
  /** What the server last said of the agent; null until the first word on this page. */
  readonly status: AgentView | null;
  /** Whether this connection has heard the status yet. */
  readonly statusFresh: boolean;
  readonly messages: readonly Message[];
  readonly history: "missing" | "asked" | "loaded";
  /** True when the conversation shown may lack something that the gateway has. */
  readonly stale: boolean;
  readonly historyAskedAt: number;
  /** An error that belongs to no message. */
  readonly notice: Failure | null;
}

export const INITIAL: ChatState = {
  connection: "connecting",
  status: null,
  statusFresh: false,
  messages: [],
  history: "missing",
  stale: true,
  historyAskedAt: 0,
  notice: null,
};

export function isStreaming(message: Message): message is AgentMessage {
  return message.role === "assistant" && message.phase === "streaming";
}

export function isRunning(state: ChatState): boolean {
  return state.messages.some(isStreaming);
}

/** Messages that still have to reach the agent. */
export function unsent(state: ChatState): UserMessage[] {
  return state.messages.filter(
    (message): message is UserMessage => message.role === "user" && message.delivery !== "sent",
  );
}
