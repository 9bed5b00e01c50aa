/** Which messages of a long conversation are rendered: those near the screen. Pure. */

/** Indexes of messages: from `from` up to, without, `to`. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** The messages that `top` to `bottom` touch, measured from the first one's top in pixels. */
export function rangeAt(heights: readonly number[], top: number, bottom: number): Range {
  let at = 0;
  let from = 0;
  while (from < heights.length - 1 && at + (heights[from] ?? 0) <= top) {
    at += heights[from] ?? 0;
    from += 1;
  }
  let to = from;
  while (to < heights.length && (to === from || at < bottom)) {
    at += heights[to] ?? 0;
    to += 1;
  }
  return { from, to };
}

/** The sum of the heights from `from` to `to`. */
export function heightOf(heights: readonly number[], from: number, to: number): number {
  let sum = 0;
  for (let index = from; index < to; index += 1) sum += heights[index] ?? 0;
  return sum;
}

/**
 * What to render next on the way from `current` to `wanted`: at most `step` more messages, those on
 * the screen first. What is far from `wanted` is dropped.
 */
export function nextRange(current: Range, wanted: Range, seen: Range, step: number): Range {
  const apart = current.to <= seen.from || current.from >= seen.to || current.to <= current.from;
  let from = apart ? seen.from : Math.max(current.from, wanted.from);
  let to = apart ? seen.from : Math.min(current.to, wanted.to);
  let left = step;
  while (left > 0 && (from > wanted.from || to < wanted.to)) {
    // First down to the end of the screen, then alternately.
    const down = to < wanted.to && (to < seen.to || from === wanted.from || left % 2 === 0);
    if (down) to += 1;
    else from -= 1;
    left -= 1;
  }
  return { from, to };
}
