import { describe, expect, it } from "vitest";

import { parseFrame } from "../src/chat/protocol";
import { reduce, type Happening } from "../src/chat/store";
import { after, frame, NOON } from "./make";
import { approval } from "./tools-made";

const opened: Happening = { type: "connection", connection: "open" };
const lost: Happening = { type: "connection", connection: "waiting" };
const written: Happening = { type: "written", id: "m1", text: "hello", now: NOON };

function told(changes: Parameters<typeof approval>[0] = {}): Happening {
  return frame({ type: "approval", approval: approval(changes) });
}

const shown = (...happenings: Happening[]) =>
  after(...happenings).approvals.map(({ number, state, version }) => [number, state, version]);

describe("calls to decide on, in the chat", () => {
  it("are taken from the socket", () => {
    expect(parseFrame(JSON.stringify({ type: "approval", approval: approval() }))).not.toBeNull();
    expect(shown(opened, told({ id: "b", number: 2 }), told())).toEqual([
      [1, "waiting", 1],
      [2, "waiting", 1],
    ]);
  });

  it("never go back to an earlier version, whichever way it comes", () => {
    const decided = approval({ state: "approved", version: 2 });
    const ran = told({ state: "done", version: 4 });
    expect(shown(opened, told(), ran, { type: "decided", approval: decided })).toEqual([
      [1, "done", 4],
    ]);
    const state = after(opened, told());
    expect(reduce(state, told()).approvals).toBe(state.approvals);
  });

  it("stay when they ended, until the user goes on", () => {
    const ended = told({ state: "denied", version: 2 });
    const waits = told({ id: "b", number: 2 });
    expect(shown(opened, told(), ended, waits)).toHaveLength(2);
    expect(shown(opened, told(), ended, waits, written)).toEqual([[2, "waiting", 1]]);
  });

  it("that ended while there was no connection do not stay open", () => {
    expect(shown(opened, told(), lost)).toHaveLength(1);
    expect(shown(opened, told(), lost, opened)).toEqual([]);
    expect(shown(opened, told(), lost, opened, told({ version: 1 }))).toHaveLength(1);
  });
});
