import { beforeEach, describe, expect, it } from "vitest";

import type { WireConversation } from "../src/api/generated";
import { ChatClient } from "../src/chat/client";
import { matching, titleOf } from "../src/chat/conversations";
import { DraftStorage } from "../src/chat/draft-storage";
import { draftFiles, FileStorage } from "../src/chat/file-storage";
import { newId } from "../src/chat/ids";
import { MAIN } from "../src/chat/protocol";
import { isRunning } from "../src/chat/state";
import { wire } from "./make";
import { MemoryStorage } from "./storage";
import { FakeWorld } from "./world";

const TRIP = "11111111-1111-4111-8111-111111111111";
const TAXES = "22222222-2222-4222-8222-222222222222";

let world: FakeWorld;
let storage: MemoryStorage;
let files: FileStorage;
let client: ChatClient;

function begin(): void {
  files = new FileStorage("u1", undefined);
  client = new ChatClient("ws://server/api/chat", world, new DraftStorage("u1", storage), files);
  client.start();
}

function open(state: "running" | "paused" | "stopped" = "running"): void {
  world.wire.open();
  is(state);
}

function is(state: "running" | "paused" | "stopped"): void {
  world.wire.say({ type: "status", state, detail: null, since: state, warning: null });
}

function sent(type: string) {
  return world.wire.sent.filter((frame) => frame.type === type);
}

function entry(id: string, changes: Partial<WireConversation> = {}): WireConversation {
  const at = "2026-11-23T12:00:00Z";
  return { id, title: "", pinned: false, unread: false, working: false, at, ...changes };
}

function listed(...conversations: WireConversation[]): void {
  world.wire.say({ type: "conversations", conversations, more: false });
}

beforeEach(() => {
  world = new FakeWorld();
  storage = new MemoryStorage();
  begin();
});

describe("several conversations", () => {
  it("run side by side: each gets the frames about it, also while another is shown", () => {
    open();
    const trip = client.session(TRIP);
    const main = client.session(MAIN);
    main.show(true);
    main.write("one");
    trip.write("two");
    const [toMain, toTrip] = world.wire.sent.flatMap((f) => (f.type === "send" ? [f] : []));
    expect([toMain?.conversation, toTrip?.conversation]).toEqual([undefined, TRIP]);
    world.wire.say({ type: "accepted", id: toMain?.id ?? "", runId: "r1" });
    world.wire.say({ type: "accepted", id: toTrip?.id ?? "", runId: "r2", conversation: TRIP });

    world.wire.say({ type: "delta", runId: "r1", text: "for main" });
    world.wire.say({ type: "delta", runId: "r2", text: "for trip", conversation: TRIP });
    expect(main.state.messages.map(({ text }) => text)).toEqual(["one", "for main"]);
    expect(trip.state.messages.map(({ text }) => text)).toEqual(["two", "for trip"]);
    expect([isRunning(main.state), isRunning(trip.state)]).toEqual([true, true]);
    trip.stop();
    expect(sent("stop")).toEqual([{ type: "stop", conversation: TRIP }]);
  });

  it("keep their own drafts and unsent messages, over a reload too", () => {
    client.session(TRIP).kept.draft = "where to";
    client.session(MAIN).kept.draft = "hello";
    client.session(TAXES).write("sent later");
    client.end();
    begin();
    expect(client.session(TRIP).kept.draft).toBe("where to");
    expect(client.session(MAIN).kept.draft).toBe("hello");
    open();
    expect(sent("send")).toMatchObject([{ text: "sent later", conversation: TAXES }]);
    client.session(TRIP).kept.clearAll();
    expect(storage.length).toBe(0);
  });

  it("load their history only when they are shown", () => {
    open();
    client.session(TRIP);
    expect(sent("history")).toEqual([]);
    client.session(TRIP).show(true);
    expect(sent("history")).toMatchObject([{ conversation: TRIP }]);
  });

  it("catch up in the background after a lost connection, if an answer was under way", () => {
    open();
    client.session(TRIP).write("go");
    world.wire.say({ type: "delta", runId: "r", text: "so far", conversation: TRIP });
    world.wire.break();
    world.pass(500);
    open();
    expect(sent("history")).toMatchObject([{ conversation: TRIP }]);
  });

  it("are forked to write a message anew: its text becomes the draft", async () => {
    open();
    const forks: unknown[] = [];
    client.addEventListener("forked", (event) => forks.push((event as CustomEvent).detail));
    client.session(TRIP).fork("m1");
    expect(sent("fork")).toEqual([{ type: "fork", message: "m1", conversation: TRIP }]);
    const fork = `d-${TAXES}`;
    world.wire.say({ type: "forked", conversation: TRIP, message: "m1", fork, text: "to Rome" });
    await new Promise((resolve) => setTimeout(resolve));
    expect(forks).toEqual([fork]);
    expect(client.session(fork).kept.draft).toBe("to Rome");
  });

  it("begin without a request, so that a sleeping agent stays asleep", () => {
    open("stopped");
    const id = client.create();
    const session = client.session(id);
    session.show(true);
    expect(session.state.history).toBe("loaded");
    expect(world.wire.sent).toEqual([]);
    session.write("hello");
    expect(sent("send")).toMatchObject([{ conversation: id, text: "hello" }]);
  });

  it("know the agent's state when they are opened later", () => {
    open("paused");
    expect(client.session(newId()).state).toMatchObject({
      connection: "open",
      statusFresh: true,
      status: { state: "paused" },
    });
  });
});

describe("the list", () => {
  it("is loaded when the agent is awake, or woken for a history, and never wakes it alone", () => {
    open("stopped");
    expect(sent("conversations")).toEqual([]);
    client.session(MAIN).show(true);
    expect(sent("conversations")).toHaveLength(1);
  });

  it("has the pinned ones first, then the last used, and follows changes", () => {
    open();
    listed(
      entry(MAIN, { at: "2026-11-23T12:00:00Z" }),
      entry(TRIP, { at: "2026-11-23T13:00:00Z", title: "Trip" }),
    );
    expect(client.list.entries.map(({ id }) => id)).toEqual([TRIP, MAIN]);
    world.wire.say({
      type: "conversation",
      conversation: entry(TAXES, { pinned: true, at: "2026-11-01T12:00:00Z" }),
    });
    expect(client.list.entries.map(({ id }) => id)).toEqual([TAXES, TRIP, MAIN]);
  });

  it("renames and pins at once, and asks the server", () => {
    open();
    listed(entry(TRIP, { title: "Trip" }));
    client.rename(TRIP, "Trip to Rome");
    client.pin(TRIP, true);
    expect(client.entry(TRIP)).toMatchObject({ title: "Trip to Rome", pinned: true });
    expect(sent("change")).toEqual([
      { type: "change", conversation: TRIP, title: "Trip to Rome" },
      { type: "change", conversation: TRIP, pinned: true },
    ]);
  });

  it("says why a change failed, and that there is no connection", () => {
    open();
    listed(entry(TRIP));
    client.rename(TRIP, "Taxes");
    world.wire.say({
      type: "error",
      id: null,
      code: "agent-refused",
      detail: "Another conversation has this name.",
      retry: false,
      about: "conversations",
    });
    expect(client.list.problem).toContain("has this name");
    expect(client.session(MAIN).state.notice).toBeNull();
    world.wire.break();
    client.delete(TRIP);
    expect(client.list.problem).toContain("No connection");
  });

  it("says that a conversation is being deleted, until it is or cannot be", () => {
    open();
    listed(entry(TRIP, { working: true }), entry(TAXES));
    client.delete(TRIP);
    client.delete(TAXES);
    expect(client.list.deleting).toEqual([TRIP, TAXES]);
    world.wire.say({
      type: "error",
      id: null,
      code: "still-working",
      detail: "Your agent does not stop.",
      retry: false,
      about: "conversations",
      conversation: TRIP,
    });
    expect(client.list).toMatchObject({ deleting: [TAXES], problem: "Your agent does not stop." });
    world.wire.say({ type: "deleted", conversation: TAXES });
    expect(client.list.deleting).toEqual([]);
    client.delete(TRIP);
    world.wire.break();
    expect(client.list.deleting).toEqual([]);
  });

  it("drops a deleted conversation with its draft, wherever it was deleted", () => {
    open();
    listed(entry(TRIP));
    client.session(TRIP).kept.draft = "more";
    const deleted: unknown[] = [];
    client.addEventListener("deleted", (event) => deleted.push((event as CustomEvent).detail));
    world.wire.say({ type: "deleted", conversation: TRIP });
    expect(client.list.entries).toEqual([]);
    expect(deleted).toEqual([TRIP]);
    expect(storage.length).toBe(0);
  });

  it("drops the files of a deleted conversation, and sends none that was under way", async () => {
    open();
    listed(entry(TRIP));
    const file = new File(["abc"], "a.txt");
    files.set(draftFiles(TRIP), [file]);
    const trip = client.session(TRIP);
    world.wire.bufferedAmount = 10_000_000; // a slow network
    trip.write("look", [file]);
    const id = trip.state.messages[0]?.id ?? "";
    expect(await files.get(id)).toHaveLength(1);
    world.wire.say({ type: "deleted", conversation: TRIP });
    world.wire.bufferedAmount = 0;
    world.pass(10_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([await files.get(draftFiles(TRIP)), await files.get(id)]).toEqual([[], []]);
    expect(sent("send")).toEqual([]);
  });

  it("reports the shown conversation as read, once, and not while it works", () => {
    open();
    client.session(TRIP).show(true);
    listed(entry(TRIP, { unread: true, working: true }), entry(TAXES, { unread: true }));
    expect(sent("change")).toEqual([]);
    const done = entry(TRIP, { unread: true });
    world.wire.say({ type: "conversation", conversation: done });
    world.wire.say({ type: "conversation", conversation: done });
    expect(sent("change")).toEqual([{ type: "change", conversation: TRIP, read: true }]);
  });

  it("marks what was answered unseen, in this browser, until it is shown", () => {
    open();
    client.session(MAIN).show(true);
    listed(entry(MAIN), entry(TRIP, { working: true }));
    world.wire.say({ type: "conversation", conversation: entry(TRIP) });
    expect(client.entry(TRIP)?.unread).toBe(true);
    client.end();
    begin();
    open();
    listed(entry(MAIN), entry(TRIP));
    expect(client.entry(TRIP)?.unread).toBe(true);
    client.session(TRIP).show(true);
    client.onVisibility();
    expect(client.entry(TRIP)?.unread).toBe(false);
    expect(new DraftStorage("u1", storage).unread).toEqual([]);
  });

  it("does not wake an agent to report that something was read", () => {
    open();
    client.session(TRIP).show(true);
    is("stopped");
    world.wire.say({ type: "conversation", conversation: entry(TRIP, { unread: true }) });
    expect(sent("change")).toEqual([]);
  });

  it("is searched by title here, and in messages by the agent", () => {
    const entries = [entry(TRIP, { title: "Trip to Rome" }), entry(MAIN)];
    expect(matching(entries, "rome TRIP").map(({ id }) => id)).toEqual([TRIP]);
    expect(matching(entries, "main").map(titleOf)).toEqual(["Main conversation"]);
    open();
    client.search(" colosseum ");
    expect(sent("search")).toEqual([{ type: "search", query: "colosseum" }]);
    const hits = [
      { conversation: TRIP, title: "Trip", role: "user", snippet: "…", at: "" } as const,
    ];
    world.wire.say({ type: "found", query: "colosseum", hits: [...hits], incomplete: false });
    expect(client.list.found?.hits).toHaveLength(1);
    client.search("");
    expect(client.list.found).toBeNull();
  });

  it("keeps a conversation's messages of the list from other conversations", () => {
    open();
    client.session(MAIN).show(true);
    world.wire.say({ type: "history", messages: [wire("a", "user", "main's")] });
    world.wire.say({ type: "history", messages: [wire("b", "user", "lost")], conversation: TAXES });
    expect(client.session(MAIN).state.messages).toHaveLength(1);
    expect(client.session(TAXES).state.messages).toEqual([]);
  });
});
