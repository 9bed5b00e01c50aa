import { describe, expect, it } from "vitest";

import { reduce, type Happening } from "../src/chat/store";
import { after, frame, NOON, texts, wire } from "./make";

const opened: Happening = { type: "connection", connection: "open" };
const lost: Happening = { type: "connection", connection: "waiting" };
const past = [wire("h1", "user", "old question"), wire("h2", "assistant", "old answer")];

function history(...messages: ReturnType<typeof wire>[]): Happening {
  return frame({ type: "history", messages });
}

function asked(now: number): Happening {
  return { type: "history-asked", now };
}

function question(id: string, text: string, at = NOON): Happening[] {
  return [
    { type: "written", id, text, now: at },
    { type: "sent-out", id },
  ];
}

function answer(id: string, runId: string, now = NOON): Happening[] {
  return [
    frame({ type: "accepted", id, runId }, now),
    frame({ type: "delta", runId, text: "Hi" }, now),
    frame(
      { type: "final", runId, message: wire(`${runId}-end`, "assistant", "Hi there", now) },
      now,
    ),
  ];
}

describe("the gateway's history", () => {
  it("is what a reloaded page shows", () => {
    expect(texts(after(opened, asked(NOON), history(...past)))).toEqual([
      "user: old question",
      "assistant: old answer",
    ]);
  });

  it("changes nothing that is shown already, not even the objects", () => {
    const first = after(opened, asked(NOON), history(...past));
    const second = [asked(NOON), history(...past)].reduce(reduce, first);
    expect(second.messages.map((m, i) => m === first.messages[i])).toEqual([true, true]);
  });

  it("leaves a message that is still on its way at the end", () => {
    const state = after(opened, ...question("m1", "new"), asked(NOON), history(...past));
    expect(texts(state)).toEqual(["user: old question", "assistant: old answer", "user: new"]);
  });

  it("takes an accepted message and its answer for the ones it has under other ids", () => {
    const said = after(opened, ...question("m1", "hello"), ...answer("m1", "r1"));
    const later = NOON + 60_000;
    const merged = [
      asked(later),
      history(wire("g1", "user", "hello"), wire("g2", "assistant", "Hi there")),
    ].reduce(reduce, said);
    expect(texts(merged)).toEqual(["user: hello", "assistant: Hi there"]);
  });

  it("does not take an old message with the same words for one that was not accepted", () => {
    const state = after(opened, ...question("m1", "old question"), asked(NOON), history(...past));
    expect(state.messages.at(-1)).toMatchObject({ id: "m1", delivery: "sending" });
  });

  it("keeps an answer that ended after the history was asked for", () => {
    const state = after(
      opened,
      ...question("m1", "hello"),
      asked(NOON),
      ...answer("m1", "r1", NOON + 1),
      history(...past),
    );
    expect(texts(state).slice(2)).toEqual(["user: hello", "assistant: Hi there"]);
  });

  it("keeps an answer that is being written", () => {
    const state = after(
      opened,
      ...question("m1", "hello"),
      frame({ type: "accepted", id: "m1", runId: "r1" }),
      frame({ type: "delta", runId: "r1", text: "Hi" }),
      asked(NOON + 1),
      history(...past, wire("g1", "user", "hello")),
    );
    expect(texts(state).slice(2)).toEqual(["user: hello", "assistant: Hi"]);
  });

  it("ends an answer whose end the lost connection swallowed", () => {
    const cut = after(
      opened,
      ...question("m1", "hello"),
      frame({ type: "accepted", id: "m1", runId: "r1" }),
      frame({ type: "delta", runId: "r1", text: "Hi" }),
      lost,
      opened,
      asked(NOON + 1),
    );
    const early = reduce(cut, history(wire("g1", "user", "hello")));
    expect(early.messages[1]).toMatchObject({ phase: "streaming", doubtful: true });

    const whole = [
      asked(NOON + 2),
      history(wire("g1", "user", "hello"), wire("g2", "assistant", "Hi there")),
    ].reduce(reduce, early);
    expect(texts(whole)).toEqual(["user: hello", "assistant: Hi there"]);
    expect(whole.messages[1]).toMatchObject({ phase: "done" });
  });
});
