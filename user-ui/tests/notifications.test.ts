// @vitest-environment jsdom
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Api } from "../src/api/client";
import { begin, support } from "../src/notifications/push";
import "../src/views/settings-notifications";

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A browser with one subscription at most, and a server. */
function world(
  set: {
    on?: boolean;
    permission?: string;
    subscribed?: boolean;
    /** Whether the browser takes the worker; it does not from an address with a doubtful certificate. */
    works?: boolean;
  } = {},
) {
  const { permission = "granted", subscribed = false, works = true } = set;
  let { on = false } = set;
  const calls: string[] = [];
  let subscription: object | null = null;
  const subscribe = (options?: unknown) => {
    if (options !== undefined) calls.push("subscribe");
    subscription = {
      toJSON: () => ({ endpoint: "https://push/1", keys: { p256dh: "p", auth: "a" } }),
      unsubscribe: () => {
        calls.push("unsubscribe");
        subscription = null;
        return Promise.resolve(true);
      },
    };
    return Promise.resolve(subscription);
  };
  if (subscribed) void subscribe();
  const registration = {
    pushManager: { subscribe, getSubscription: () => Promise.resolve(subscription) },
  };
  const worker = Object.assign(new EventTarget(), {
    register: () =>
      works
        ? Promise.resolve(registration)
        : Promise.reject(new DOMException("certificate", "SecurityError")),
    ready: works ? Promise.resolve(registration) : new Promise(() => undefined),
  });
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("PushManager", Object);
  vi.stubGlobal("Notification", {
    permission,
    requestPermission: () => Promise.resolve(permission),
  });
  Object.defineProperty(navigator, "serviceWorker", { value: worker, configurable: true });
  const api = new Api("", (url, { method = "", body }) => {
    calls.push(`${method} ${url.replace("/api/notifications", "")}`);
    if (method === "PUT" && url.endsWith("subscription")) on = true;
    if (method === "DELETE") on = false;
    if (url.endsWith("attention")) calls.push(body as string);
    const answer = method === "GET" ? JSON.stringify({ key: "k", on, anywhere: on }) : "";
    return Promise.resolve(new Response(answer || null, { status: answer ? 200 : 204 }));
  });
  return { api, calls, worker };
}

async function settings(api: Api) {
  const view = Object.assign(document.createElement("settings-notifications"), { api });
  document.body.append(view);
  await settled();
  const root = view.shadowRoot;
  if (root === null) throw new Error("the section has no content");
  return { root, input: root.querySelector("input"), text: () => root.textContent };
}

beforeEach(() => vi.useRealTimers());

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
  Reflect.deleteProperty(navigator, "serviceWorker");
});

describe("the switch for notifications", () => {
  it("subscribes and tells the server, in place of what another session left", async () => {
    const { api, calls } = world({ subscribed: true });
    const { input } = await settings(api);
    input?.click();
    await settled();
    expect(calls).toEqual(["GET ", "unsubscribe", "subscribe", "PUT /subscription", "GET "]);
    expect(input?.checked).toBe(true);
  });

  it("stays off when the person refuses, and says how to allow it", async () => {
    const { api, calls } = world({ permission: "default" });
    const { input, text } = await settings(api);
    vi.stubGlobal("Notification", {
      permission: "denied",
      requestPermission: () => Promise.resolve("denied"),
    });
    input?.click();
    await settled();
    expect(calls).toEqual(["GET ", "GET "]);
    expect(text()).toContain("blocks notifications of this page");
  });

  it("turns them off at the server and in the browser", async () => {
    const { api, calls } = world({ on: true, subscribed: true });
    const { input, text } = await settings(api);
    expect(input?.checked).toBe(true);
    input?.click();
    await settled();
    expect(calls.slice(1)).toEqual(["DELETE /subscription", "unsubscribe", "GET "]);
    expect(text()).toContain("gets no notifications any more");
  });

  it("stays off, and can be tried again, where no worker can start", async () => {
    const { api, calls } = world({ works: false });
    const { input, text } = await settings(api);
    input?.click();
    await settled();
    expect(calls).toEqual(["GET "]);
    expect([input?.checked, input?.disabled]).toEqual([false, false]);
    expect(text()).toContain("refuses notifications here");
  });

  it.each([
    ["insecure", { isSecureContext: false }, "only for pages with https"],
    ["none", { PushManager: undefined }, "has no notifications"],
  ])("says why there is none: %s", async (why, globals, words) => {
    const { api } = world();
    for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
    if (why === "none") Reflect.deleteProperty(globalThis, "PushManager");
    expect(support()).toBe(why);
    const { input, text } = await settings(api);
    expect(input).toBeNull();
    expect(text()).toContain(words);
  });
});

describe("a device", () => {
  const mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.6 Safari/605.1.15";

  it.each([
    ["an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)", 5, "install"],
    ["an iPad", mac, 5, "install"],
    ["a Mac", mac, 0, "none"],
    ["an app's window", "Mozilla/5.0 (Linux; Android 16; wv)", 5, "none"],
  ])(
    "without notifications is told what it can do: %s",
    (_, userAgent, maxTouchPoints, expected) => {
      world();
      Reflect.deleteProperty(globalThis, "Notification");
      vi.stubGlobal("navigator", { serviceWorker: {}, userAgent, maxTouchPoints });
      expect(support()).toBe(expected);
    },
  );
});

describe("a notification that is pressed", () => {
  /** Press one while these windows are open; what the worker does about them. */
  async function press(urls: string[]): Promise<string[]> {
    const done: string[] = [];
    const listeners = new Map<string, (event: unknown) => void>();
    const windows = urls.map((url) => ({
      url,
      postMessage: () => done.push(`told ${url}`),
      focus: () => Promise.resolve(),
    }));
    const context = {
      URL,
      location: new URL("https://ocmt.example.com/sw.js"),
      self: { addEventListener: listeners.set.bind(listeners) },
      clients: {
        matchAll: () => Promise.resolve(windows),
        openWindow: (path: string) => Promise.resolve(done.push(`opened ${path}`)),
      },
    };
    runInNewContext(readFileSync("public/sw.js", "utf8"), context);
    listeners.get("notificationclick")?.({
      notification: { close: () => undefined, data: "/c/1" },
      waitUntil: () => undefined,
    });
    await settled();
    return done;
  }

  it("leads to an open page, not to a file in a tab of its own", async () => {
    const file = "https://ocmt.example.com/api/chat/files/1";
    const page = "https://ocmt.example.com/settings";
    expect(await press([file, page])).toEqual([`told ${page}`]);
    expect(await press([file, "https://other.example.com/"])).toEqual(["opened /c/1"]);
  });
});

describe("a page that is opened", () => {
  it("ends a subscription of an earlier session", async () => {
    const { api, calls } = world({ subscribed: true });
    (await begin(api, () => undefined))();
    expect(calls.slice(0, 2)).toEqual(["GET ", "unsubscribe"]);
  });

  it("makes one anew that the browser lost", async () => {
    const { api, calls } = world({ on: true });
    (await begin(api, () => undefined))();
    expect(calls.slice(0, 3)).toEqual(["GET ", "subscribe", "PUT /subscription"]);
  });

  it("says that it is visible, again each minute, and when it is hidden, until it ends", async () => {
    const { api, calls } = world();
    vi.useFakeTimers();
    const end = await begin(api, () => undefined);
    const visible = vi.spyOn(document, "visibilityState", "get");
    const told = () => calls.filter((call) => call.startsWith("{"));
    visible.mockReturnValue("visible");
    vi.advanceTimersByTime(120_000);
    visible.mockReturnValue("hidden");
    document.dispatchEvent(new Event("visibilitychange"));
    vi.advanceTimersByTime(120_000);
    end();
    document.dispatchEvent(new Event("visibilitychange"));
    expect(told().slice(1)).toEqual(['{"visible":true}', '{"visible":true}', '{"visible":false}']);
  });

  it("says that it is visible where no worker can start, too", async () => {
    const { api, calls } = world({ works: false });
    (await begin(api, () => undefined))();
    expect(calls).toContain("PUT /attention");
  });

  it("says that it is visible before any device is notified: one may be at any time", async () => {
    const { api, calls } = world();
    (await begin(api, () => undefined))();
    expect(calls).toContain("PUT /attention");
  });

  it("shows what a notification is about", async () => {
    const { api, worker } = world();
    const paths: string[] = [];
    const end = await begin(api, (path) => paths.push(path));
    for (const data of [{ type: "go-to", path: "/c/1" }, null, { type: "other", path: "/x" }]) {
      worker.dispatchEvent(new MessageEvent("message", { data }));
    }
    end();
    worker.dispatchEvent(new MessageEvent("message", { data: { type: "go-to", path: "/y" } }));
    expect(paths).toEqual(["/c/1"]);
  });
});
