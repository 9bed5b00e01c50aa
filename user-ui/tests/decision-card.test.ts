// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import type { ApprovalView } from "../src/api/generated";
import "../src/components/decision-card";
import { asked } from "./make";

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** The card, and the decisions that it sent; `answer` is the server's. */
async function shown(approval: ApprovalView, answer: () => Response) {
  const sent: [string, unknown][] = [];
  const api = new Api("", (url, init) => {
    sent.push([url, JSON.parse(init.body as string) as unknown]);
    return Promise.resolve(answer());
  });
  const card = document.createElement("decision-card");
  card.approval = approval;
  card.api = api;
  document.body.append(card);
  await settled();
  const root = card.shadowRoot;
  if (root === null) throw new Error("the card has no content");
  return {
    root,
    sent,
    text: () => root.textContent.replace(/\s+/g, " "),
    press: async (label: string) => {
      const buttons = [...root.querySelectorAll("button")];
      buttons.find((one) => one.textContent.includes(label))?.click();
      await settled();
    },
  };
}

const ok = (approval: ApprovalView) => () => new Response(JSON.stringify(approval));

describe("the card of a call that waits for a decision", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("shows the tool, the server and the arguments as text", async () => {
    const { root, text } = await shown(asked({ arguments: "<b>bob</b>" }), ok(asked()));
    expect(text()).toContain("wants to use send of Mail");
    expect(root.querySelector("pre")?.textContent).toBe("<b>bob</b>");
    expect(root.querySelector("b")).toBeNull();
  });

  it.each([
    ["Allow once", "once"],
    ["Always allow", "always"],
    ["Do not allow", "no"],
  ])("sends %s with the version that was seen", async (label, decision) => {
    const done = asked({ state: decision === "no" ? "denied" : "approved", version: 4 });
    const { sent, press, root } = await shown(asked({ version: 3 }), ok(done));
    await press(label);
    expect(sent).toEqual([["/api/approvals/a1/decision", { decision, version: 3 }]]);
    expect(root.querySelector("button")).toBeNull();
  });

  it("keeps a later state that came while the decision was sent", async () => {
    const { text, press } = await shown(asked(), () => {
      const card = document.querySelector("decision-card");
      if (card !== null) card.approval = asked({ state: "done", version: 4 });
      return new Response(JSON.stringify(asked({ state: "approved", version: 2 })));
    });
    await press("Allow once");
    expect(text()).toContain("done");
  });

  it("shows why a decision was refused, and can be used again", async () => {
    const refused = () =>
      new Response(JSON.stringify({ code: "approval-changed", detail: "It has changed." }), {
        status: 409,
      });
    const { text, press, root } = await shown(asked(), refused);
    await press("Allow once");
    expect(text()).toContain("It has changed.");
    expect(root.querySelector("button")?.disabled).toBe(false);
  });

  it("says what changed, and that a call is a repetition", async () => {
    const { text } = await shown(
      asked({ changed: ["definition", "credential"], repeats: 7 }),
      ok(asked()),
    );
    expect(text()).toContain("the tool's definition, your credential");
    expect(text()).toContain("number 7");
  });

  it.each([
    ["running", "is running"],
    ["done", "done"],
    ["uncertain", "not repeated"],
    ["denied", "Not allowed"],
  ] as const)("says what became of a call: %s", async (state, words) => {
    const { text, root } = await shown(asked({ state }), ok(asked()));
    expect(text()).toContain(words);
    expect(root.querySelector("pre")).toBeNull();
  });
});
