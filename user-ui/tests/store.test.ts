import { describe, expect, it } from "vitest";

import { isRunning, unsent, type UserMessage } from "../src/chat/state";
import { reduce, type Happening } from "../src/chat/store";
import { after, asked as waiting, frame, NOON, status, texts, wire } from "./make";

const opened: Happening = { type: "connection", connection: "open" };
const lost: Happening = { type: "connection", connection: "waiting" };
const written: Happening = { type: "written", id: "m1", text: "hello", now: NOON };
const sentOut: Happening = { type: "sent-out", id: "m1" };
const accepted = frame({ type: "accepted", id: "m1", runId: "r1" });
const asked: Happening = { type: "history-asked", now: NOON };

function delta(text: string, runId = "r1"): Happening {
  return frame({ type: "delta", runId, text });
}

function final(text: string, id = "a1", runId = "r1"): Happening {
  return frame({ type: "final", runId, message: wire(id, "assistant", text) });
}

describe("a question and its answer", () => {
  it("shows what was written at once, and follows it to the gateway", () => {
    const deliveries = [written, sentOut, accepted].map(
      (_, i, all) => (after(opened, ...all.slice(0, i + 1)).messages[0] as UserMessage).delivery,
    );
    expect(deliveries).toEqual(["waiting", "sending", "sent"]);
  });

  it("appends deltas and ends with the text that the gateway calls final", () => {
    const streaming = after(opened, written, sentOut, accepted, delta("He"), delta("llo"));
    expect(texts(streaming)).toEqual(["user: hello", "assistant: Hello"]);
    expect(isRunning(streaming)).toBe(true);

    const done = reduce(streaming, final("Hello!"));
    expect(texts(done)).toEqual(["user: hello", "assistant: Hello!"]);
    expect(isRunning(done)).toBe(false);
  });

  it("takes the whole text when the gateway began the answer anew", () => {
    const anew = frame({ type: "delta", runId: "r1", text: "Good day", replace: true });
    const streaming = after(opened, written, sentOut, accepted, delta("Hel"), anew, delta("!"));
    expect(texts(streaming)).toContain("assistant: Good day!");
  });

  it("keeps the same object for a message that did not change, so that it is not drawn again", () => {
    const before = after(opened, written, sentOut, accepted, delta("a"));
    expect(reduce(before, delta("b")).messages[0]).toBe(before.messages[0]);
  });

  it("keeps what was written so far when the answer is stopped", () => {
    const state = after(opened, written, sentOut, accepted, delta("Half"));
    const stopped = reduce(state, frame({ type: "aborted", runId: "r1" }));
    expect(stopped.messages[1]).toMatchObject({ text: "Half", phase: "stopped" });
  });

  it("keeps the streamed text when the final message comes without any", () => {
    expect(texts(after(opened, written, sentOut, accepted, delta("All"), final("")))).toContain(
      "assistant: All",
    );
  });

  it("ignores a second acceptance of the same message", () => {
    const once = after(opened, written, sentOut, accepted, final("Hi"));
    expect(reduce(once, accepted)).toBe(once);
  });

  it("ignores deltas that come after the end", () => {
    const done = after(opened, written, sentOut, accepted, final("Hi"));
    expect(texts(reduce(done, delta("late")))).toEqual(texts(done));
  });

  it("asks for the history when an answer belongs to a question from another tab", () => {
    const state = after(opened, asked, frame({ type: "history", messages: [] }), final("Hi"));
    expect(texts(state)).toEqual(["assistant: Hi"]);
    expect(state.stale).toBe(true);
  });
});

describe("what goes wrong", () => {
  const refusal = frame({
    type: "error",
    id: "m1",
    code: "agent-failed",
    detail: "The agent did not wake.",
    retry: true,
  });

  it("marks a refused message as failed and sends it again under the same id", () => {
    const failed = after(opened, written, sentOut, refusal);
    expect(failed.messages[0]).toMatchObject({
      delivery: "failed",
      failure: { detail: "The agent did not wake.", retry: true },
    });
    const again = reduce(failed, { type: "again", id: "m1", now: NOON });
    expect(again.messages).toHaveLength(1);
    expect(again.messages[0]).toMatchObject({ id: "m1", delivery: "waiting", failure: null });
  });

  it("sends a message whose run failed again as a new one, since its id was heard", () => {
    const id = "00000000-0000-4000-8000-0000000000ff";
    const failed = after(
      opened,
      { type: "written", id, text: "hello", now: NOON },
      { type: "sent-out", id },
      frame({ type: "accepted", id, runId: id }),
      frame({ type: "error", id, code: "x", detail: "No.", retry: true }),
    );
    expect(isRunning(failed)).toBe(false);
    const again = reduce(failed, { type: "again", id, now: NOON });
    expect(unsent(again).map((message) => [message.id, message.text])).toEqual([
      ["00000000-0000-4000-8000-000000000100", "hello"],
    ]);
  });

  it("keeps the part of an answer that came before its run failed", () => {
    const failed = after(opened, written, sentOut, accepted, delta("Half"), refusal);
    expect(failed.messages[1]).toMatchObject({ text: "Half", phase: "interrupted" });
  });

  it("shows an error that belongs to no message, and lets the history be asked for again", () => {
    const state = after(
      opened,
      asked,
      frame({ type: "error", id: null, code: "x", detail: "No history now.", retry: true }),
    );
    expect(state.notice?.detail).toBe("No history now.");
    expect(state.history).toBe("missing");
  });
});

describe("messages written while the agent works", () => {
  const second: Happening[] = [
    { type: "written", id: "m2", text: "and this", now: NOON },
    { type: "sent-out", id: "m2" },
    frame({ type: "accepted", id: "m2", runId: "r2" }),
  ];
  const busy = after(opened, written, sentOut, accepted, delta("He"), ...second);

  it("wait behind the answer that they wait for", () => {
    expect(texts(reduce(busy, delta("y")))).toEqual([
      "user: hello",
      "assistant: Hey",
      "user: and this",
    ]);
    expect(busy.messages[2]).toMatchObject({ delivery: "sent", queued: true });
  });

  it("get their own answer in turn", () => {
    const next = [final("Hey"), delta("Sure", "r2"), final("Sure.", "a2", "r2")].reduce(
      reduce,
      busy,
    );
    expect(texts(next)).toEqual([
      "user: hello",
      "assistant: Hey",
      "user: and this",
      "assistant: Sure.",
    ]);
    expect(next.messages[2]).toMatchObject({ queued: false });
  });

  it("leave no gap when they joined the run under way", () => {
    const joined = [final("", "a2", "r2"), final("Both.")].reduce(reduce, busy);
    expect(texts(joined)).toEqual(["user: hello", "assistant: Both.", "user: and this"]);
    expect(joined.messages[2]).toMatchObject({ queued: false });
  });

  it("are looked for in the history when the run ends", () => {
    expect(reduce({ ...busy, stale: false }, final("Hey")).stale).toBe(true);
  });

  it("stay behind a run that only the history knows", () => {
    const state = after(
      opened,
      asked,
      frame({
        type: "history",
        messages: [
          wire("m1", "user", "hello"),
          { ...wire("m2", "user", "and this"), state: "queued" },
        ],
      }),
      delta("", "m1"),
    );
    expect(texts(state)).toEqual(["user: hello", "assistant: ", "user: and this"]);
    expect(isRunning(state)).toBe(true);
  });
});

describe("a reloaded conversation", () => {
  const id = "00000000-0000-4000-8000-000000000001";
  const failed = after(
    opened,
    asked,
    frame({
      type: "history",
      messages: [{ ...wire(id, "user", "hello"), state: "failed", detail: "It restarted." }],
    }),
  );

  it("still says why a message was not answered, and sends it again under the next id", () => {
    expect(failed.messages[0]).toMatchObject({
      delivery: "sent",
      failure: { detail: "It restarted.", retry: true },
    });
    const again = reduce(failed, { type: "again", id, now: NOON });
    expect(unsent(again).map((message) => message.id)).toEqual([
      "00000000-0000-4000-8000-000000000002",
    ]);
  });

  it("takes the failure back when another device sent the message again", () => {
    const later = [
      { type: "history-asked", now: NOON + 1 } as const,
      frame({ type: "history", messages: [wire(id, "user", "hello")] }),
    ].reduce(reduce, failed);
    expect(later.messages[0]).toMatchObject({ failure: null });
  });

  it("marks the question of a run that another tab started when that fails", () => {
    const state = after(
      opened,
      asked,
      frame({ type: "history", messages: [wire(id, "user", "hello")] }),
      delta("", id),
      frame({ type: "error", id, code: "x", detail: "No.", retry: true }),
    );
    expect(texts(state)).toEqual(["user: hello"]);
    expect(state.messages[0]).toMatchObject({ delivery: "sent", failure: { detail: "No." } });
  });

  it("shows that an answer was stopped, and the files in it", () => {
    const file = { kind: "image", name: "A dot", url: "/api/chat/files/x/y" } as const;
    const state = after(
      opened,
      asked,
      frame({
        type: "history",
        messages: [
          { ...wire("a1", "assistant", "Half"), state: "stopped" },
          { ...wire("a2", "assistant", ""), files: [file] },
        ],
      }),
    );
    expect(state.messages[0]).toMatchObject({ phase: "stopped" });
    expect(state.messages[1]).toMatchObject({ files: [file] });
  });
});

describe("a lost connection", () => {
  it("puts a message that nobody accepted back among those to be sent", () => {
    const state = after(opened, written, sentOut, lost);
    expect(state.messages[0]).toMatchObject({ delivery: "waiting", attempts: 1 });
  });

  it("does not send an accepted message again", () => {
    expect(unsent(after(opened, written, sentOut, accepted, lost))).toEqual([]);
  });

  it("goes on with an answer where it is now: the first delta afterwards is the whole so far", () => {
    const before = after(opened, written, sentOut, accepted, delta("one"), lost, opened);
    expect(texts(before)).toContain("assistant: one");
    const going = [delta("one two"), delta(" three")].reduce(reduce, before);
    expect(texts(going)).toContain("assistant: one two three");
  });

  it("wants the history again, unless the agent slept all the while", () => {
    const loaded = [asked, frame({ type: "history", messages: [] })];
    const awake = after(opened, frame(status("running")), ...loaded, lost, opened);
    expect(reduce(awake, frame(status("running"))).stale).toBe(true);

    const asleep = after(opened, frame(status("paused", "t1")), ...loaded, lost, opened);
    expect(reduce(asleep, frame(status("paused", "t1"))).stale).toBe(false);
    expect(reduce(asleep, frame(status("paused", "t2"))).stale).toBe(true);
  });

  it("gives an answer up that nobody can tell the end of", () => {
    const state = after(opened, written, sentOut, accepted, delta("Half"), lost, {
      type: "given-up",
    });
    expect(state.messages[1]).toMatchObject({ text: "Half", phase: "interrupted" });
  });
});

describe("calls that wait for a decision", () => {
  const approval = (changes: Parameters<typeof waiting>[0]) =>
    frame({ type: "approval", approval: waiting(changes) });
  const states = (...happenings: Happening[]) =>
    after(opened, ...happenings).approvals.map((one) => `${one.id} ${one.state}`);
  const one = approval({});
  const two = approval({ id: "a2", number: 2 });
  const done = approval({ state: "done", version: 4 });

  it("are shown by number, each in its newest state", () => {
    expect(states(two, one)).toEqual(["a1 waiting", "a2 waiting"]);
    expect(states(one, two, done, one)).toEqual(["a1 done", "a2 waiting"]);
  });

  it("stay until the user goes on after they ended", () => {
    expect(states(one, two, done, written)).toEqual(["a2 waiting"]);
  });

  it("come again from the server after a reconnect", () => {
    expect(states(one, two, done, lost)).toEqual(["a1 done"]);
    expect(states(one, two, lost, opened, two)).toEqual(["a2 waiting"]);
  });
});
