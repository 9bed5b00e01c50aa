// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import type { BudgetView, UsageAnswer, UsageRow } from "../src/api/generated";
import { costOf, dollars } from "../src/components/money";
import "../src/views/settings-costs";
import "../src/views/settings-usage";

const ROW: UsageRow = {
  day: "2026-11-23",
  provider: "openai",
  model: "gpt-x",
  source: "chat",
  requests: 2,
  estimated: 0,
  unpriced: 0,
  tokensIn: 1200,
  tokensOut: 30,
  cached: 1000,
  cacheWritten: 0,
  reasoning: 0,
  costUsd: 1.5,
};
const BUDGET: BudgetView = {
  daySoftUsd: 1,
  dayHardUsd: 2,
  monthSoftUsd: null,
  monthHardUsd: null,
  keptForJobsUsd: 0,
  daySpentUsd: 1.5,
  monthSpentUsd: 1.5,
  told: "day",
  reached: null,
};
const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const barsOf = (root: ShadowRoot) => [
  ...(root.querySelector("day-plot")?.shadowRoot?.querySelectorAll<HTMLElement>("li") ?? []),
];

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

async function shown(usage: Partial<UsageAnswer>, zoneStatus = 200) {
  const asked: string[] = [];
  const answer = { timeZone: HERE, today: "2026-11-23", rows: [], budget: null, ...usage };
  const api = new Api("", (url, init) => {
    asked.push(`${init.method ?? ""} ${url}`);
    if (init.method === "PUT") return Promise.resolve(new Response("{}", { status: zoneStatus }));
    return Promise.resolve(new Response(JSON.stringify(answer)));
  });
  const view = document.createElement("settings-usage");
  view.api = api;
  document.body.append(view);
  await settled();
  const root = view.shadowRoot;
  if (root === null) throw new Error("the section has no content");
  return { asked, root, text: root.textContent.replace(/\s+/g, " ") };
}

describe("a user's usage", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("is plotted by day and listed by model", async () => {
    const later = { ...ROW, day: "2026-11-24", costUsd: 0.75 };
    const { root, text } = await shown({ rows: [ROW, later, { ...later, model: "other" }] });
    const bars = barsOf(root);

    expect(bars.map((bar) => bar.style.height)).toEqual(["100%", "100%"]);
    expect(text).toContain("$3.00");
    expect(text).toContain("gpt-x");
    expect(text).toContain("other");
  });

  it("never shows an unknown price as nothing", async () => {
    const { text } = await shown({ rows: [{ ...ROW, costUsd: null, unpriced: 2 }] });

    expect(text).toContain("price not known");
    expect(text).not.toContain("$0");
  });

  it("says when a budget is nearly used up, and when it is", async () => {
    expect((await shown({ budget: BUDGET })).text).toContain(
      "nearly used up. $1.50 of $2.00 today",
    );
    const reached = { ...BUDGET, reached: "day" as const };
    expect((await shown({ budget: reached })).text).toContain("Your budget is used up");
  });

  it("is shown although the server does not know this browser's time zone", async () => {
    const { text } = await shown({ timeZone: "Antarctica/Troll", rows: [ROW] }, 422);

    expect(text).toContain("$1.50");
  });

  it("tells the server this browser's time zone once", async () => {
    expect((await shown({ timeZone: "Antarctica/Troll" })).asked).toEqual([
      "GET /api/usage",
      "PUT /api/usage/time-zone",
      "GET /api/usage",
    ]);
    expect((await shown({})).asked).toEqual(["GET /api/usage"]);
  });
});

describe("the costs of all", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  async function costs() {
    const asked: [string, unknown][] = [];
    const bob = { ...ROW, userId: "bob", email: "bob@a.io" };
    const api = new Api("", (url, init) => {
      if (init.method === "PUT") asked.push([url, JSON.parse(init.body as string) as unknown]);
      const budgets = { total: null, users: [{ ...BUDGET, userId: "bob", email: "bob@a.io" }] };
      const days = [ROW, { ...ROW, day: "2026-11-24", costUsd: 0.75 }];
      const usage = { users: [bob], days, pricesProblem: "prices.toml is not used" };
      return Promise.resolve(
        new Response(JSON.stringify(url.endsWith("/usage") ? usage : budgets)),
      );
    });
    const view = document.createElement("settings-costs");
    view.api = api;
    document.body.append(view);
    await settled();
    const root = view.shadowRoot;
    if (root === null) throw new Error("the section has no content");
    return { root, asked, text: () => root.textContent.replace(/\s+/g, " ") };
  }

  it("are plotted by day", async () => {
    const { root } = await costs();
    const bars = barsOf(root);

    expect(bars.map((bar) => bar.style.height)).toEqual(["100%", "50%"]);
    expect(bars[1]?.title).toBe("2026-11-24: $0.75, 1.2K tokens");
  });

  it("are listed by person with their limits", async () => {
    const { text } = await costs();

    expect(text()).toContain("bob@a.io");
    expect(text()).toContain("$1.50 of $2.00 today");
    expect(text()).toContain("no limit");
    expect(text()).toContain("prices.toml is not used");
  });

  it("get a limit; an empty field is none", async () => {
    const { root, asked } = await costs();
    root.querySelector<HTMLElement>('button[aria-label$="of bob@a.io"]')?.click();
    await settled();
    const field = root.querySelector<HTMLInputElement>('input[name="monthHardUsd"]');
    if (field !== null) field.value = "20";
    root.querySelector("form")?.requestSubmit();
    await settled();

    expect(asked).toEqual([
      [
        "/api/admin/budgets/users/bob",
        {
          daySoftUsd: 1,
          dayHardUsd: 2,
          monthSoftUsd: null,
          monthHardUsd: 20,
          keptForJobsUsd: 0,
        },
      ],
    ]);
  });
});

describe("amounts", () => {
  it("are short and honest", () => {
    expect([0, 0.004, 0.5, 1234.5].map(dollars)).toEqual([
      "$0",
      "less than $0.01",
      "$0.50",
      "$1,234.50",
    ]);
    expect(costOf([ROW, { ...ROW, costUsd: null, unpriced: 2 }])).toBe(
      "$1.50, and 2 of 4 requests without a known price",
    );
  });
});
