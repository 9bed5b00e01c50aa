// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import "../src/components/chat-message";
import "../src/components/message-composer";
import type { MessageComposer } from "../src/components/message-composer";

let composer: MessageComposer;
let written: string[];

interface Key {
  key: string;
  code: number;
  isComposing?: boolean;
  shiftKey?: boolean;
  ctrlKey?: boolean;
  metaKey?: boolean;
}

async function press({ code, ...init }: Key): Promise<boolean> {
  const field = composer.shadowRoot?.querySelector("textarea");
  const event = new KeyboardEvent("keydown", {
    bubbles: true,
    cancelable: true,
    ...init,
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- only keyCode shows it in Safari
    keyCode: code,
  });
  field?.dispatchEvent(event);
  await composer.updateComplete;
  return event.defaultPrevented;
}

beforeEach(async () => {
  composer = document.createElement("message-composer");
  composer.draft = "日本語";
  written = [];
  composer.addEventListener("write", (event) => {
    written.push((event as CustomEvent<string>).detail);
  });
  document.body.append(composer);
  await composer.updateComplete;
});

afterEach(() => {
  device.phone = false;
  composer.remove();
});

/** What is written with: jsdom has no media queries. */
const device = { phone: false };
vi.stubGlobal("matchMedia", () => ({ matches: device.phone }));

describe("the composer", () => {
  it("sends with Enter", async () => {
    expect(await press({ key: "Enter", code: 13 })).toBe(true);
    expect(written).toEqual(["日本語"]);
  });

  it.each<[string, Key]>([
    ["Chrome's, in the composition", { key: "Enter", code: 229, isComposing: true }],
    ["Firefox's, in the composition", { key: "Enter", code: 13, isComposing: true }],
    ["Safari's, just after the composition", { key: "Enter", code: 229 }],
    ["any other key's", { key: "Process", code: 229 }],
    ["Shift's, for a new line", { key: "Enter", code: 13, shiftKey: true }],
  ])("keeps a message that is not finished: %s", async (_, init) => {
    expect(await press(init)).toBe(false);
    expect(written).toEqual([]);
  });

  it.each<[string, Key]>([
    ["Return", { key: "Enter", code: 13 }],
    ["Shift and Return", { key: "Enter", code: 13, shiftKey: true }],
    ["the end of a composition", { key: "Enter", code: 229, isComposing: true }],
  ])("begins a line on a phone with %s", async (_, init) => {
    device.phone = true;
    expect(await press(init)).toBe(false);
    expect(written).toEqual([]);
  });

  it.each<[string, Key]>([
    ["Control", { key: "Enter", code: 13, ctrlKey: true }],
    ["Command", { key: "Enter", code: 13, metaKey: true }],
  ])("sends on a phone with a keyboard's %s and Return", async (_, init) => {
    device.phone = true;
    expect(await press(init)).toBe(true);
    expect(written).toEqual(["日本語"]);
  });

  it.each([
    [false, "send"],
    [true, "enter"],
  ])("labels the Return key of a phone's keyboard: phone %s", async (phone, hint) => {
    device.phone = phone;
    composer.requestUpdate();
    await composer.updateComplete;
    const field = composer.shadowRoot?.querySelector("textarea");
    expect(field?.getAttribute("enterkeyhint")).toBe(hint);
  });

  it("writes in the direction of its own first letters", () => {
    expect(composer.shadowRoot?.querySelector("textarea")?.dir).toBe("auto");
  });
});

describe("a message", () => {
  it("is laid out in the direction of its own first letters", async () => {
    const element = document.createElement("chat-message");
    element.message = {
      role: "user",
      id: "1",
      text: "مرحبا، كيف حالك؟ (test) 123.",
      at: 0,
      delivery: "sent",
      key: "1",
      attempts: 1,
      runId: null,
      failure: null,
      files: [],
      queued: false,
    };
    document.body.append(element);
    await element.updateComplete;
    expect(element.shadowRoot?.querySelector<HTMLElement>(".bubble .text")?.dir).toBe("auto");
    element.remove();
  });
});
