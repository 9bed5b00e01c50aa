// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { addresses, joined, pressed, sorted } from "../src/admin/people";
import { memoryLine, wakeDots } from "../src/admin/plots";
import { AdminApi } from "../src/api/admin";
import { Api } from "../src/api/client";
import type { AgentRow, UserRow } from "../src/api/generated";
import "../src/views/admin-invitations";
import "../src/views/admin-people";

const NOW = Date.parse("2026-11-30T12:00:00Z");

function user(id: string, change: Partial<UserRow> = {}): UserRow {
  return {
    id,
    email: `${id}@a.io`,
    role: "member",
    status: "active",
    createdAt: "2026-11-01T12:00:00Z",
    lastSignInAt: null,
    pending: null,
    ...change,
  };
}

function agent(userId: string, usage: number | null, change: Partial<AgentRow> = {}): AgentRow {
  return {
    userId,
    state: "running",
    awakeBecause: [],
    memory: usage === null ? null : { usage },
    lastActivity: null,
    ...change,
  } as AgentRow;
}

describe("the table of people", () => {
  const rows = joined(
    [user("cleo"), user("ada"), user("ben")],
    [agent("ada", 900), agent("ben", 100), agent("cleo", null, { state: "stopped" })],
    [{ userId: "ada", costUsd: 2 } as never, { userId: "cleo", costUsd: null } as never],
  );
  const order = (by: never, descending: boolean) =>
    sorted(rows, { by, descending }).map(({ person }) => person.id);

  it.each([
    ["person", false, ["ada", "ben", "cleo"]],
    ["person", true, ["cleo", "ben", "ada"]],
    ["memory", true, ["ada", "ben", "cleo"]],
    ["memory", false, ["ben", "ada", "cleo"]],
    ["state", false, ["ada", "ben", "cleo"]],
    ["cost", true, ["ada", "ben", "cleo"]],
  ])("by %s (descending %s)", (by, descending, expected) => {
    expect(order(by as never, descending)).toEqual(expected);
  });

  it("turns the order with another press", () => {
    expect(pressed({ by: "person", descending: false }, "memory")).toEqual({
      by: "memory",
      descending: true,
    });
    expect(pressed({ by: "memory", descending: true }, "memory").descending).toBe(false);
  });
});

describe("pasted addresses", () => {
  it.each([
    ["a@b.io, c@d.io\ne@f.io;g@h.io", ["a@b.io", "c@d.io", "e@f.io", "g@h.io"], []],
    ['"Ada L" <Ada@b.io>, Ben <ben@b.io>', ["ada@b.io", "ben@b.io"], []],
    ["a@b.io A@B.io a@b.io", ["a@b.io"], []],
    ["a@b.io nonsense x@y", ["a@b.io"], ["nonsense", "x@y"]],
    ["", [], []],
  ])("of %j", (text, emails, wrong) => {
    expect(addresses(text)).toEqual({ emails, wrong });
  });
});

describe("the plots of the host", () => {
  it("are within their box, whatever the clock and the figures", () => {
    const at = (hours: number) => new Date(NOW - hours * 3_600_000).toISOString();
    const samples = [
      { at: at(24), total: 100, available: 100 },
      { at: at(12), total: 100, available: 25 },
      { at: at(0), total: 0, available: 0 },
    ] as never;
    expect(memoryLine(samples, NOW)).toBe("0.0,100.0 720.0,25.0");
    const wakes = [0.5, 10, 1_000, 1e9].map((durationMs) => ({
      at: at(-3),
      durationMs,
      fromState: "stopped",
    })) as never;
    const { dots, median, slowest } = wakeDots(wakes, NOW);
    expect(dots.map(({ x, y }) => [x, Math.round(y)])).toEqual([
      [1440, 100],
      [1440, 100],
      [1440, 50],
      [1440, 0],
    ]);
    expect([median, slowest]).toEqual([10, 1e9]);
  });
});

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A section on a server that answers each path with what `answers` has, and what was sent. */
async function shown(
  name: "admin-people" | "admin-invitations",
  answers: Record<string, unknown>,
  status = () => 200,
) {
  const sent: [string, unknown][] = [];
  const api = new Api("https://ocmt.example", (url, init) => {
    const path = url.replace("https://ocmt.example/api/admin", `${init.method ?? ""} `);
    if (init.method !== "GET") {
      sent.push([path, init.body == null ? null : (JSON.parse(init.body as string) as unknown)]);
    }
    const body = JSON.stringify(answers[path] ?? {});
    return Promise.resolve(new Response(body, { status: status() }));
  });
  const view = document.createElement(name);
  view.admin = new AdminApi(api);
  document.body.append(view);
  await settled();
  const root = view.shadowRoot;
  if (root === null) throw new Error("the section has no content");
  const button = (label: string): HTMLButtonElement | undefined =>
    [
      ...root.querySelectorAll("button"),
      ...[...root.querySelectorAll("sure-button")].flatMap((one) => [
        ...(one.shadowRoot?.querySelectorAll("button") ?? []),
      ]),
    ].find((one) => one.textContent.trim().replace(/\s+/g, " ").startsWith(label));
  const press = async (label: string) => {
    button(label)?.click();
    await settled();
  };
  return { root, button, press, sent, text: () => root.textContent.replace(/\s+/g, " ") };
}

afterEach(() => {
  document.body.replaceChildren();
});

describe("an admin", () => {
  const answers = (person: UserRow, row: AgentRow) => ({
    "GET /users": { users: [person] },
    "GET /agents": { agents: [row] },
    "GET /usage": { users: [] },
  });

  it("wakes a stopped agent, and stops one that is awake", async () => {
    const asleep = await shown(
      "admin-people",
      answers(user("ben"), agent("ben", null, { state: "stopped" })),
    );
    await asleep.press("Manage");
    await asleep.press("Wake");
    expect(asleep.button("Stop")).toBeUndefined();
    document.body.replaceChildren();
    const awake = await shown("admin-people", answers(user("ben"), agent("ben", 9)));
    await awake.press("Manage");
    await awake.press("Stop");
    expect([...asleep.sent, ...awake.sent]).toEqual([
      ["POST /agents/ben/order", { order: "wake" }],
      ["POST /agents/ben/order", { order: "stop" }],
    ]);
  });

  it("is asked before a role, a suspension and a restart", async () => {
    const view = await shown("admin-people", answers(user("ben"), agent("ben", 9)));
    await view.press("Manage");
    for (const label of ["Make admin", "Suspend", "Restart"]) {
      await view.press(label);
      await view.press(`${label}?`);
    }
    expect(view.sent).toEqual([
      ["PATCH /users/ben", { role: "admin" }],
      ["PATCH /users/ben", { status: "suspended" }],
      ["POST /agents/ben/order", { order: "restart" }],
    ]);
  });

  it("deletes a person only after their address was typed", async () => {
    const view = await shown("admin-people", answers(user("ben"), agent("ben", 9)));
    await view.press("Manage");
    await view.press("Delete");
    expect(view.sent).toEqual([]);
    expect(view.text()).toContain("with its files, conversations and keys");
    const field = view.root.querySelector<HTMLInputElement>("#confirm");
    if (field !== null) field.value = "ben@a.io";
    await view.press("Delete permanently");
    expect(view.sent).toEqual([["POST /users/ben/deletion", { email: "ben@a.io" }]]);
  });

  it("sees what is still to be done about a person, and nothing to do with one who goes", async () => {
    const pending = "The agent is being removed. The agent server does not answer.";
    const view = await shown(
      "admin-people",
      answers(user("ben", { status: "deleting", pending }), agent("ben", 9)),
    );
    expect(view.text()).toContain("being deleted");
    expect(view.text()).toContain(pending);
    expect(view.button("Manage")).toBeUndefined();
  });

  it("invites many at once, and none when one is no address", async () => {
    const outcomes = [
      { email: "a@b.io", invited: true, detail: null },
      { email: "c@d.io", invited: false, detail: "c@d.io is a user already and can sign in." },
    ];
    const view = await shown("admin-invitations", {
      "GET /invitations": { invitations: [] },
      "POST /invitations/bulk": { outcomes },
    });
    const area = view.root.querySelector("textarea");
    if (area === null) throw new Error("no field");
    area.value = "a@b.io, nonsense";
    view.root.querySelector("form")?.requestSubmit();
    await settled();
    expect(view.sent).toEqual([]);
    expect(view.text()).toContain("“nonsense” is no e-mail address");
    area.value = "a@b.io c@d.io";
    view.root.querySelector("form")?.requestSubmit();
    await settled();
    expect(view.sent).toEqual([["POST /invitations/bulk", { emails: ["a@b.io", "c@d.io"] }]]);
    expect(view.text()).toContain("1 of 2 were invited. c@d.io is a user already");
  });

  it("loses nothing that is written while an invitation is on its way", async () => {
    const view = await shown("admin-invitations", {
      "GET /invitations": { invitations: [] },
      "POST /invitations/bulk": { outcomes: [] },
    });
    const area = view.root.querySelector("textarea");
    if (area === null) throw new Error("no field");
    area.value = "a@b.io";
    view.root.querySelector("form")?.requestSubmit();
    expect(area.readOnly).toBe(false);
    area.value += "c@d.io";
    await settled();
    expect(view.sent).toEqual([["POST /invitations/bulk", { emails: ["a@b.io"] }]]);
    expect(area.value).toBe("c@d.io");
  });

  it("has the addresses again that could not be sent, and what was written meanwhile", async () => {
    let status = 200;
    const answers = { "GET /invitations": { invitations: [] } };
    const view = await shown("admin-invitations", answers, () => status);
    status = 503;
    const area = view.root.querySelector("textarea");
    if (area === null) throw new Error("no field");
    area.value = "a@b.io, c@d.io";
    view.root.querySelector("form")?.requestSubmit();
    area.value = "e@f.io";
    await settled();
    expect(area.value).toBe("a@b.io, c@d.io\ne@f.io");
  });

  it("sees at its place in a long list what became of an invitation", async () => {
    const listed = [...Array(20).keys()].map((number) => ({
      id: `i${String(number)}`,
      email: `p${String(number)}@b.io`,
      createdAt: "",
      expiresAt: "2026-12-07T00:00Z",
    }));
    const left = { invitations: listed };
    const view = await shown("admin-invitations", {
      "GET /invitations": left,
      "POST /invitations/i18/link": { link: "https://ocmt/sign-in#x", expiresAt: "" },
    });
    Object.assign(navigator, { clipboard: { writeText: () => Promise.resolve() } });
    const items = () => [...view.root.querySelectorAll("li")];
    const said = () => items().findIndex((item) => item.classList.contains("outcome"));
    items()[18]?.querySelector("button")?.click();
    await settled();
    expect(items()[said()]?.textContent).toContain("Created a link for p18@b.io");
    expect(said()).toBe(19);
    const sure = items()[17]?.querySelector("sure-button")?.shadowRoot;
    sure?.querySelector("button")?.click();
    await settled();
    left.invitations = listed.filter(({ id }) => id !== "i17");
    sure?.querySelector("button")?.click();
    await settled();
    expect(items()[said()]?.textContent).toContain("of p17@b.io was withdrawn");
    expect(said()).toBe(17);
    expect(items()).toHaveLength(20);
  });

  it("is asked whether to withdraw an invitation, in these words", async () => {
    const invitation = { id: "i1", email: "a@b.io", createdAt: "", expiresAt: "2026-12-07T00:00Z" };
    const view = await shown("admin-invitations", {
      "GET /invitations": { invitations: [invitation] },
    });
    await view.press("Withdraw");
    expect(view.button("Withdraw invitation?")).toBeDefined();
    expect(view.button("Cancel")).toBeDefined();
    await view.press("Withdraw invitation?");
    expect(view.sent).toEqual([["DELETE /invitations/i1", null]]);
  });
});
