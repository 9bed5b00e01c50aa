// @vitest-environment jsdom
import { describe, expect, it } from "vitest";

import { SignInTarget, withinThePage } from "../src/views/sign-in-target";
import { MemoryStorage } from "./storage";

const ORIGIN = "https://ocmt.example";
const HOUR_MS = 3_600_000;

describe("the address after a sign-in", () => {
  it.each(["/tools?decision=7", "/tools?decisions", "/tools", "/settings", "/settings?a=b"])(
    "is what was wanted: %s",
    (address) => {
      expect(withinThePage(address, ORIGIN)).toBe(address);
    },
  );

  it.each([
    "https://evil.example/tools",
    "//evil.example/tools",
    "/\\evil.example/tools",
    "/\t/evil.example/tools",
    "javascript:alert(1)//tools",
    "tools",
    "/tools/../api/me",
    "/tools@evil.example",
    "/api/tools",
    "/sign-in?x#y",
    "",
    "/",
  ])("is the chat for every other: %s", (address) => {
    expect(withinThePage(address, ORIGIN)).toBe("/");
  });

  it("leaves out the fragment, and resolves dots within the page", () => {
    expect(withinThePage("/tools?decision=7#x", ORIGIN)).toBe("/tools?decision=7");
    expect(withinThePage("/a/../tools", ORIGIN)).toBe("/tools");
  });

  it("reaches the tab that the mailed link opens, and this one, once each", () => {
    const storage = new MemoryStorage();
    const here = new SignInTarget(storage);
    const there = new SignInTarget(storage);
    here.remember("/tools?decision=7");
    expect(there.take()).toBe("/tools?decision=7");
    expect(there.take()).toBe("/");
    expect(here.take()).toBe("/tools?decision=7");
    expect(here.take()).toBe("/");
  });

  it("is forgotten after an hour, by a sign-out, and when the storage was tampered with", () => {
    const storage = new MemoryStorage();
    let now = 0;
    new SignInTarget(storage, () => now).remember("/settings");
    now = HOUR_MS;
    expect(new SignInTarget(storage, () => now).take()).toBe("/");

    const target = new SignInTarget(storage);
    target.remember("/settings");
    target.forget();
    expect(target.take()).toBe("/");

    for (const value of ["{", "7", '{"target":"https://evil.example","at":0}', '{"at":0}']) {
      storage.setItem("ocmt.after-sign-in", value);
      expect(new SignInTarget(storage, () => 0).take()).toBe("/");
    }
  });

  it("survives a browser that refuses storage", () => {
    const refusing = new Proxy(new MemoryStorage(), {
      get: () => () => {
        throw new Error("refused");
      },
    });
    const target = new SignInTarget(refusing);
    target.remember("/settings");
    expect(target.take()).toBe("/settings");
    expect(target.take()).toBe("/");
  });
});
