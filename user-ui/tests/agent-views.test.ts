// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { AgentApi } from "../src/api/agent";
import { Api } from "../src/api/client";
import { setTheme, theme } from "../src/theme";
import "../src/views/account-data";
import "../src/views/agent-files";
import "../src/views/agent-jobs";
import "../src/views/agent-log";

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

function world(answers: Record<string, unknown>): [AgentApi, string[], Api] {
  const sent: string[] = [];
  const api = new Api("", (url, init) => {
    const request = `${init.method ?? ""} ${decodeURIComponent(url)}`;
    sent.push(request);
    const answer = answers[request] ?? {};
    return Promise.resolve(
      new Response(typeof answer === "string" ? answer : JSON.stringify(answer)),
    );
  });
  return [new AgentApi(api), sent, api];
}

function rootOf(view: HTMLElement): ShadowRoot {
  if (view.shadowRoot === null) throw new Error("the section has no content");
  return view.shadowRoot;
}

function press(root: ShadowRoot, label: string): Promise<unknown> {
  [...root.querySelectorAll("button")].find((one) => one.textContent.includes(label))?.click();
  return settled();
}

afterEach(() => {
  document.body.replaceChildren();
});

describe("the jobs", () => {
  it("of a sleeping agent are not asked for until it was woken by a button", async () => {
    const [agent, sent] = world({
      "GET /api/agent/jobs": {
        jobs: [
          { id: "n", name: "News", kind: "turn", task: "Tell", enabled: true, editable: true },
          { id: "d", name: "Dream", kind: "event", task: "", enabled: true, editable: false },
        ],
      },
    });
    const view = document.createElement("agent-jobs");
    view.agent = agent;
    document.body.append(view);
    await settled();
    const root = rootOf(view);
    expect(root.textContent).toContain("has to be awake");
    expect(sent).toEqual([]);
    await press(root, "Wake and list");
    expect(sent).toEqual(["POST /api/agent/wake"]);
    view.awake = true;
    await settled();
    expect(root.textContent).toContain("kept by OpenClaw");
    await press(root, "Run now");
    await press(root, "Pause");
    expect(sent.filter((one) => !one.startsWith("GET"))).toEqual([
      "POST /api/agent/wake",
      "POST /api/agent/jobs/n/run",
      "PATCH /api/agent/jobs/n",
    ]);
  });
});

describe("the files", () => {
  const entries = [
    { name: "memory", kind: "folder", size: null, changedAt: null },
    { name: "<b>.md", kind: "file", size: 12, changedAt: "2026-11-30T10:00:00Z" },
    { name: "film.mp4", kind: "file", size: 5e9, changedAt: null },
    { name: "link", kind: "other", size: null, changedAt: null },
  ];

  async function files(answers: Record<string, unknown> = {}) {
    const [agent, sent] = world({
      "GET /api/agent/files?path=": { entries, more: false },
      ...answers,
    });
    const view = document.createElement("agent-files");
    view.agent = agent;
    document.body.append(view);
    await settled();
    return { view, root: rootOf(view), sent };
  }

  it("are saved by a link, read as text, and a link opens nothing", async () => {
    const { root, sent } = await files({
      "GET /api/agent/files/content?path=<b>.md": "<img src=x onerror=alert(1)>",
    });
    const links = [...root.querySelectorAll("a")];
    expect(links.map((one) => one.getAttribute("href"))).toEqual([
      "/api/agent/files/content?path=%3Cb%3E.md",
      "/api/agent/files/content?path=film.mp4",
    ]);
    expect(links.every((one) => one.hasAttribute("download"))).toBe(true);
    await press(root, "<b>.md");
    expect(root.querySelector("pre")?.textContent).toBe("<img src=x onerror=alert(1)>");
    expect(root.querySelector("img")).toBeNull();
    await press(root, "film.mp4");
    await press(root, "link");
    expect(sent).toHaveLength(2);
  });

  it("are listed below a folder", async () => {
    const { root, sent } = await files({
      "GET /api/agent/files?path=memory": { entries: [], more: true },
    });
    await press(root, "Memory notes");
    expect(sent.at(-1)).toBe("GET /api/agent/files?path=memory");
    expect(root.textContent).toContain("Nothing here");
  });

  it.each([
    ["film.mp4", 1, "is there already"],
    ["huge.bin", 17 * 1024 * 1024, "larger than 16 MB"],
  ])("%s is not uploaded", async (name, size, problem) => {
    const { root, sent } = await files();
    const chooser = root.querySelector("input");
    const file = new File(["x"], name);
    Object.defineProperty(file, "size", { value: size });
    Object.defineProperty(chooser, "files", { value: [file] });
    chooser?.dispatchEvent(new Event("change"));
    await settled();
    expect(root.textContent).toContain(problem);
    expect(sent).toHaveLength(1);
  });
});

it("the log is shown on request, without orders to a terminal", async () => {
  const [agent, sent] = world({ "GET /api/agent/log": { text: "\u001b[31mred\u0007\nnext" } });
  const view = document.createElement("agent-log");
  view.agent = agent;
  document.body.append(view);
  await settled();
  expect(sent).toEqual([]);
  await press(rootOf(view), "Show the log");
  expect(rootOf(view).querySelector("pre")?.textContent).toBe("red\nnext");
});

describe("the account", () => {
  it("is deleted only after its address was typed", async () => {
    const [, sent, api] = world({});
    const view = document.createElement("account-data");
    view.api = api;
    view.email = "ada@a.io";
    document.body.append(view);
    await settled();
    let out = 0;
    view.addEventListener("signed-out", () => (out += 1));
    await press(rootOf(view), "Delete account");
    expect(sent).toEqual([]);
    const field = rootOf(view).querySelector<HTMLInputElement>("#confirm");
    if (field !== null) field.value = "ada@a.io";
    await press(rootOf(view), "Delete permanently");
    expect(sent).toEqual(["POST /api/account/deletion"]);
    expect(out).toBe(1);
  });

  it("keeps a theme in this browser, and falls back to the system's", () => {
    for (const one of ["dark", "light", "system"] as const) {
      setTheme(one);
      expect(theme()).toBe(one);
      expect(document.documentElement.style.colorScheme).toBe(one === "system" ? "" : one);
    }
    localStorage.setItem("ocmt-theme", "pink");
    expect(theme()).toBe("system");
  });
});
