/**
 * A WebSocket that reconnects, with exponential backoff and jitter.
 *
 * It parses frames and knows nothing of chat. The browser's clock, network state and sockets come
 * in through `SocketWorld`, so that tests control them.
 */

import type { ClientFrame, ServerFrame } from "../api/generated";
import { parseFrame } from "./protocol";
import type { Connection } from "./state";

export interface Wire {
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  /** Bytes that were sent and have not left this browser. */
  readonly bufferedAmount: number;
  send(data: string): void;
  close(): void;
}

export interface SocketWorld {
  open(url: string): Wire;
  /** Runs `run` after `delayMs`; returns a function that cancels it. */
  later(run: () => void, delayMs: number): () => void;
  random(): number;
  /** `navigator.onLine`: false only when there certainly is no network. */
  online(): boolean;
  /** Whether the session is still valid: a refused WebSocket gives no reason. */
  signedIn(): Promise<boolean>;
}

export interface SocketListener {
  connection(connection: Connection): void;
  frame(frame: ServerFrame): void;
}

/** Files are sent no faster than the network takes them, so that other frames are not held up. */
const FULL_BYTES = 512 * 1024;
const LOOK_AGAIN_MS = 50;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** An attempt that is neither open nor refused after this long is abandoned. */
const OPEN_TIMEOUT_MS = 15_000;

export function retryDelayMs(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return ceiling / 2 + (ceiling / 2) * random;
}

export class ChatSocket {
  private wire: Wire | null = null;
  private opened = false;
  private attempt = 0;
  private ended = false;
  private cancelTimer: (() => void) | null = null;

  constructor(
    private readonly url: string,
    private readonly world: SocketWorld,
    private readonly listener: SocketListener,
  ) {}

  start(): void {
    this.connect();
  }

  /** Close for good. */
  end(): void {
    this.ended = true;
    this.cancelTimer?.();
    this.drop();
  }

  /** Send now. Returns false without an open connection. */
  send(frame: ClientFrame): boolean {
    if (!this.opened || this.wire === null) return false;
    this.wire.send(JSON.stringify(frame));
    return true;
  }

  /** Wait until the network has taken most of what was sent, or the connection is lost. */
  async drained(): Promise<void> {
    while (this.opened && (this.wire?.bufferedAmount ?? 0) > FULL_BYTES) {
      await new Promise<void>((resolve) => {
        this.world.later(resolve, LOOK_AGAIN_MS);
      });
    }
  }

  /** Connect at once: the network came back, the page became visible, or the user pressed retry. */
  hurry(): void {
    if (this.ended || this.wire !== null) return;
    this.attempt = 0;
    this.cancelTimer?.();
    this.connect();
  }

  /** Drop a connection that is or seems dead, and open another. */
  reset(): void {
    if (this.ended) return;
    this.cancelTimer?.();
    this.drop();
    this.retry();
  }

  private connect(): void {
    if (!this.world.online()) {
      this.listener.connection("offline");
      this.plan();
      return;
    }
    if (this.attempt === 0) this.listener.connection("connecting");
    const wire = this.world.open(this.url);
    this.wire = wire;
    this.cancelTimer = this.world.later(() => this.reset(), OPEN_TIMEOUT_MS);
    wire.onopen = () => {
      this.cancelTimer?.();
      this.opened = true;
      this.listener.connection("open");
    };
    wire.onmessage = (event) => {
      const frame = parseFrame(event.data);
      if (frame === null) return;
      this.attempt = 0; // A working connection: start the backoff anew.
      this.listener.frame(frame);
    };
    wire.onclose = () => {
      const refused = !this.opened;
      this.cancelTimer?.();
      this.drop();
      if (refused) void this.afterRefusal();
      else this.retry();
    };
  }

  private async afterRefusal(): Promise<void> {
    this.tell();
    const signedIn = await this.world.signedIn();
    if (signedIn && !this.ended && this.wire === null) this.retry();
  }

  private retry(): void {
    this.tell();
    this.plan();
  }

  /** Most losses end with the first retry: report `waiting` only from the second on. */
  private tell(): void {
    if (!this.world.online()) this.listener.connection("offline");
    else this.listener.connection(this.attempt === 0 ? "connecting" : "waiting");
  }

  private plan(): void {
    const delay = retryDelayMs(this.attempt, this.world.random());
    this.attempt += 1;
    this.cancelTimer?.();
    this.cancelTimer = this.world.later(() => this.connect(), delay);
  }

  private drop(): void {
    const wire = this.wire;
    this.wire = null;
    this.opened = false;
    if (wire === null) return;
    wire.onopen = wire.onmessage = wire.onclose = null;
    wire.close();
  }
}
