import { describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import { Problem } from "../src/api/problem";

function answering(status: number, body: unknown): [Api, [string, RequestInit][]] {
  const requests: [string, RequestInit][] = [];
  const text = body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body);
  const api = new Api("https://api.example.com", (url, init) => {
    requests.push([url, init]);
    return Promise.resolve(new Response(text, { status }));
  });
  return [api, requests];
}

describe("the API", () => {
  it("is asked at its base, with the session's cookie", async () => {
    const [api, requests] = answering(200, { sessions: [] });
    await api.sessions();
    expect(requests[0]?.[0]).toBe("https://api.example.com/api/auth/sessions");
    expect(requests[0]?.[1].credentials).toBe("include");
  });

  it("has its chat at the same base", () => {
    const [api] = answering(200, {});
    expect(api.chatUrl("https://page.example.com")).toBe("wss://api.example.com/api/chat");
    expect(new Api("").chatUrl("http://127.0.0.1:3000")).toBe("ws://127.0.0.1:3000/api/chat");
  });

  it("passes on what a problem says", async () => {
    const [api] = answering(429, { code: "too-many", detail: "Wait a minute." });
    await expect(api.askForLink("a@example.com")).rejects.toMatchObject({
      status: 429,
      code: "too-many",
      detail: "Wait a minute.",
    });
  });

  it("has a sentence for an error page of something in between", async () => {
    const [api] = answering(502, "<html>Bad gateway</html>");
    const error: unknown = await api.me().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(Problem);
    expect((error as Problem).detail).toContain("502");
  });

  it("has a sentence for no answer at all", async () => {
    const api = new Api("", () => Promise.reject(new TypeError("failed")), []);
    await expect(api.me()).rejects.toMatchObject({ status: 0, code: "unreachable" });
  });

  it.each([
    ["reads again when the network changed", (api: Api) => api.sessions(), 3, true],
    ["never repeats a change by itself", (api: Api) => api.signOut(), 1, false],
  ])("%s", async (_, call, times, works) => {
    let sent = 0;
    const lost = () => Promise.reject(new TypeError("ERR_NETWORK_CHANGED"));
    const api = new Api(
      "",
      () => (++sent < 3 ? lost() : Promise.resolve(new Response('{"sessions":[]}'))),
      [0, 0],
    );
    const outcome = await call(api).then(
      () => true,
      () => false,
    );
    expect([sent, outcome]).toEqual([times, works]);
  });

  it("does not repeat what a server answered with an error", async () => {
    const [api, requests] = answering(503, { code: "database-away", detail: "Wait." });
    await expect(api.model()).rejects.toMatchObject({ status: 503 });
    expect(requests).toHaveLength(1);
  });

  it("notices the end of the session in any answer", async () => {
    const [api] = answering(401, { code: "signed-out", detail: "Sign in." });
    let noticed = 0;
    api.onSignedOut = () => (noticed += 1);
    await expect(api.model()).rejects.toMatchObject({ status: 401 });
    expect(noticed).toBe(1);
  });

  it("takes an empty answer for success", async () => {
    const [api] = answering(204, undefined);
    await expect(api.removeKey("openai")).resolves.toBeUndefined();
  });

  it("cannot be led to another path by an id", async () => {
    const [api, requests] = answering(204, undefined);
    await api.endSession("../users");
    expect(requests[0]?.[0]).toBe("https://api.example.com/api/auth/sessions/..%2Fusers");
  });
});
