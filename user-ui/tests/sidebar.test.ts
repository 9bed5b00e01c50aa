// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { WireConversation } from "../src/api/generated";
import { ChatClient } from "../src/chat/client";
import { DraftStorage } from "../src/chat/draft-storage";
import { FileStorage } from "../src/chat/file-storage";
import type { ChatSidebar } from "../src/components/chat-sidebar";
import "../src/components/chat-sidebar";
import { MemoryStorage } from "./storage";
import { FakeWorld } from "./world";

const TRIP = "11111111-1111-4111-8111-111111111111";
const TAXES = "22222222-2222-4222-8222-222222222222";

let world: FakeWorld;
let client: ChatClient;
let sidebar: ChatSidebar;

function entry(id: string, title: string, working: boolean): WireConversation {
  return { id, title, pinned: false, unread: false, working, at: "2026-11-23T12:00:00Z" };
}

async function rows(): Promise<string[]> {
  await sidebar.updateComplete;
  const found = sidebar.shadowRoot?.querySelectorAll("nav.list li.row") ?? [];
  return [...found].map((row) => row.textContent.replace(/\s+/g, " ").trim());
}

beforeEach(() => {
  world = new FakeWorld();
  client = new ChatClient(
    "ws://server/api/chat",
    world,
    new DraftStorage("u1", new MemoryStorage()),
    new FileStorage("u1", undefined),
  );
  client.start();
  world.wire.open();
  world.wire.say({ type: "status", state: "running", detail: null, since: "t", warning: null });
  world.wire.say({
    type: "conversations",
    conversations: [entry(TRIP, "Trip", true), entry(TAXES, "Taxes", false)],
    more: false,
  });
  sidebar = document.createElement("chat-sidebar");
  sidebar.client = client;
  document.body.append(sidebar);
});

afterEach(() => {
  sidebar.remove();
  client.end();
});

describe("the sidebar", () => {
  it("says what is being deleted, and whether the agent is stopped for it", async () => {
    expect(await rows()).toEqual(["Trip working", "Taxes"]);
    client.delete(TRIP);
    client.delete(TAXES);
    expect(await rows()).toEqual(["Trip Stopping your agent, then deleting…", "Taxes Deleting…"]);
    expect(sidebar.shadowRoot?.querySelector("li a")).toBeNull();
    world.wire.say({ type: "deleted", conversation: TRIP });
    expect(await rows()).toEqual(["Taxes Deleting…"]);
  });

  it("shows titles as they are written, never as markup", async () => {
    world.wire.say({
      type: "conversation",
      conversation: entry(TRIP, "<img src=x onerror=alert(1)>", false),
    });
    expect((await rows()).join()).toContain("<img src=x onerror=alert(1)>");
    expect(sidebar.shadowRoot?.querySelector("li img")).toBeNull();
  });
});
