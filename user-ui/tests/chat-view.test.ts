// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Api } from "../src/api/client";
import { ChatClient } from "../src/chat/client";
import { DraftStorage } from "../src/chat/draft-storage";
import { draftFiles, FileStorage } from "../src/chat/file-storage";
import { MAIN } from "../src/chat/protocol";
import type { ChatSession } from "../src/chat/session";
import "../src/views/chat-view";
import type { ChatView } from "../src/views/chat-view";
import { MemoryStorage } from "./storage";
import { FakeWorld } from "./world";

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

let files: FileStorage;
let session: ChatSession;
let view: ChatView;
/** End the conversions under way; this browser reads none of the pictures. */
let convert: (() => void)[];

function file(name: string, type = "text/plain"): File {
  return new File(["abc"], name, { type });
}

function emit(name: "attach" | "write" | "draft", detail: unknown): void {
  view.shadowRoot
    ?.querySelector("message-composer")
    ?.dispatchEvent(new CustomEvent(name, { detail }));
}

async function attached(): Promise<string[]> {
  await view.updateComplete;
  const list = view.shadowRoot?.querySelector("attached-files");
  return (list?.files ?? []).map(({ name }) => name);
}

beforeEach(async () => {
  convert = [];
  const none = {
    observe: () => undefined,
    unobserve: () => undefined,
    disconnect: () => undefined,
  };
  vi.stubGlobal("ResizeObserver", function ResizeObserver() {
    return none;
  });
  vi.stubGlobal("matchMedia", () => ({ matches: false }));
  vi.stubGlobal(
    "createImageBitmap",
    () => new Promise((_, reject) => convert.push(() => reject(new Error("no picture")))),
  );
  files = new FileStorage("u1", undefined);
  files.set(draftFiles(MAIN), [file("kept.txt")]);
  const drafts = new DraftStorage("u1", new MemoryStorage());
  session = new ChatClient("ws://x", new FakeWorld(), drafts, files).session(MAIN);
  view = document.createElement("chat-view");
  Object.assign(view, {
    session,
    api: new Api("", () => Promise.reject(new TypeError("offline"))),
    me: {
      user: { id: "u1", email: "a@example.com", role: "user" },
      model: { provider: "", model: "", demo: false },
      agent: { name: "", face: "" },
    },
  });
  document.body.append(view);
  await settled();
});

afterEach(() => {
  view.remove();
  vi.unstubAllGlobals();
});

it("attaches what is chosen while a picture is converted, in order", async () => {
  emit("attach", [file("a.heic", "image/heic"), file("a.txt")]);
  emit("attach", [file("b.txt")]);
  await settled();
  for (const end of convert) end();
  await settled();
  expect(await attached()).toEqual(["kept.txt", "a.txt", "b.txt"]);
  const stored = await files.get(draftFiles(MAIN));
  expect(stored.map(({ name }) => name)).toEqual(["kept.txt", "a.txt", "b.txt"]);
});

it("does not attach again what is sent while a picture is converted", async () => {
  emit("attach", [file("a.heic", "image/heic"), file("a.txt")]);
  await settled();
  emit("write", "look");
  for (const end of convert) end();
  await settled();
  expect(session.state.messages[0]).toMatchObject({ text: "look", files: [{ name: "kept.txt" }] });
  expect(await attached()).toEqual(["a.txt"]);
});
