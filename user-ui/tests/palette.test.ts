// @vitest-environment jsdom
import { afterEach, beforeAll, describe, expect, it } from "vitest";

import type { WireConversation } from "../src/api/generated";
import "../src/components/command-palette";
import { commands, found } from "../src/components/commands";
import { theme } from "../src/theme";
import { VIEWS } from "../src/views/registry";

const conversation = (id: string, title: string): WireConversation => ({
  id,
  title,
  pinned: false,
  unread: false,
  working: false,
  at: "2026-11-30T12:00:00Z",
});
const TRIP = conversation("11111111-1111-4111-8111-111111111111", "Trip to Nice");
const SETTINGS = conversation("21111111-1111-4111-8111-111111111111", "My settings");

beforeAll(() => {
  // jsdom has no modal dialogs.
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
    this.dispatchEvent(new Event("close"));
  };
  Element.prototype.scrollIntoView = () => undefined;
});

afterEach(() => {
  document.body.replaceChildren();
  localStorage.clear();
});

async function palette() {
  const view = Object.assign(document.createElement("command-palette"), {
    views: VIEWS,
    conversations: [TRIP, SETTINGS],
  });
  const happened: unknown[] = [];
  for (const name of ["go-to", "new-conversation", "closed"]) {
    view.addEventListener(name, (event) => {
      happened.push((event as CustomEvent<string | null>).detail ?? name);
    });
  }
  document.body.append(view);
  await view.updateComplete;
  const root = view.shadowRoot;
  const input = root?.querySelector("input");
  if (root === null || input == null) throw new Error("the palette has no field");
  const type = async (text: string) => {
    input.value = text;
    input.dispatchEvent(new Event("input"));
    await view.updateComplete;
  };
  const press = async (key: string, init: KeyboardEventInit = {}) => {
    input.dispatchEvent(new KeyboardEvent("keydown", { key, ...init }));
    await view.updateComplete;
  };
  const active = () => {
    const id = input.getAttribute("aria-activedescendant");
    const option = root.querySelector(`#${id ?? "none"}`);
    expect(option?.getAttribute("aria-selected") ?? "true").toBe("true");
    return option?.querySelector(".name")?.textContent;
  };
  return { root, input, type, press, active, happened };
}

describe("what is found", () => {
  const names = (text: string) =>
    found(commands(VIEWS, [TRIP, SETTINGS]), text).map(({ name }) => name);

  it("is everything at first: what begins something, where one was, and the rest", () => {
    const all = names("");
    expect(all.slice(0, 4)).toEqual([
      "New conversation",
      "Main conversation",
      "Trip to Nice",
      "My settings",
    ]);
    expect(all).toContain("Dark theme");
    expect(all).toHaveLength(4 + VIEWS.length + 3);
  });

  it.each([
    ["settings", ["Settings", "My settings"]],
    ["NICE", ["Trip to Nice"]],
    ["theme da", ["Dark theme"]],
    ["nice trip", ["Trip to Nice"]],
    ["no such thing", []],
    ["(.*", []],
  ])("has every word: %s", (text, expected) => {
    expect(names(text)).toEqual(expected);
  });
});

describe("the palette", () => {
  it("is used with the keyboard alone", async () => {
    const { type, press, active, happened } = await palette();
    expect(active()).toBe("New conversation");
    await press("ArrowUp");
    expect(active()).toBe("Dark theme");
    await press("ArrowDown");
    await press("ArrowDown");
    expect(active()).toBe("Main conversation");
    await type("trip");
    expect(active()).toBe("Trip to Nice");
    await press("Enter");
    expect(happened).toEqual(["closed", `/c/${TRIP.id}`]);
  });

  it("begins a conversation, and changes the theme at once", async () => {
    const one = await palette();
    await one.press("Enter");
    expect(one.happened).toEqual(["closed", "new-conversation"]);
    const two = await palette();
    await two.type("dark");
    await two.press("Enter");
    expect(theme()).toBe("dark");
    expect(document.documentElement.style.colorScheme).toBe("dark");
  });

  it("does nothing while a word is being composed, or when nothing is found", async () => {
    const { root, type, press, active, happened } = await palette();
    await press("Enter", { isComposing: true });
    await type("no such thing");
    await press("Enter");
    await press("ArrowDown");
    expect(active()).toBeUndefined();
    expect(happened).toEqual([]);
    expect(root.querySelector("[role=status]")?.textContent).toContain("No command");
  });
});
