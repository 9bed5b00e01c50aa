import { describe, expect, it } from "vitest";

import type { WireMessage } from "../src/api/generated";
import { INITIAL, type ChatState } from "../src/chat/state";
import { reduce, type Happening } from "../src/chat/store";
import { frame, NOON, wire } from "./make";

function messages(from: number, to: number): WireMessage[] {
  return Array.from({ length: to - from }, (_, index) => {
    const number = from + index;
    return wire(
      `m${number}`,
      number % 2 ? "assistant" : "user",
      `${number}`,
      NOON - 10_000 + number,
    );
  });
}

function after(...happenings: Happening[]): ChatState {
  return [{ type: "history-asked", now: NOON } as Happening, ...happenings].reduce(reduce, INITIAL);
}

function shown(state: ChatState): string[] {
  return [...state.older, ...state.messages].map(({ text }) => text);
}

function numbers(from: number, to: number): string[] {
  return messages(from, to).map(({ text }) => text);
}

const newest = frame({ type: "history", messages: messages(100, 200), older: 100 });

describe("older messages", () => {
  it("come before those that are there, until the first one", () => {
    const state = after(
      newest,
      { type: "older-asked" },
      frame({ type: "older", messages: messages(20, 100), older: 180 }),
    );
    expect(shown(state)).toEqual(numbers(20, 200));
    expect(state).toMatchObject({ olderFrom: 180, olderAsked: false });
    const whole = reduce(state, frame({ type: "older", messages: messages(0, 20) }));
    expect(shown(whole)).toEqual(numbers(0, 200));
    expect(whole.olderFrom).toBeNull();
  });

  it("are shown once, although places moved by messages that came meanwhile", () => {
    const state = after(newest, frame({ type: "older", messages: messages(60, 104), older: 140 }));
    expect(shown(state)).toEqual(numbers(60, 200));
  });

  it("are kept with a newer history, and with what that no longer has", () => {
    const state = after(
      newest,
      frame({ type: "older", messages: messages(50, 100), older: 150 }),
      frame({ type: "history", messages: messages(106, 206), older: 106 }),
    );
    expect(shown(state)).toEqual(numbers(50, 206));
    expect(state.olderFrom).toBe(150);
  });

  it("are loaded anew when there may be a gap", () => {
    const state = after(
      newest,
      frame({ type: "older", messages: messages(50, 100), older: 150 }),
      frame({ type: "history", messages: messages(500, 600), older: 100 }),
    );
    expect(shown(state)).toEqual(numbers(500, 600));
    expect(state.olderFrom).toBe(100);
  });

  it("may be asked for again after a failure or a lost connection", () => {
    const state = after(newest, { type: "older-asked" });
    const failed = frame({ type: "error", id: null, code: "x", detail: "No.", retry: true });
    expect(reduce(state, failed)).toMatchObject({ olderAsked: false, notice: { detail: "No." } });
    expect(reduce(state, failed).messages.some((m) => m.role === "user" && m.failure)).toBe(false);
    const open: Happening = { type: "connection", connection: "open" };
    const lost: Happening = { type: "connection", connection: "waiting" };
    expect([open, lost].reduce(reduce, state).olderAsked).toBe(false);
  });
});
