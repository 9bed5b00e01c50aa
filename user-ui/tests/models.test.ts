// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import type { Me, ModelAnswer, ProviderView, SharedKeysAnswer } from "../src/api/generated";
import "../src/components/model-picker";
import "../src/views/settings-model";
import "../src/views/settings-shared-keys";

const provider = (id: ProviderView["id"], more: Partial<ProviderView> = {}): ProviderView => ({
  id,
  name: id,
  keySet: false,
  keyHint: null,
  shared: false,
  url: null,
  models: [],
  ...more,
});
const CHOICE: ModelAnswer = {
  provider: "demo",
  model: "demo",
  demo: true,
  usable: true,
  keyCheck: null,
  providers: [
    provider("demo", { models: ["demo"] }),
    provider("openai", { keySet: true }),
    provider("anthropic", { shared: true }),
    provider("groq"),
    provider("own", { name: "Own server" }),
  ],
};
const ME: Me = {
  user: { id: "ada", email: "ada@a.io", role: "member" },
  model: { provider: "demo", model: "demo", demo: true },
  agent: { name: "", face: "" },
  version: "1",
  mail: false,
};
const LISTS: Record<string, string[]> = {
  openai: ["gpt-5.5", "gpt-6-astra"],
  anthropic: ["claude-opus-5"],
};
const SHARED: SharedKeysAnswer = {
  keys: [
    {
      provider: "openai",
      name: "OpenAI",
      keyHint: "…1234",
      url: null,
      everyone: false,
      suspended: true,
      users: [{ userId: "bob", email: "bob@a.io" }],
      dayUsd: 1,
      monthUsd: null,
      monthSpentUsd: 3.5,
    },
  ],
  providers: [
    { id: "openai", name: "OpenAI" },
    { id: "groq", name: "Groq" },
    { id: "own", name: "Own server" },
  ],
  keyCheck: null,
};

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));
const words = (root: ShadowRoot) => root.textContent.replace(/\s+/g, " ");

function world(choice = CHOICE) {
  const asked: [string, unknown][] = [];
  const api = new Api("", (url, init) => {
    const method = init.method ?? "";
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as unknown) : null;
    if (method !== "GET") asked.push([`${method} ${url}`, body]);
    const { pathname, searchParams } = new URL(url, "http://page");
    const answers: Record<string, unknown> = {
      "/api/model": choice,
      "/api/model/models": {
        models: (LISTS[searchParams.get("provider") ?? ""] ?? []).filter((name) =>
          name.includes(searchParams.get("search") ?? ""),
        ),
        more: false,
        problem: null,
      },
      "/api/admin/users": { users: [{ id: "bob", email: "bob@a.io" }] },
    };
    return Promise.resolve(new Response(JSON.stringify(answers[pathname] ?? SHARED)));
  });
  return { api, asked };
}

async function shown<Element extends HTMLElement>(
  name: string,
  fields: Partial<Element>,
): Promise<ShadowRoot> {
  const element = document.createElement(name);
  Object.assign(element, fields);
  document.body.append(element);
  await settled();
  if (element.shadowRoot === null) throw new Error("the element has no content");
  return element.shadowRoot;
}

afterEach(() => {
  document.body.replaceChildren();
});

describe("the model picker", () => {
  async function opened() {
    const { api, asked } = world();
    const root = await shown("model-picker", { api, me: ME } as object);
    root.querySelector<HTMLElement>(".current")?.click();
    await settled();
    const names = () =>
      [...root.querySelectorAll("li button")].map((one) => one.textContent.trim());
    const search = async (text: string) => {
      const field = root.querySelector("input");
      if (field === null) throw new Error("there is no search");
      field.value = text;
      field.dispatchEvent(new Event("input"));
      await settled();
    };
    return { root, asked, names, search };
  }

  it("offers the models of every provider that can be used", async () => {
    const { root, names } = await opened();

    expect(names()).toEqual(["demo ✓", "gpt-5.5", "gpt-6-astra", "claude-opus-5"]);
    expect(words(root)).toContain("anthropic provided by an admin");
    expect(words(root)).not.toContain("groq");
  });

  it("searches their lists", async () => {
    const { root, names, search } = await opened();
    await search("opus");
    expect(names()).toEqual(["claude-opus-5"]);
    await search("nothing");
    expect(names()).toEqual([]);
    expect(words(root)).toContain("No model has these words");
  });

  it("finds what is searched for before the first list has come", async () => {
    const { api } = world();
    const root = await shown("model-picker", { api, me: ME } as object);
    root.querySelector<HTMLElement>(".current")?.click();
    await Promise.resolve();
    const field = root.querySelector("input");
    if (field === null) throw new Error("there is no search");
    field.value = "opus";
    field.dispatchEvent(new Event("input"));
    await settled();

    expect([...root.querySelectorAll("li")].map((one) => one.textContent.trim())).toEqual([
      "claude-opus-5",
    ]);
  });

  it("chooses a model and says so to the page", async () => {
    const { root, asked } = await opened();
    let changed = 0;
    document.body.addEventListener("model-changed", () => (changed += 1), { once: true });
    [...root.querySelectorAll<HTMLElement>("li button")].at(-1)?.click();
    await settled();

    expect(asked).toEqual([["PUT /api/model", { provider: "anthropic", model: "claude-opus-5" }]]);
    expect(changed).toBe(1);
    expect(root.querySelector(".panel")).toBeNull();
  });

  it("closes on Escape and on a click beside it", async () => {
    const { root } = await opened();
    root
      .querySelector(".panel")
      ?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await settled();
    expect(root.querySelector(".panel")).toBeNull();
    root.querySelector<HTMLElement>(".current")?.click();
    await settled();
    document.body.dispatchEvent(new Event("pointerdown", { bubbles: true }));
    await settled();
    expect(root.querySelector(".panel")).toBeNull();
  });
});

describe("the model's settings", () => {
  const pick = async (root: ShadowRoot, id: string) => {
    const number = CHOICE.providers.findIndex((one) => one.id === id);
    const field = [...root.querySelectorAll<HTMLInputElement>('input[name="provider"]')][number];
    field?.dispatchEvent(new Event("change"));
    await settled();
  };

  it("need no key for what an admin provides", async () => {
    const { api } = world();
    const root = await shown("settings-model", { api } as object);
    expect(words(root)).toContain("Provided by an admin");
    await pick(root, "anthropic");
    expect(root.querySelector<HTMLInputElement>("#key")?.required).toBe(false);
    await pick(root, "groq");
    expect(root.querySelector<HTMLInputElement>("#key")?.required).toBe(true);
  });

  it("take the address of an own server", async () => {
    const { api, asked } = world();
    const root = await shown("settings-model", { api } as object);
    await pick(root, "own");
    const field = (id: string) => root.querySelector<HTMLInputElement>(id);
    const [url, model] = [field("#url"), field("#model")];
    if (url === null || model === null) throw new Error("fields are missing");
    expect(url.required).toBe(true);
    url.value = "http://ollama.lan:11434";
    model.value = "llama3";
    model.dispatchEvent(new Event("input"));
    root.querySelector("form")?.requestSubmit();
    await settled();

    expect(asked).toEqual([
      ["PUT /api/model", { provider: "own", model: "llama3", url: "http://ollama.lan:11434" }],
    ]);
  });

  it("say when a model is not provided any more", async () => {
    const { api } = world({ ...CHOICE, provider: "groq", model: "m", demo: false, usable: false });
    const root = await shown("settings-model", { api } as object);
    expect(words(root)).toContain("No admin provides this model to you any more");
  });
});

describe("shared keys", () => {
  it("are listed with their people, limits and cost", async () => {
    const { api } = world();
    const text = words(await shown("settings-shared-keys", { api } as object));
    expect(text).toContain("OpenAI suspended");
    expect(text).toContain("bob@a.io; each at most $1.00 a day. Key …1234.");
    expect(text).toContain("$3.50");
  });

  it("are given to chosen people with a limit", async () => {
    const { api, asked } = world();
    const root = await shown("settings-shared-keys", { api } as object);
    const select = root.querySelector("select");
    if (select === null) throw new Error("no provider can be chosen");
    select.value = "groq";
    select.dispatchEvent(new Event("change"));
    await settled();
    root.querySelector('input[value="chosen"]')?.dispatchEvent(new Event("change"));
    await settled();
    const field = (name: string) => root.querySelector<HTMLInputElement>(`input[name="${name}"]`);
    const [key, day, user] = [field("key"), field("dayUsd"), field("user")];
    if (key === null || day === null || user === null) throw new Error("fields are missing");
    key.value = "gsk-1";
    day.value = "0.5";
    user.checked = true;
    root.querySelector("form")?.requestSubmit();
    await settled();

    expect(asked).toEqual([
      [
        "PUT /api/admin/shared-keys/groq",
        {
          key: "gsk-1",
          everyone: false,
          userIds: ["bob"],
          suspended: false,
          dayUsd: 0.5,
          monthUsd: null,
        },
      ],
    ]);
  });

  it("are ended after a second click", async () => {
    const { api, asked } = world();
    const root = await shown("settings-shared-keys", { api } as object);
    root.querySelector("sure-button")?.dispatchEvent(new Event("sure"));
    await settled();
    expect(asked.map(([what]) => what)).toEqual(["DELETE /api/admin/shared-keys/openai"]);
  });
});
