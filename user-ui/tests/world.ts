/** A browser whose clock, network and sockets the test moves. */

import type { ClientFrame, ServerFrame } from "../src/api/generated";
import type { SessionWorld } from "../src/chat/session";
import type { Wire } from "../src/chat/socket";

export class FakeWire implements Wire {
  onopen: Wire["onopen"] = null;
  onmessage: Wire["onmessage"] = null;
  onclose: Wire["onclose"] = null;
  readonly sent: ClientFrame[] = [];
  closed = false;
  bufferedAmount = 0;

  send(data: string): void {
    this.sent.push(JSON.parse(data) as ClientFrame);
  }

  close(): void {
    this.closed = true;
  }

  open(): void {
    this.onopen?.(new Event("open"));
  }

  say(frame: ServerFrame): void {
    this.onmessage?.({ data: JSON.stringify(frame) } as MessageEvent);
  }

  break(): void {
    this.onclose?.({} as CloseEvent);
  }
}

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export class FakeWorld implements SessionWorld {
  readonly wires: FakeWire[] = [];
  isOnline = true;
  isVisible = true;
  isSignedIn = true;
  private time = Date.UTC(2026, 10, 23, 12);
  private timers: Timer[] = [];

  get wire(): FakeWire {
    const wire = this.wires.at(-1);
    if (wire === undefined) throw new Error("No socket was opened.");
    return wire;
  }

  open = () => {
    const wire = new FakeWire();
    this.wires.push(wire);
    return wire;
  };
  later = (run: () => void, delayMs: number) => {
    const timer = { at: this.time + delayMs, run };
    this.timers.push(timer);
    return () => void (this.timers = this.timers.filter((other) => other !== timer));
  };
  random = () => 1;
  online = () => this.isOnline;
  signedIn = () => Promise.resolve(this.isSignedIn);
  now = () => this.time;
  visible = () => this.isVisible;
  nextFrame = (draw: () => void) => draw();

  /** Advance the clock by `ms` and run the timers that are due. */
  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const due = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((other) => other !== due);
      this.time = due.at;
      due.run();
    }
    this.time = end;
  }
}
