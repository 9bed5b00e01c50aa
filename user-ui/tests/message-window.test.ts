import { describe, expect, it } from "vitest";

import { heightOf, nextRange, rangeAt } from "../src/components/message-window";

const HUNDREDS = Array.from({ length: 10_000 }, () => 100);

describe("the messages near the screen", () => {
  it("are those that it touches", () => {
    expect(rangeAt(HUNDREDS, 250, 600)).toEqual({ from: 2, to: 6 });
    expect(rangeAt(HUNDREDS, -500, 300)).toEqual({ from: 0, to: 3 });
    expect(rangeAt(HUNDREDS, 999_950, 1_000_500)).toEqual({ from: 9_999, to: 10_000 });
    expect(rangeAt([5_000, 10], 2_000, 2_500)).toEqual({ from: 0, to: 1 });
    expect(rangeAt([], 0, 800)).toEqual({ from: 0, to: 0 });
  });

  it("leave spaces as high as the others", () => {
    expect(heightOf([10, 20, 30], 1, 3)).toBe(50);
    expect(heightOf([10], 0, 0)).toBe(0);
  });
});

describe("rendering", () => {
  it("goes on in small steps from what is there, the screen first", () => {
    const wanted = { from: 10, to: 40 };
    const seen = { from: 20, to: 30 };
    let range = { from: 18, to: 22 };
    const steps = [];
    while (range.from > wanted.from || range.to < wanted.to) {
      range = nextRange(range, wanted, seen, 6);
      steps.push(range);
    }
    expect(steps[0]).toEqual({ from: 18, to: 28 });
    expect(steps.at(-1)).toEqual(wanted);
    expect(steps.length).toBeLessThanOrEqual(6);
  });

  it("begins at the screen after a jump, and drops what is far away", () => {
    const seen = { from: 5_000, to: 5_008 };
    const wanted = { from: 4_990, to: 5_020 };
    expect(nextRange({ from: 0, to: 40 }, wanted, seen, 6)).toEqual({ from: 5_000, to: 5_006 });
    expect(nextRange({ from: 4_980, to: 5_004 }, wanted, seen, 6)).toEqual({
      from: 4_990,
      to: 5_010,
    });
  });

  it("stays when everything is there", () => {
    const range = { from: 3, to: 9 };
    expect(nextRange(range, range, { from: 5, to: 6 }, 6)).toEqual(range);
  });
});
