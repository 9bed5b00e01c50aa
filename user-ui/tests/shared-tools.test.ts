// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import type { SharedServerView } from "../src/api/generated";
import { answering, buttonIn, everything, fieldIn, settled, textOf, unfold } from "./tools-made";

const FILES: SharedServerView = {
  id: "s1",
  slug: "files",
  name: "Files",
  transport: "stdio",
  url: null,
  package: "server-files@1.2.3",
  arguments: ["--root", "/data"],
  credentialName: null,
  enabled: true,
  people: 3,
  rule: null,
  tools: [{ name: "write", description: null, rule: "deny" }],
};
const ADD = "POST /api/admin/tools/servers";

/** The section, whose code comes after it the first time, as on the page. */
async function shown(answers: Record<string, (body: unknown) => unknown> = {}) {
  const { api, sent } = answering({
    "GET /api/admin/tools": () => ({ servers: [FILES] }),
    ...answers,
  });
  const view = document.createElement("settings-shared-tools");
  view.api = api;
  document.body.append(view);
  await import("../src/views/settings-shared-tools");
  await settled();
  return { sent, text: () => textOf(document.body) };
}

describe("the shared tool servers", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("show their package, its arguments and how many people have connected them", async () => {
    const { text } = await shown();
    expect(text()).toContain("server-files@1.2.3");
    expect(text()).toContain("--root /data");
    expect(text()).toContain("3 people have connected it");
  });

  it("are shared by address, without a key if no header is given", async () => {
    const { sent } = await shown({ [ADD]: () => ({ ...FILES, id: "s2" }) });
    fieldIn(document.body, "name").value = "Wiki";
    fieldIn(document.body, "url").value = "https://wiki.example/mcp";
    buttonIn(document.body, "Share")?.click();
    await settled();
    expect(sent).toEqual([[ADD, { name: "Wiki", url: "https://wiki.example/mcp" }]]);
  });

  it("are shared as a package, with one argument a line as it is written", async () => {
    const { sent } = await shown({ [ADD]: () => ({ ...FILES, id: "s2" }) });
    const kinds = everything(document.body).filter((one) => one.getAttribute("name") === "kind");
    (kinds[1] as HTMLInputElement).click();
    await settled();
    fieldIn(document.body, "name").value = "Files";
    fieldIn(document.body, "package").value = "@a/server-files";
    fieldIn(document.body, "version").value = "1.2.3";
    fieldIn(document.body, "integrity").value = "sha512-abc";
    fieldIn(document.body, "arguments").value = "--root\n/a folder\n\n";
    fieldIn(document.body, "credentialName").value = "API_TOKEN";
    buttonIn(document.body, "Share")?.click();
    await settled();
    const body = {
      name: "@a/server-files",
      version: "1.2.3",
      integrity: "sha512-abc",
      arguments: ["--root", "/a folder"],
    };
    expect(sent).toEqual([[ADD, { name: "Files", credentialName: "API_TOKEN", package: body }]]);
  });

  it("are disabled after a second press", async () => {
    const route = "PATCH /api/admin/tools/servers/s1";
    const { sent, text } = await shown({ [route]: () => ({ ...FILES, enabled: false }) });
    buttonIn(document.body, "Disable")?.click();
    await settled();
    expect(sent).toEqual([]);
    buttonIn(document.body, "Disable?")?.click();
    await settled();
    expect(sent).toEqual([[route, { enabled: false }]]);
    expect(text()).toContain("disabled");
    expect(buttonIn(document.body, "Enable")).toBeDefined();
  });

  it("have rules for tools, also for one that no connection has listed", async () => {
    const route = "PUT /api/admin/tools/servers/s1/rule";
    const { sent } = await shown({ [route]: () => FILES });
    await unfold(document.body, "Rules for single tools");
    fieldIn(document.body, "tool").value = "delete_all";
    buttonIn(document.body, "Deny")?.click();
    await settled();
    expect(sent).toEqual([[route, { tool: "delete_all", rule: "deny" }]]);
  });
});
