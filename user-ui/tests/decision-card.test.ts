// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import type { ApprovalView } from "../src/api/generated";
import { SETTLE_MS } from "../src/components/decision-card";
import { asked } from "./make";
import { answering, buttonIn, everything, refused, settled, textOf } from "./tools-made";

const DECIDE = "POST /api/approvals/a1/decision";

/** The card, and the decisions that it sent; `answer` is the server's. */
async function shown(approval: ApprovalView, answer: () => unknown = () => approval) {
  const { api, sent } = answering({ [DECIDE]: answer });
  const card = document.createElement("decision-card");
  card.approval = approval;
  card.api = api;
  card.email = "ada@a.io";
  const events: string[] = [];
  for (const name of ["decided", "undecided"]) {
    card.addEventListener(name, () => events.push(name));
  }
  document.body.append(card);
  await settled();
  return {
    card,
    sent,
    events,
    text: () => textOf(document.body),
    tags: () => everything(document.body).map(({ tagName }) => tagName),
    press: async (label: string) => {
      await settled(SETTLE_MS + 50);
      buttonIn(document.body, label)?.click();
      await settled();
    },
  };
}

describe("the card of a call that waits for a decision", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("says what is called, with which arguments, for whom and until when", async () => {
    const { text } = await shown(asked({ arguments: '{\n  "to": "bob"\n}' }));
    expect(text()).toContain("wants to use send of Mail for you (ada@a.io)");
    expect(text()).toContain('"to": "bob"');
    expect(text()).toMatch(/can be decided until .*2026/);
  });

  it.each([
    ["tool", "<img src=x onerror=alert(1)>"],
    ["server", "<script>alert(1)</script>"],
    ["arguments", '{"a": "<iframe srcdoc=x></iframe>"}'],
  ])("shows a hostile %s as text", async (field, hostile) => {
    const { text, tags } = await shown(asked({ [field]: hostile }));
    expect(text()).toContain(hostile);
    for (const tag of ["IMG", "SCRIPT", "IFRAME"]) expect(tags()).not.toContain(tag);
  });

  it("folds long arguments, with all of them a press away", async () => {
    const lines = Array.from({ length: 300 }, (_, line) => `"${line}": ${line}`).join(",\n");
    await shown(asked({ arguments: `{\n${lines}\n}` }));
    const pre = everything(document.body).find(({ tagName }) => tagName === "PRE");
    expect(pre?.className).toBe("folded");
    buttonIn(document.body, "Show all 302 lines")?.click();
    await settled();
    expect(pre?.className).toBe("");
  });

  it.each([
    ["Allow once", "once"],
    ["Always allow", "always"],
    ["Do not allow", "no"],
  ])("sends %s with the version that was seen", async (label, decision) => {
    const done = asked({ state: decision === "no" ? "denied" : "approved", version: 4 });
    const { sent, events, press } = await shown(asked({ version: 3 }), () => done);
    await press(label);
    expect(sent).toEqual([[DECIDE, { decision, version: 3 }]]);
    expect(events).toEqual(["decided"]);
    expect(buttonIn(document.body, label)).toBeUndefined();
  });

  it.each([
    ["admin-rule", "a rule of your admins asks"],
    ["new-tool", "Accept it under Tools first"],
  ] as const)("does not offer what would not hold, and says why: %s", async (reason, words) => {
    const { text } = await shown(asked({ alwaysRefused: reason }));
    expect(buttonIn(document.body, "Always allow")).toBeUndefined();
    expect(buttonIn(document.body, "Allow once")).toBeDefined();
    expect(text()).toContain(words);
    expect(text()).not.toContain("also runs later calls");
  });

  it("takes no decision for a moment after it appeared or changed", async () => {
    const { card, sent, press } = await shown(asked());
    buttonIn(document.body, "Allow once")?.click();
    await settled(SETTLE_MS + 50);
    card.approval = asked({ version: 2, changed: ["definition"] });
    await settled();
    buttonIn(document.body, "Allow once")?.click();
    await settled();
    expect(sent).toEqual([]);
    await press("Allow once");
    expect(sent).toEqual([[DECIDE, { decision: "once", version: 2 }]]);
  });

  it("keeps a later state that came while the decision was sent", async () => {
    const { card, text, press } = await shown(asked(), () => {
      card.approval = asked({ state: "done", version: 4 });
      return asked({ state: "approved", version: 2 });
    });
    await press("Allow once");
    expect(text()).toContain("done");
  });

  it("shows why a decision was refused, and can be used again", async () => {
    const problem = () => refused(409, "approval-changed", "It has changed.");
    const { text, events, press } = await shown(asked(), problem);
    await press("Allow once");
    expect(text()).toContain("It has changed.");
    expect(events).toEqual(["undecided"]);
    expect(buttonIn(document.body, "Allow once")?.disabled).toBe(false);
  });

  it("says what changed, and that a call is a repetition", async () => {
    const { text } = await shown(asked({ changed: ["definition", "credential"], repeats: 7 }));
    expect(text()).toContain("the tool’s definition, your key");
    expect(text()).toContain("number 7");
  });

  it.each([
    [{ state: "running" }, "is running"],
    [{ state: "done" }, "done"],
    [{ state: "uncertain" }, "not repeated"],
    [{ state: "denied" }, "Not allowed"],
    [{ state: "denied", detail: "A rule denies this tool now." }, "A rule denies this tool now."],
  ] as const)("says what became of a call: %o", async (changes, words) => {
    const { text, tags } = await shown(asked(changes));
    expect(text()).toContain(words);
    expect(tags()).not.toContain("PRE");
  });

  it("shows in the inbox what was called, until its arguments are erased", async () => {
    const { card, text } = await shown(asked({ state: "done", arguments: '{"to": "bob"}' }));
    card.whole = true;
    await settled();
    expect(text()).toContain('{"to": "bob"}');
    card.approval = asked({ state: "done", arguments: null });
    await settled();
    expect(text()).toContain("Its arguments were erased");
  });
});
