// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import type { UserRow } from "../src/api/generated";
import "../src/views/settings-people";

const BOB: UserRow = {
  id: "bob",
  email: "bob@a.io",
  role: "member",
  status: "active",
  createdAt: "2026-11-01T12:00:00Z",
  lastSignInAt: null,
  pending: null,
};

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** The section as an admin sees it with one other user, and the requests that it sent. */
async function shown(person: UserRow) {
  const asked: [string, unknown][] = [];
  const api = new Api("https://ocmt.example", (url, init) => {
    const path = url.replace("https://ocmt.example", `${init.method ?? ""} `);
    if (init.method === "POST") asked.push([path, JSON.parse(init.body as string) as unknown]);
    const body = path.endsWith("/invitations") ? { invitations: [] } : { users: [person] };
    return Promise.resolve(new Response(JSON.stringify(body)));
  });
  const view = document.createElement("settings-people");
  view.api = api;
  view.myId = "ada";
  document.body.append(view);
  await settled();
  const root = view.shadowRoot;
  if (root === null) throw new Error("the section has no content");
  const button = (label: string) =>
    [...root.querySelectorAll("button")].find((one) => one.textContent.includes(label));
  return { root, button, asked, text: () => root.textContent.replace(/\s+/g, " ") };
}

describe("the people of an installation", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("are deleted only after their address was typed", async () => {
    const { root, button, asked, text } = await shown(BOB);
    button("Delete")?.click();
    await settled();
    expect(asked).toEqual([]);
    expect(text()).toContain("with its files, conversations and keys");

    const field = root.querySelector<HTMLInputElement>("#confirm");
    if (field !== null) field.value = "bob@a.io";
    button("Delete permanently")?.click();
    await settled();
    expect(asked).toEqual([["POST /api/admin/users/bob/deletion", { email: "bob@a.io" }]]);
  });

  it("are kept when one changes one's mind", async () => {
    const { button, asked } = await shown(BOB);
    button("Delete")?.click();
    await settled();
    button("Cancel")?.click();
    await settled();
    expect(button("Delete permanently")).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it("show what is still to be done about a suspended person's agent", async () => {
    const pending = "The agent is being stopped. The agent server does not answer.";
    const { text } = await shown({ ...BOB, status: "suspended", pending });
    expect(text()).toContain("suspended");
    expect(text()).toContain(pending);
  });

  it("offer nothing to do with a person who is being deleted", async () => {
    const { button, text } = await shown({ ...BOB, status: "deleting", pending: "On its way." });
    expect(text()).toContain("being deleted");
    expect(button("Delete")).toBeUndefined();
    expect(button("Reactivate")).toBeUndefined();
  });
});
