// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import type { ApprovalView } from "../src/api/generated";
import type { ChatSession } from "../src/chat/session";
import { INITIAL, type ChatState } from "../src/chat/state";
import { SETTLE_MS } from "../src/components/decision-card";
import "../src/views/tools-decisions";
import { asked as approval } from "./make";
import { answering, buttonIn, everything, settled, textOf } from "./tools-made";

/** A session whose state the test sets. */
class SessionDouble extends EventTarget {
  state: ChatState = { ...INITIAL, connection: "open" };

  set(changes: Partial<ChatState>): void {
    this.state = { ...this.state, ...changes };
    this.dispatchEvent(new Event("change"));
  }
}

const DONE = approval({ id: "a2", number: 2, state: "done", tool: "old_call", version: 4 });

async function shown(listed: () => readonly ApprovalView[], decide?: () => unknown) {
  const asked: number[] = [];
  const { api, sent } = answering({
    "GET /api/approvals": () => {
      asked.push(1);
      return { approvals: listed() };
    },
    "POST /api/approvals/a1/decision": () => decide?.(),
  });
  const session = new SessionDouble();
  const view = document.createElement("tools-decisions");
  view.api = api;
  view.session = session as unknown as ChatSession;
  const events: string[] = [];
  view.addEventListener("rules-changed", () => events.push("rules-changed"));
  document.body.append(view);
  await settled();
  return { session, sent, asked, events, text: () => textOf(document.body) };
}

describe("the inbox of decisions", () => {
  afterEach(() => {
    document.body.replaceChildren();
    history.replaceState(null, "", "/");
  });

  it("says so when no call waits", async () => {
    const { text } = await shown(() => []);
    expect(text()).toContain("No call waits for your decision");
  });

  it("has what waits in sight, and the earlier calls folded", async () => {
    const { text } = await shown(() => [DONE, approval()]);
    expect(text()).toContain("of Mail");
    expect(text()).not.toContain("old_call");
    expect(text()).toContain("Earlier calls (1)");
  });

  it("shows at once what the chat's socket brings", async () => {
    const { session, text } = await shown(() => []);
    session.set({ approvals: [approval()] });
    await settled();
    expect(text()).toContain("of Mail");
    session.set({ approvals: [approval({ state: "denied", version: 2 })] });
    await settled();
    expect(text()).toContain("No call waits for your decision");
  });

  it("is read again after a lost connection", async () => {
    let listed = [approval()];
    const { session, asked, text } = await shown(() => listed);
    session.set({ connection: "waiting" });
    listed = [approval({ state: "expired", version: 2 })];
    session.set({ connection: "open" });
    await settled();
    expect(asked).toHaveLength(2);
    expect(text()).toContain("No call waits for your decision");
  });

  it("keeps a call in its place once it was decided, and tells of the new rule", async () => {
    const decided = approval({ state: "approved", decision: "always", version: 2 });
    const { session, events, text } = await shown(
      () => [approval()],
      () => decided,
    );
    await settled(SETTLE_MS + 50);
    buttonIn(document.body, "Always allow")?.click();
    await settled();
    session.set({ approvals: [{ ...decided, state: "done", version: 4 }] });
    await settled();
    expect(text()).toContain("Allowed, and done.");
    expect(events).toEqual(["rules-changed"]);
  });

  it("opens the call that the address names, also an earlier one", async () => {
    history.replaceState(null, "", "/tools?decision=2");
    const scrolledTo: Element[] = [];
    Element.prototype.scrollIntoView = function () {
      scrolledTo.push(this);
    };
    const { text } = await shown(() => [DONE, approval()]);
    await settled();
    expect(text()).toContain("old_call");
    expect(scrolledTo.map(({ tagName }) => tagName)).toEqual(["DECISION-CARD"]);
    const active = everything(document.body).find((one) => one.matches("tools-decisions"));
    expect(active?.shadowRoot?.activeElement?.shadowRoot?.textContent).toContain("old_call");
  });

  it.each(["decision=7", "decision=abc", "decisions"])(
    "shows the list for an address with %s",
    async (query) => {
      history.replaceState(null, "", `/tools?${query}`);
      const { text } = await shown(() => [DONE, approval()]);
      await settled();
      expect(text()).toContain("of Mail");
      expect(text()).not.toContain("old_call");
    },
  );
});
