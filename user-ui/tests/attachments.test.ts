// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ClientFrame } from "../src/api/generated";
import {
  choose,
  fitted,
  MAX_BYTES,
  MAX_PICTURE_BYTES,
  nameOf,
  sizeText,
  typeOf,
} from "../src/chat/attachments";
import { ChatClient } from "../src/chat/client";
import { DraftStorage } from "../src/chat/draft-storage";
import { FileStorage } from "../src/chat/file-storage";
import { MAIN } from "../src/chat/protocol";
import type { ChatSession } from "../src/chat/session";
import { PIECE_BYTES } from "../src/chat/upload";
import "../src/components/attached-files";
import "../src/components/message-composer";
import { MemoryStorage } from "./storage";
import { wire } from "./make";
import { FakeWorld } from "./world";

function file(name: string, size = 3, type = "text/plain"): File {
  return new File([new Uint8Array(size)], name, { type });
}

const settled = () => new Promise((resolve) => setTimeout(resolve));

async function names(present: File[], added: File[], converted: File | null = null) {
  const { files, problems } = choose(
    present,
    await fitted(added, () => Promise.resolve(converted)),
  );
  return { files: files.map(({ name }) => name), problems };
}

describe("the files that are attached to a message", () => {
  it("are kept as far as the agent takes them, and the others named with the limit", async () => {
    const big = file("film.mp4", MAX_BYTES, "video/mp4");
    expect(await names([], [file("a.txt"), file("b.pdf", 9, "application/pdf")])).toEqual({
      files: ["a.txt", "b.pdf"],
      problems: [],
    });
    const { files, problems } = await names([file("a.txt")], [big, file("c.txt")]);
    expect(files).toEqual(["a.txt", "c.txt"]);
    expect(problems).toEqual([expect.stringMatching(/^film\.mp4 .* 18 MB together/)]);
    const eleven = Array.from({ length: 11 }, (_, i) => file(`${i}.txt`));
    expect((await names([], eleven)).problems).toEqual([expect.stringContaining("10 files")]);
    expect((await names([], [file("nothing.txt", 0)])).problems).toHaveLength(1);
  });

  it("are made fit for models if they are pictures, or left out with the cure", async () => {
    const jpeg = file("photo.jpg", 10, "image/jpeg");
    const heic = file("photo.heic", 10, "image/heic");
    const large = file("large.png", MAX_PICTURE_BYTES + 1, "image/png");
    expect((await names([], [heic, large], jpeg)).files).toEqual(["photo.jpg", "photo.jpg"]);
    expect((await names([], [jpeg], null)).files).toEqual(["photo.jpg"]);
    const { files, problems } = await names([], [heic, large, file("x.svg", 9, "image/svg+xml")]);
    expect(files).toEqual([]);
    expect(problems[0]).toContain("PNG or JPEG");
    expect(problems[1]).toContain("6 MB");
    expect(problems[2]).toContain("PNG or JPEG");
  });

  it("have plain names and types, whatever the device says", () => {
    expect(typeOf(file("a", 1, "text/html; charset=x"))).toBe("text/html");
    expect(typeOf(file("a", 1, "javascript:alert(1)"))).toBe("application/octet-stream");
    expect(typeOf(file("a", 1, ""))).toBe("application/octet-stream");
    expect(nameOf(file(" ".repeat(3)))).toBe("file");
    expect(nameOf(file("x".repeat(500)))).toHaveLength(200);
    expect([sizeText(5), sizeText(2048), sizeText(MAX_BYTES)]).toEqual(["5 B", "2 KB", "18 MB"]);
    expect(sizeText(1_500_000)).toBe("1.4 MB");
  });

  it("can be removed one by one, and hostile names are text", async () => {
    const shown = document.createElement("attached-files");
    shown.files = [file("<img src=x onerror=alert(1)>.txt"), file("b.txt")];
    shown.problems = ["<b>no</b>"];
    document.body.append(shown);
    await shown.updateComplete;
    expect(shown.shadowRoot?.querySelector("img, b")).toBeNull();
    let removed: unknown;
    shown.addEventListener("remove", (event) => {
      removed = (event as CustomEvent<number>).detail;
    });
    [...(shown.shadowRoot?.querySelectorAll("button") ?? [])].at(-1)?.click();
    expect(removed).toBe(1);
  });
});

describe("a message with files", () => {
  let world: FakeWorld;
  let client: ChatClient;
  let session: ChatSession;
  let storage: MemoryStorage;

  function sent(type: ClientFrame["type"]): ClientFrame[] {
    return world.wire.sent.filter((frame) => frame.type === type);
  }

  async function until(done: () => boolean): Promise<void> {
    for (let turn = 0; turn < 200 && !done(); turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    expect(done()).toBe(true);
  }

  function open(): void {
    world.wire.open();
    world.wire.say({ type: "status", state: "running", detail: null, since: "t", warning: null });
  }

  afterEach(() => vi.unstubAllGlobals());

  beforeEach(() => {
    world = new FakeWorld();
    storage = new MemoryStorage();
    const files = new FileStorage("u1", undefined);
    client = new ChatClient("ws://x", world, new DraftStorage("u1", storage), files);
    client.start();
    session = client.session(MAIN);
    open();
  });

  it("is sent after all pieces of its files, and before what was written later", async () => {
    session.write("look", [file("a.bin", PIECE_BYTES + 5), file("b.txt")]);
    session.write("and then");
    await until(() => sent("send").length === 2);

    const pieces = sent("attach") as Extract<ClientFrame, { type: "attach" }>[];
    expect(pieces.map(({ file, at }) => [file, at])).toEqual([
      [0, 0],
      [0, (PIECE_BYTES / 3) * 4],
      [1, 0],
    ]);
    expect(atob(pieces[2]?.data ?? "")).toHaveLength(3);
    const [first, second] = sent("send");
    expect(first).toMatchObject({
      text: "look",
      files: [
        { name: "a.bin", type: "text/plain" },
        { name: "b.txt", type: "text/plain" },
      ],
    });
    expect(second).toMatchObject({ text: "and then" });
    expect(new Set(pieces.map(({ id }) => id))).toEqual(new Set([(first as { id: string }).id]));
  });

  it("needs no text", async () => {
    session.write("", [file("a.txt")]);
    await until(() => sent("send").length === 1);
    expect(sent("send")[0]).toMatchObject({ text: "" });
  });

  it("is sent anew, from its first piece, over the next connection", async () => {
    world.wire.bufferedAmount = 10_000_000; // a slow network
    session.write("look", [file("a.bin", PIECE_BYTES * 3)]);
    await until(() => session.state.messages.length === 1);
    world.wire.break();
    world.pass(60_000);
    open();
    await until(() => sent("send").length === 1);
    expect(sent("attach").map((frame) => (frame as { at: number }).at)[0]).toBe(0);
    expect(sent("attach")).toHaveLength(3);
  });

  it("says so when the browser has lost its files, and is not sent without them", async () => {
    session.write("look", [file("a.txt")]);
    const other = new ChatClient(
      "ws://x",
      (world = new FakeWorld()),
      new DraftStorage("u1", storage),
      new FileStorage("u1", undefined),
    );
    other.start();
    open();
    const restored = other.session(MAIN);
    await until(() => restored.state.messages[0]?.role === "user" && failure(restored) !== null);
    expect(failure(restored)?.detail).toContain("attach them again");
    expect(sent("send")).toEqual([]);
  });

  it("says so when a file was changed since it was attached, and holds up no other", async () => {
    const changed = file("a.txt");
    const unreadable = {
      arrayBuffer: () => Promise.reject(new DOMException("", "NotReadableError")),
    };
    changed.slice = () => unreadable as unknown as Blob;
    session.write("look", [changed]);
    session.write("and then");
    await until(() => sent("send").length === 1);
    expect(sent("send")[0]).toMatchObject({ text: "and then" });
    expect(failure(session)?.detail).toContain("attach them again");
  });

  it("fails no other message when its file proves unreadable on a lost connection", async () => {
    const changed = file("a.txt");
    let fail = (): void => undefined;
    const reading = new Promise<ArrayBuffer>((_, reject) => {
      fail = () => reject(new DOMException("", "NotReadableError"));
    });
    changed.slice = () => ({ arrayBuffer: () => reading }) as unknown as Blob;
    session.write("look", [changed]);
    await settled();
    world.wire.break();
    fail();
    await settled();
    expect(session.state.messages[0]).toMatchObject({ delivery: "waiting", failure: null });
  });

  it("can be sent again when the server refused its files", async () => {
    session.write("look", [file("a.txt")]);
    await until(() => sent("send").length === 1);
    const { id } = sent("send")[0] as { id: string };
    const detail = "busy";
    world.wire.say({ type: "error", id, code: "uploads-busy", detail, retry: true });
    expect(failure(session)?.detail).toBe("busy");
    session.again(id);
    await until(() => sent("send").length === 2);
    expect(sent("attach")).toHaveLength(2);
  });

  it("is sent again with its files when its run failed, and asked anew with them", async () => {
    session.write("look", [file("a.txt")]);
    await until(() => sent("send").length === 1);
    const { id } = sent("send")[0] as { id: string };
    world.wire.say({ type: "accepted", id, runId: id });
    world.wire.say({ type: "error", id, code: "run-failed", detail: "no", retry: true });
    session.again(id);
    await until(() => sent("send").length === 2);
    expect(sent("attach")).toHaveLength(2);
    expect(sent("send")[1]).toMatchObject({ files: [{ name: "a.txt", type: "text/plain" }] });

    const fork = "d-0b9f5e2c-1026-4551-ac50-57f7698bfa78";
    const again = (sent("send")[1] as { id: string }).id;
    world.wire.say({ type: "accepted", id: again, runId: again });
    const answer = { id: "a1", role: "assistant", text: "Nice.", at: "" } as const;
    world.wire.say({ type: "final", runId: again, message: answer });
    session.tryAgain(`run:${again}`);
    world.wire.say({ type: "forked", message: again, fork, text: "look" });
    await until(() => sent("send").length === 3);
    expect(sent("send")[2]).toMatchObject({ conversation: fork, files: [{ name: "a.txt" }] });
  });

  it("frees its files and pictures once the history has them, and asks anew with those", async () => {
    const freed = vi.fn();
    vi.stubGlobal("URL", { createObjectURL: () => "blob:1", revokeObjectURL: freed });
    const fetched = vi.fn<(url: string) => Promise<Response>>(() =>
      Promise.resolve(new Response("abc")),
    );
    vi.stubGlobal("fetch", fetched);
    session.show(true);
    session.write("look", [file("a.png", 3, "image/png")]);
    await until(() => sent("send").length === 1);
    const { id } = sent("send")[0] as { id: string };
    world.wire.say({ type: "accepted", id, runId: id });
    const answer = wire("a1", "assistant", "Nice.");
    world.wire.say({ type: "final", runId: id, message: answer });
    expect(freed).not.toHaveBeenCalled();

    const kind = "image" as const;
    const question = {
      ...wire(id, "user", "look"),
      files: [{ kind, name: "a.png", url: "/api/1" }],
    };
    world.wire.say({ type: "history", messages: [question, answer] });
    expect(session.state.messages[0]).toMatchObject({ files: [{ url: "/api/1" }] });
    expect(freed.mock.calls).toEqual([["blob:1"]]);
    expect((await session.forkedFrom(id)).files.map(({ name }) => name)).toEqual(["a.png"]);
    expect(fetched.mock.calls).toEqual([["/api/1"]]);
  });

  it("frees its pictures when it is removed, or its conversation ends", () => {
    const freed = vi.fn();
    let count = 0;
    vi.stubGlobal("URL", { createObjectURL: () => `blob:${(count += 1)}`, revokeObjectURL: freed });
    session.write("look", [file("a.png", 3, "image/png")]);
    session.write("and there", [file("b.png", 3, "image/png")]);
    session.discard(session.state.messages[0]?.id ?? "");
    expect(freed.mock.calls).toEqual([["blob:1"]]);
    session.end();
    expect(freed.mock.calls).toEqual([["blob:1"], ["blob:2"]]);
  });

  function failure(of: ChatSession) {
    const message = of.state.messages[0];
    return message?.role === "user" ? message.failure : null;
  }
});

describe("another answer to a question", () => {
  const fork = "d-0b9f5e2c-1026-4551-ac50-57f7698bfa78";
  const forked = { type: "forked", message: "m1", fork, text: "Why?" } as const;
  let world: FakeWorld;
  let drafts: DraftStorage;
  let client: ChatClient;
  let session: ChatSession;

  function open(): void {
    world.wire.open();
    world.wire.say({ type: "status", state: "running", detail: null, since: "t", warning: null });
  }

  beforeEach(() => {
    world = new FakeWorld();
    drafts = new DraftStorage("u1", new MemoryStorage());
    client = new ChatClient("ws://x", world, drafts, new FileStorage("u1", undefined));
    client.start();
    open();
    session = client.session(MAIN);
    session.show(true);
    world.wire.say({
      type: "history",
      messages: [wire("m1", "user", "Why?"), wire("a1", "assistant", "Because.")],
    });
  });

  it("is asked for in a fork, at once, and an edit leaves a draft", async () => {
    const forks: unknown[] = [];
    client.addEventListener("forked", (event) => forks.push((event as CustomEvent).detail));
    session.tryAgain("a1");
    expect(world.wire.sent.at(-1)).toEqual({ type: "fork", message: "m1" });
    world.wire.say(forked);
    await settled();
    expect(forks).toEqual([fork]);
    const again = world.wire.sent.find((frame) => frame.type === "send");
    expect(again).toMatchObject({ text: "Why?", conversation: fork });
    expect(drafts.of(fork).draft).toBe("");

    session.fork("m1");
    world.wire.say(forked);
    await settled();
    expect(drafts.of(fork).draft).toBe("Why?");
    expect(world.wire.sent.filter((frame) => frame.type === "send")).toHaveLength(1);
  });

  it.each([
    [
      "failed",
      () => world.wire.say({ type: "error", id: null, code: "x", detail: "", retry: false }),
    ],
    ["was lost with the connection", () => world.wire.break()],
    ["was not answered", () => undefined],
  ])("leaves a later edit a draft when its fork %s", async (_, happens) => {
    session.tryAgain("a1");
    happens();
    world.pass(500);
    if (world.wires.length > 1) open();
    session.fork("m1");
    world.wire.say(forked);
    await settled();
    expect(drafts.of(fork).draft).toBe("Why?");
    expect(world.wire.sent.filter(({ type }) => type === "send")).toEqual([]);
  });

  it("is not asked for by an edit after it could not be sent", async () => {
    world.wire.break();
    session.tryAgain("a1");
    world.pass(500);
    open();
    world.wire.say(forked);
    await settled();
    expect(drafts.of(fork).draft).toBe("Why?");
  });
});
