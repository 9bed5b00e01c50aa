// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import type { ApprovalView } from "../src/api/generated";
import { SETTLE_MS } from "../src/components/approval-card";
import { answering, approval, buttonIn, everything, refused, settled, textOf } from "./tools-made";

const DECIDE = "POST /api/approvals/a1/decision";

function shown(
  one: ApprovalView,
  answer: () => unknown = () => approval({ state: "denied", version: 9 }),
) {
  const { api, sent } = answering({ [DECIDE]: answer });
  const card = document.createElement("approval-card");
  card.api = api;
  card.approval = one;
  card.email = "ada@a.io";
  const events: string[] = [];
  card.addEventListener("decided", (event) => {
    events.push("decided");
    card.approval = (event as CustomEvent<ApprovalView>).detail;
  });
  card.addEventListener("undecided", () => events.push("undecided"));
  document.body.append(card);
  return { card, sent, events, text: () => textOf(document.body) };
}

async function press(label: string): Promise<void> {
  await settled(SETTLE_MS + 50);
  buttonIn(document.body, label)?.click();
  await settled();
}

describe("the card of a call", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("says what is called, with which arguments, for whom and until when", async () => {
    const { text } = shown(approval({ changed: ["credential"], repeats: 7 }));
    await settled();
    expect(text()).toMatch(/Your agent wants to call send_mail of Mail /);
    expect(text()).toContain('"to": "bob@a.io"');
    expect(text()).toContain("ada@a.io");
    expect(text()).toMatch(/can be decided until .*2026/);
    expect(text()).toContain("your key for the server");
    expect(text()).toContain("number 7");
  });

  it.each([
    ["Once", "once"],
    ["Always", "always"],
    ["No", "no"],
  ])("decides %s on the version that was shown", async (label, decision) => {
    const decided = approval({ state: "approved", decision: "once", version: 4 });
    const { sent, events, text } = shown(approval({ version: 3 }), () => decided);
    await press(label);
    expect(sent).toEqual([[DECIDE, { decision, version: 3 }]]);
    expect(events).toEqual(["decided"]);
    expect(text()).toContain("It runs in a moment");
    expect(buttonIn(document.body, "Once")).toBeUndefined();
  });

  it("takes no decision for a moment after it appeared or changed", async () => {
    const { card, sent } = shown(approval());
    await settled();
    buttonIn(document.body, "Once")?.click();
    await settled(SETTLE_MS + 50);
    card.approval = approval({ version: 2, changed: ["definition"] });
    await settled();
    buttonIn(document.body, "Once")?.click();
    await settled();
    expect(sent).toEqual([]);
    await press("Once");
    expect(sent).toEqual([[DECIDE, { decision: "once", version: 2 }]]);
  });

  it("says why nothing was decided, and lets the list be read again", async () => {
    const problem = "This call was decided before, perhaps in another tab.";
    const { events, text } = shown(approval(), () => refused(409, "approval-decided", problem));
    await press("No");
    expect(text()).toContain(problem);
    expect(events).toEqual(["undecided"]);
  });

  it.each([
    ["tool", "<img src=x onerror=alert(1)>"],
    ["server", "<script>alert(1)</script>"],
    ["arguments", '{"a": "<iframe srcdoc=x></iframe>"}'],
  ])("shows a hostile %s as text", async (field, hostile) => {
    const { text } = shown(approval({ [field]: hostile }));
    await settled();
    expect(text()).toContain(hostile);
    const tags = everything(document.body).map(({ tagName }) => tagName);
    expect(tags).not.toContain("IMG");
    expect(tags).not.toContain("SCRIPT");
    expect(tags).not.toContain("IFRAME");
  });

  it("folds long arguments, with all of them a press away", async () => {
    const lines = Array.from({ length: 300 }, (_, line) => `"${line}": ${line}`).join(",\n");
    shown(approval({ arguments: `{\n${lines}\n}` }));
    await settled();
    const pre = everything(document.body).find(({ tagName }) => tagName === "PRE");
    expect(pre?.className).toBe("folded");
    buttonIn(document.body, "Show all 302 lines")?.click();
    await settled();
    expect(pre?.className).toBe("");
  });

  it("shows what became of it, also when its arguments were erased", async () => {
    const { text } = shown(approval({ state: "uncertain", arguments: null }));
    await settled();
    expect(text()).toContain("it may have had its effect");
    expect(text()).toContain("Its arguments were erased");
    expect(buttonIn(document.body, "Once")).toBeUndefined();
  });
});
