import { describe, expect, it } from "vitest";

import { diffLines, toAcceptSummary } from "../src/tools/definitions";
import { inbox } from "../src/tools/approval-texts";
import { inherited, serverNote, toolNote } from "../src/tools/rules";
import { serverTags, troubleText } from "../src/tools/servers";
import { visible, visibleName } from "../src/tools/visible-text";
import { asked as approval } from "./make";
import { server, tool } from "./tools-made";

describe("texts of tool servers", () => {
  it.each([
    ["a text that turns round", "safe\u202egnp.exe", "safe\\u{202e}gnp.exe"],
    ["a space without width", "pay\u200bload", "pay\\u{200b}load"],
    ["letters of the tags block", "ok\u{e0041}", "ok\\u{e0041}"],
    ["a control character", "a\u001b[2J", "a\\u{1b}[2J"],
    ["a line separator", "a\u2028b", "a\\u{2028}b"],
  ])("show %s", (_, text, shown) => {
    expect(visible(text)).toBe(shown);
  });

  it("keep lines, accents and other scripts", () => {
    expect(visible("Liste\nаб é 你好 שלום")).toBe("Liste\nаб é 你好 שלום");
  });

  it("are cut in names, on one line", () => {
    expect(visibleName("a\n b")).toBe("a b");
    expect(visibleName("x".repeat(500))).toHaveLength(131);
  });
});

describe("the rule that holds", () => {
  it("is explained when an admin's is stricter", () => {
    const denied = tool("t", { rule: "deny", adminRule: "deny", ownRule: "allow" });
    expect(toolNote(server(), denied)).toBe(
      "“Deny” holds: an admin’s rule for this tool is stricter than yours.",
    );
    const asked = tool("t", { rule: "ask" });
    expect(toolNote(server({ adminRule: "ask", ownRule: "allow" }), asked)).toContain(
      "an admin’s rule for this server is stricter than yours",
    );
  });

  it("is named when only an admin set one", () => {
    const allowed = tool("t", { rule: "allow", adminRule: "allow" });
    expect(toolNote(server(), allowed)).toBe("“Allow” holds: an admin’s rule for this tool.");
    expect(serverNote(server({ adminRule: "ask" }))).toContain("An admin set “Ask first”");
  });

  it("needs no word when it is the user's own", () => {
    expect(toolNote(server(), tool("t", { rule: "allow", ownRule: "allow" }))).toBeNull();
    const stricter = tool("t", { rule: "deny", ownRule: "deny", adminRule: "ask" });
    expect(toolNote(server(), stricter)).toBeNull();
    expect(toolNote(server(), tool("t"))).toBeNull();
    expect(serverNote(server({ adminRule: "allow", ownRule: "ask" }))).toBeNull();
  });

  it("is the server's for a tool without one", () => {
    expect(inherited(server({ ownRule: "deny" }))).toBe("As the server: Deny");
    expect(inherited(server())).toBe("No rule: ask first");
  });
});

describe("a server's state", () => {
  it("is told in tags", () => {
    const tags = (changes: Parameters<typeof server>[0]) =>
      serverTags(server(changes)).map(({ text }) => text);
    expect(tags({})).toEqual([]);
    expect(tags({ shared: true, connected: false })).toEqual(["shared", "not connected"]);
    expect(tags({ enabled: false, connected: false })).toEqual(["disabled"]);
    expect(tags({ credentialState: "refused" })).toEqual(["key rejected"]);
  });

  it("says what to do about a key, and otherwise what the server is in trouble with", () => {
    const trouble = "Notes cannot be reached now.\u200b";
    expect(troubleText(server({ credentialState: "missing", trouble }))).toContain("Enter it");
    expect(troubleText(server({ credentialState: "refused", trouble }))).toContain("a new one");
    expect(troubleText(server({ trouble }))).toBe("Notes cannot be reached now.\\u{200b}");
    expect(troubleText(server({ trouble, connected: false }))).toBeNull();
    expect(troubleText(server())).toBeNull();
  });
});

describe("definitions to accept", () => {
  it("are counted by what happened to them", () => {
    const tools = [
      tool("a", { state: "changed" }),
      tool("b", { state: "new" }),
      tool("c", { state: "changed" }),
      tool("d", { state: "gone" }),
      tool("e"),
    ];
    expect(toAcceptSummary(tools)).toBe("2 changed tools, 1 new tool");
    expect(toAcceptSummary([tool("e")])).toBe("");
  });

  it("are compared line by line, without the diff's own lines", () => {
    const difference = ["--- accepted", "+++ now", "@@ -1,3 +1,3 @@"];
    const first = [" {", "---- a trap", "+++ x"];
    expect(diffLines([...difference, ...first, "@@ -9 +9 @@", " }"])).toEqual([
      { kind: "same", text: "{" },
      { kind: "removed", text: "--- a trap" },
      { kind: "added", text: "++ x" },
      { kind: "gap", text: "" },
      { kind: "same", text: "}" },
    ]);
    expect(diffLines([])).toEqual([]);
  });
});

describe("a call to decide on", () => {
  it("stands before the earlier ones, and stays there once it was decided here", () => {
    const numbered = (number: number, state: "waiting" | "done") =>
      approval({ id: `a${number}`, number, state });
    const approvals = [
      numbered(4, "waiting"),
      numbered(1, "done"),
      numbered(2, "done"),
      numbered(3, "waiting"),
    ];
    const numbers = (kept: string[]) => {
      const { open, past } = inbox(approvals, new Set(kept));
      return [open.map(({ number }) => number), past.map(({ number }) => number)];
    };
    expect(numbers([])).toEqual([
      [3, 4],
      [2, 1],
    ]);
    expect(numbers(["a2"])).toEqual([[2, 3, 4], [1]]);
  });
});
