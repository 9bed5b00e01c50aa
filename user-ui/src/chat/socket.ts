/**
 * One WebSocket that comes back by itself.
 *
 * It knows nothing of chat: it opens, hands over frames, and after a loss tries again, each time
 * later and never all pages at once (exponential with jitter). Everything it needs of the browser
 * comes in through `SocketWorld`, so its behaviour is tested with a clock that the test moves.
 */

import type { ClientFrame, ServerFrame } from "../api/generated";
import { parseFrame } from "./protocol";
import type { Connection } from "./state";

export interface Wire {
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  send(data: string): void;
  close(): void;
}

export interface SocketWorld {
  open(url: string): Wire;
  /** Runs `run` after `delayMs`; returns what cancels it. */
  later(run: () => void, delayMs: number): () => void;
  random(): number;
  /** False only when the browser is sure that there is no network. */
  online(): boolean;
  /** Whether the session still holds: a refused WebSocket does not say why. */
  signedIn(): Promise<boolean>;
}

export interface SocketListener {
  connection(connection: Connection): void;
  frame(frame: ServerFrame): void;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** An attempt that is neither open nor refused after this long is given up. */
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

  /** Send now; false when there is no open connection. */
  send(frame: ClientFrame): boolean {
    if (!this.opened || this.wire === null) return false;
    this.wire.send(JSON.stringify(frame));
    return true;
  }

  /** Try at once: the network came back, the page became visible, or a person asked. */
  hurry(): void {
    if (this.ended || this.wire !== null) return;
    this.attempt = 0;
    this.cancelTimer?.();
    this.connect();
  }

  /** The connection is known or believed to be dead: leave it and open another. */
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
      this.attempt = 0; // It works, so the next loss is a new one.
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

  /** A first loss is usually over at once; only from the second try on it is worth a word. */
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
