import { beforeEach, describe, expect, it } from "vitest";

import type { AgentState } from "../src/api/generated";
import { ChatClient } from "../src/chat/client";
import { DraftStorage } from "../src/chat/draft-storage";
import { FileStorage } from "../src/chat/file-storage";
import { MAIN } from "../src/chat/protocol";
import type { ChatSession } from "../src/chat/session";
import { isRunning } from "../src/chat/state";
import { wire } from "./make";
import { MemoryStorage } from "./storage";
import { FakeWorld } from "./world";

let world: FakeWorld;
let storage: MemoryStorage;
let client: ChatClient;
let session: ChatSession;

function begin(): void {
  client = new ChatClient(
    "ws://server/api/chat",
    world,
    new DraftStorage("u1", storage),
    new FileStorage("u1", undefined),
  );
  session = client.session(MAIN);
  session.show(true);
  client.start();
}

function openWith(state: AgentState): void {
  world.wire.open();
  is(state);
}

function is(state: AgentState): void {
  world.wire.say({ type: "status", state, detail: null, since: state, warning: null });
}

function sent(type: string) {
  return world.wire.sent.filter((frame) => frame.type === type);
}

function ids(): string[] {
  return world.wires.flatMap((w) => w.sent.flatMap((f) => (f.type === "send" ? [f.id] : [])));
}

function firstId(): string {
  const [id] = ids();
  if (id === undefined) throw new Error("Nothing was sent.");
  return id;
}

beforeEach(() => {
  world = new FakeWorld();
  storage = new MemoryStorage();
  begin();
});

describe("asking for the history", () => {
  it("happens once after opening", () => {
    openWith("running");
    is("running");
    expect(sent("history")).toHaveLength(1);
  });

  it("waits for a hidden tab to be looked at", () => {
    world.isVisible = false;
    openWith("paused");
    expect(sent("history")).toHaveLength(0);
    world.isVisible = true;
    client.onVisibility();
    expect(sent("history")).toHaveLength(1);
  });

  it("waits until the agent is set up", () => {
    openWith("provisioning");
    expect(sent("history")).toHaveLength(0);
    is("running");
    expect(sent("history")).toHaveLength(1);
  });

  it("does not wake an agent that went to sleep while the page was open", () => {
    openWith("running");
    world.wire.say({ type: "history", messages: [] });
    is("paused");
    world.wire.break();
    world.pass(500);
    openWith("paused");
    world.wire.break();
    world.pass(1_000);
    openWith("paused");
    expect(sent("history")).toHaveLength(0);
  });

  it("does not wake a sleeping agent for what a reconnected tab may have missed", () => {
    openWith("running");
    world.wire.say({ type: "history", messages: [] });
    world.wire.break();
    world.pass(500);
    openWith("stopped");
    expect(sent("history")).toHaveLength(0);
    is("running");
    expect(sent("history")).toHaveLength(1);
  });

  it("waits for the conversation to be on the screen: the settings wake no agent", () => {
    session.show(false);
    openWith("stopped");
    expect(sent("history")).toHaveLength(0);
    session.show(true);
    expect(sent("history")).toHaveLength(1);
  });

  it("is repeated on a new connection when the old one broke before the answer", () => {
    openWith("paused");
    world.wire.break();
    world.pass(500);
    openWith("paused");
    expect(sent("history")).toHaveLength(1);
  });
});

describe("sending", () => {
  it("keeps what is written without a connection, and delivers it once", () => {
    session.write("hello");
    openWith("running");
    is("running");
    expect(sent("send")).toHaveLength(1);
    world.wire.say({ type: "accepted", id: firstId(), runId: "r1" });
    world.wire.break();
    world.pass(500);
    openWith("running");
    expect(ids()).toHaveLength(1);
  });

  it("repeats a message nobody accepted under the same id", () => {
    openWith("running");
    session.write("hello");
    world.wire.break();
    world.pass(500);
    openWith("running");
    expect(ids()).toHaveLength(2);
    expect(new Set(ids()).size).toBe(1);
  });

  it("holds messages until the agent is set up", () => {
    openWith("provisioning");
    session.write("hello");
    expect(sent("send")).toHaveLength(0);
    is("running");
    expect(sent("send")).toHaveLength(1);
  });

  it("holds messages while the agents' server is away, and sends them when it is back", () => {
    openWith("running");
    is("unreachable");
    session.write("hello");
    expect(sent("send")).toHaveLength(0);
    is("running");
    expect(sent("send")).toHaveLength(1);
  });

  it("keeps an unsent message over a reload, and forgets it once accepted", () => {
    session.write("hello");
    client.end();
    begin();
    expect(session.state.messages[0]).toMatchObject({ text: "hello", delivery: "waiting" });
    openWith("running");
    world.wire.say({ type: "accepted", id: firstId(), runId: "r1" });
    expect(new DraftStorage("u1", storage).outbox).toEqual([]);
  });

  it("sends what two tabs left unsent, each its own", () => {
    session.write("from one tab");
    const kept = new DraftStorage("u1", storage);
    const other = new ChatClient(
      "ws://server/api/chat",
      new FakeWorld(),
      kept,
      new FileStorage("u1", undefined),
    ).session(MAIN);
    other.write("from another");
    session.write("and one more");
    client.end();
    begin();
    expect(session.state.messages.map(({ text }) => text).sort()).toEqual([
      "and one more",
      "from another",
      "from one tab",
    ]);
  });

  it("keeps the draft", () => {
    session.kept.draft = "half a thou";
    expect(new DraftStorage("u1", storage).draft).toBe("half a thou");
    session.kept.clear();
    expect(storage.length).toBe(0);
  });

  it("gives nobody else what one person left unsent", () => {
    session.write("hello");
    expect(new DraftStorage("u2", storage).outbox).toEqual([]);
  });

  it("takes a connection that stays silent after a question for dead", () => {
    openWith("running");
    session.write("hello");
    const silent = world.wire;
    world.pass(45_000);
    expect(silent.closed).toBe(true);
    world.pass(500);
    openWith("running");
    expect(ids()).toHaveLength(2);
  });
});

describe("an answer whose connection broke", () => {
  beforeEach(() => {
    openWith("running");
    world.wire.say({ type: "history", messages: [] });
    session.write("hello");
    world.wire.say({ type: "accepted", id: firstId(), runId: "r1" });
    world.wire.say({ type: "delta", runId: "r1", text: "Hi" });
    world.wire.break();
    world.pass(500);
    openWith("running");
  });

  it("is looked for in the history until its end is there", () => {
    const question = wire("g1", "user", "hello");
    world.wire.say({ type: "history", messages: [question] });
    expect(isRunning(session.state)).toBe(true);
    world.pass(2_000);
    expect(sent("history")).toHaveLength(2);
    world.wire.say({ type: "history", messages: [question, wire("g2", "assistant", "Hi there")] });
    expect(isRunning(session.state)).toBe(false);
    world.pass(300_000);
    expect(sent("history")).toHaveLength(2);
  });

  it("is given up in the end", () => {
    const question = wire("g1", "user", "hello");
    world.wire.say({ type: "history", messages: [question] });
    for (const wait of [2_000, 4_000, 8_000, 15_000, 30_000, 60_000]) {
      expect(isRunning(session.state)).toBe(true);
      world.pass(wait);
      world.wire.say({ type: "history", messages: [question] });
    }
    expect(isRunning(session.state)).toBe(false);
    expect(session.state.messages.at(-1)).toMatchObject({ phase: "interrupted" });
  });
});
