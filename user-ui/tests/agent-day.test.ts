import { describe, expect, it } from "vitest";

import { DAY_MS, bytes, reason, span, stretches, summary, took, wakes } from "../src/agent/day";
import { scheduleText } from "../src/agent/schedule";
import type { AgentPanelView, Job, StateEvent } from "../src/api/generated";
import { heartbeatCost } from "../src/views/agent-times";

const NOW = Date.parse("2026-11-30T12:00:00Z");
const HOUR = 3_600_000;

function event(hoursAgo: number, change: Partial<StateEvent>): StateEvent {
  return {
    userId: "ada",
    at: new Date(NOW - hoursAgo * HOUR).toISOString(),
    fromState: "paused",
    toState: "running",
    who: "user",
    why: "http request",
    ...change,
  };
}

const DAY = [
  event(30, { fromState: null, toState: "paused", who: "policy", why: "idle" }),
  event(10, { toState: "waking", who: "job" }),
  event(9.99, { fromState: "waking", who: "job", durationMs: 7_400 }),
  event(9, { fromState: "running", toState: "paused", who: "policy", why: "idle" }),
  event(8.9, { fromState: "paused", toState: "paused", who: "policy", why: "memory" }),
  event(2, { toState: "waking" }),
  event(1.99, { fromState: "waking", durationMs: 180 }),
];

describe("the last day", () => {
  it("is a row of stretches without gaps, which ends now", () => {
    const day = stretches(DAY, NOW);
    expect(day.map(({ kind }) => kind)).toEqual([
      "asleep",
      "waking",
      "job",
      "asleep",
      "waking",
      "awake",
    ]);
    expect(day[0]?.from).toBe(NOW - DAY_MS);
    expect(day.at(-1)?.to).toBe(NOW);
    for (const [index, one] of day.slice(1).entries()) expect(one.from).toBe(day[index]?.to);
    expect(summary(day)).toMatch(/awake for 2 h.*jobs 59 min.*asleep for 21 h/);
  });

  it("has its wakes with their times, newest first", () => {
    expect(wakes(DAY, NOW).map(({ tookMs, why }) => [tookMs, why])).toEqual([
      [180, "by a message or request of yours"],
      [7_400, "for a scheduled job"],
    ]);
  });

  it.each([[[]], [[event(0, {})]], [[event(-5, {})]]])("of few events is no trouble", (events) => {
    expect(stretches(events, NOW)).toEqual([]);
  });
});

describe("the reason", () => {
  const panel = (change: Partial<AgentPanelView>): AgentPanelView =>
    ({ state: "running", awakeBecause: [], events: DAY, times: null, ...change }) as AgentPanelView;

  it("is what keeps it awake, or what woke it", () => {
    expect(reason(panel({}))).toBe("It was woken by a message or request of yours");
    expect(reason(panel({ awakeBecause: ["1 background command"] }))).toBe(
      "It is busy: 1 background command",
    );
  });

  it.each([
    ["policy", "idle", "was not used"],
    ["policy", "it uses too much of the disk", "disk"],
    ["pressure", "", "another agent"],
    ["operator", "ordered", "order"],
    [null, "", "by itself"],
  ] as const)("for its sleep by %s", (who, why, text) => {
    const events = [event(1, { fromState: "running", toState: "stopped", who, why })];
    expect(reason(panel({ state: "stopped", events }))).toContain(text);
  });
});

describe("a schedule in words", () => {
  const job = (change: Partial<Job>): Job => ({ name: "x", ...change }) as Job;
  it.each([
    [{ cron: "0 8 * * *", timeZone: "Europe/Berlin" }, "Every day at 08:00 (Europe/Berlin)"],
    [{ cron: "30 17 * * 1-5" }, "Monday to Friday at 17:30"],
    [{ cron: "5 9 * * 7" }, "Every Sunday at 09:05"],
    [{ cron: "*/5 * * * *" }, "Cron */5 * * * *"],
    [{ everyMs: 1_800_000 }, "Every 30 minutes"],
    [{ everyMs: 86_400_000 }, "Every day"],
    [{ at: "tomorrow-ish" }, "tomorrow-ish"],
    [{}, "When something happens"],
  ])("%o", (change, text) => {
    expect(scheduleText(job(change))).toBe(text);
  });
});

describe("a heartbeat's cost", () => {
  const used = [{ requests: 48, costUsd: 0.24, unpriced: 0 }] as never;
  it("is told before it is turned on, with what those before cost", () => {
    expect(heartbeatCost(null, null)).toContain("costs a model call");
    expect(heartbeatCost(30, null)).toBe("48 wakes and model calls a day.");
    expect(heartbeatCost(30, used)).toBe(
      "48 wakes and model calls a day, about $0.24 a day. The last 30 days: 48 calls for $0.24.",
    );
    expect(heartbeatCost(1440, [])).toBe("One wake and model call a day.");
  });
});

it("writes sizes and times as people read them", () => {
  expect([bytes(0), bytes(2048), bytes(900 * 1024 ** 2), bytes(1.5 * 1024 ** 3)]).toEqual([
    "0 bytes",
    "2 KB",
    "900 MB",
    "1.5 GB",
  ]);
  expect([span(45_000), span(12 * 60_000), span(2 * HOUR), span(2 * HOUR + 60_000)]).toEqual([
    "45 s",
    "12 min",
    "2 h",
    "2 h 1 min",
  ]);
  expect([took(180), took(7_400)]).toEqual(["180 ms", "7.4 s"]);
});
