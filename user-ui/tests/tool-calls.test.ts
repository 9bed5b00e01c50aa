// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import type { ServerFrame, WireTool } from "../src/api/generated";
import type { AgentMessage, ChatState } from "../src/chat/state";
import { toolTitle } from "../src/chat/tool-texts";
import "../src/components/tool-calls";
import { after, frame, NOON, wire } from "./make";

afterEach(() => {
  document.body.innerHTML = "";
});

function call(changes: Partial<WireTool> = {}): WireTool {
  return { id: "c1", name: "exec", state: "running", subject: "ls -la", ...changes };
}

function work(changes: Partial<WireTool> = {}): ServerFrame {
  return { type: "work", runId: "r1", tool: call(changes) };
}

function answer(state: ChatState): AgentMessage {
  const found = state.messages.findLast((message) => message.role === "assistant");
  if (found === undefined) throw new Error("no answer");
  return found;
}

async function shown(tools: readonly WireTool[], thoughts = "") {
  const element = document.createElement("tool-calls");
  element.tools = tools;
  element.thoughts = thoughts;
  document.body.append(element);
  await element.updateComplete;
  if (element.shadowRoot === null) throw new Error("not rendered");
  return { element, root: element.shadowRoot };
}

describe("calls of tools in the conversation", () => {
  it("appear when they begin, before the answer's first word, and change when they end", () => {
    const begun = after(frame(work()));
    expect(answer(begun).tools).toEqual([call()]);
    expect(answer(begun).phase).toBe("streaming");

    const ended = after(frame(work()), frame(work({ id: "c2" })), frame(work({ state: "failed" })));
    expect(answer(ended).tools.map(({ id, state }) => [id, state])).toEqual([
      ["c1", "failed"],
      ["c2", "running"],
    ]);
  });

  it("stay with the answer, and what was missed of them is read from the history", () => {
    const final = frame({ type: "final", runId: "r1", message: wire("a1", "assistant", "Done.") });
    expect(answer(after(frame(work({ state: "done" })), final)).tools).toHaveLength(1);

    const history = { ...wire("a1", "assistant", "Done."), tools: [call({ state: "done" })] };
    const missed = after(frame(work()), final);
    expect(missed.stale).toBe(true);
    const read = after(
      frame(work()),
      final,
      { type: "history-asked", now: NOON },
      frame({ type: "history", messages: [history] }),
    );
    expect(answer(read).tools.map(({ state }) => state)).toEqual(["done"]);
  });

  it("are kept when the run ends without a word", () => {
    const silent = frame({ type: "final", runId: "r1", message: wire("a1", "assistant", "") });
    expect(answer(after(frame(work({ state: "done" })), silent)).phase).toBe("done");
    const failed = { type: "error", id: "r1", code: "x", detail: "no", retry: true } as const;
    expect(answer(after(frame(work()), frame(failed))).tools).toHaveLength(1);
  });

  it("are not changed by frames after their run's end", () => {
    const final = frame({ type: "final", runId: "r1", message: wire("a1", "assistant", "Done.") });
    const late = after(frame(work({ state: "done" })), final, frame(work({ id: "late" })));
    expect(answer(late).tools.map(({ id }) => id)).toEqual(["c1"]);
  });

  it("are named in words, and those of servers by the tool and its server", () => {
    expect(toolTitle(call())).toBe("Running a command");
    expect(toolTitle(call({ state: "done" }))).toBe("Ran a command");
    expect(toolTitle(call({ name: "notes__echo", state: "done" }))).toBe("Used echo of notes");
    expect(toolTitle(call({ name: "constructor" }))).toBe("Using constructor");
    expect(toolTitle(call({ name: "a\u202eb" }))).toBe("Using a\\u{202e}b");
  });

  it("are cards with what they are for, their outcome and what they told", async () => {
    const { root } = await shown([
      call({ state: "failed", arguments: '{"command": "ls -la"}', result: "<b>no</b>\tsuch file" }),
    ]);
    const card = root.querySelector("details");
    expect(card?.dataset.state).toBe("failed");
    expect(card?.querySelector("summary")?.textContent.replace(/\s+/g, " ").trim()).toBe(
      "Ran a command ls -la failed",
    );
    const texts = [...root.querySelectorAll("folded-text")].map(({ text }) => text);
    expect(texts).toEqual(['{"command": "ls -la"}', "<b>no</b>    such file"]);
    expect(root.querySelector("b")).toBeNull();
  });

  it("are the last ones of many until all are wanted, with the thoughts folded", async () => {
    const many = ["1", "2", "3", "4", "5"].map((id) => call({ id, state: "done" }));
    const { root, element } = await shown(many, "hm");
    expect(root.querySelectorAll("li")).toHaveLength(3);
    expect(root.querySelector<HTMLDetailsElement>(".thoughts")?.open).toBe(false);
    const button = root.querySelector("button");
    expect(button?.textContent.trim()).toBe("Show all 5 steps");
    button?.click();
    await element.updateComplete;
    expect(root.querySelectorAll("li")).toHaveLength(5);
  });
});
