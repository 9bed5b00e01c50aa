/** Plots of the host's last day, in a box of 1440 (minutes) by 100. */

import { DAY_MS } from "../agent/day";
import type { HostSample, WakeSample } from "../api/generated";

export interface Dot {
  readonly x: number;
  readonly y: number;
  /** Woken from `stopped`, that is, booted. */
  readonly cold: boolean;
}

/** The points of a line of the memory in use, in percent. */
export function memoryLine(samples: readonly HostSample[], now: number): string {
  return samples
    .filter(({ total }) => total > 0)
    .map(({ at, total, available }) => {
      const used = (100 * (total - available)) / total;
      return `${minute(at, now).toFixed(1)},${(100 - used).toFixed(1)}`;
    })
    .join(" ");
}

/** Wakes by time and, on a logarithmic scale from 10 ms to 100 s, by duration. */
export function wakeDots(
  wakes: readonly WakeSample[],
  now: number,
): { readonly dots: readonly Dot[]; readonly median: number; readonly slowest: number } {
  const times = wakes.map(({ durationMs }) => durationMs).sort((one, other) => one - other);
  return {
    dots: wakes.map(({ at, durationMs, fromState }) => ({
      x: minute(at, now),
      y: 100 - Math.min(100, Math.max(0, 25 * (Math.log10(Math.max(durationMs, 1)) - 1))),
      cold: fromState === "stopped",
    })),
    median: times[Math.floor((times.length - 1) / 2)] ?? 0,
    slowest: times.at(-1) ?? 0,
  };
}

function minute(at: string, now: number): number {
  return Math.min(1440, Math.max(0, (Date.parse(at) - now + DAY_MS) / 60_000));
}
