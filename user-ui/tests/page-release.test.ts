import { afterEach, describe, expect, it, vi } from "vitest";

import { pageRelease } from "../src/views/page-release";

function answer(text: string, status = 200): void {
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(text, { status })));
}

afterEach(() => vi.unstubAllGlobals());

describe("the page's own release", () => {
  it("is what the deploy wrote", async () => {
    answer("20261123T220100Z-0123456789ab\n");
    expect(await pageRelease()).toBe("20261123T220100Z-0123456789ab");
  });

  it("is empty in a checkout, where the page is the answer to every path, and when nobody answers", async () => {
    answer("<!doctype html>");
    expect(await pageRelease()).toBe("");
    answer("", 404);
    expect(await pageRelease()).toBe("");
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("offline")));
    expect(await pageRelease()).toBe("");
  });
});
