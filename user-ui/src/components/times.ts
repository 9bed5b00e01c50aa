/** Times as text, in the browser's language and time zone. `at` and `now` are epoch milliseconds. */

const MINUTE_MS = 60_000;

export function timeLabel(at: number, now: number): string {
  const age = now - at;
  if (age < MINUTE_MS) return "just now";
  if (age < 60 * MINUTE_MS) return `${Math.floor(age / MINUTE_MS)} min ago`;
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

export function fullLabel(at: number): string {
  return new Date(at).toLocaleString([], { dateStyle: "long", timeStyle: "short" });
}

export function dayLabel(at: number, now: number): string {
  const day = startOfDay(at);
  const days = Math.round((startOfDay(now) - day) / (24 * 60 * MINUTE_MS));
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return new Date(at).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

export function startOfDay(at: number): number {
  const day = new Date(at);
  day.setHours(0, 0, 0, 0);
  return day.getTime();
}
