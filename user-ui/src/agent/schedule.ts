/** When a scheduled job runs, in words. */

import type { Job } from "../api/generated";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const UNITS = [
  [86_400_000, "day"],
  [3_600_000, "hour"],
  [60_000, "minute"],
  [1_000, "second"],
] as const;

export function scheduleText(job: Job): string {
  if (job.everyMs) return every(job.everyMs);
  if (job.at) {
    const at = Date.parse(job.at);
    if (Number.isNaN(at)) return job.at;
    return `Once, ${new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
  }
  if (!job.cron) return "When something happens";
  return `${cron(job.cron)}${job.timeZone ? ` (${job.timeZone})` : ""}`;
}

function every(ms: number): string {
  const [size, name] = UNITS.find(([size]) => ms % size === 0) ?? [ms, "time"];
  const number = ms / size;
  return number === 1 ? `Every ${name}` : `Every ${number} ${name}s`;
}

/** The common expressions in words; any other as it is. */
function cron(expression: string): string {
  const fields = /^(\d{1,2}) (\d{1,2}) \* \* (\*|\d|\d-\d)$/.exec(expression);
  if (fields === null) return `Cron ${expression}`;
  const [, minute = "", hour = "", day = ""] = fields;
  const time = `${hour.padStart(2, "0")}:${minute.padStart(2, "0")}`;
  if (day === "*") return `Every day at ${time}`;
  const [first = "", last] = day.split("-").map((number) => DAYS[Number(number) % 7] ?? "");
  return last === undefined ? `Every ${first} at ${time}` : `${first} to ${last} at ${time}`;
}
