/** What a call of a tool does, in words. Names of other tools come from their servers. */

import type { WireTool } from "../api/generated";
import { visibleName } from "../tools/visible-text";

/** OpenClaw's own tools: while they run, and afterwards. */
const OWN = new Map<string, readonly [string, string]>(
  Object.entries({
    exec: ["Running a command", "Ran a command"],
    bash: ["Running a command", "Ran a command"],
    process: ["Waiting for a command", "Waited for a command"],
    read: ["Reading a file", "Read a file"],
    write: ["Writing a file", "Wrote a file"],
    edit: ["Changing a file", "Changed a file"],
    apply_patch: ["Changing files", "Changed files"],
    web_search: ["Searching the web", "Searched the web"],
    web_fetch: ["Reading a web page", "Read a web page"],
    browser: ["Using a browser", "Used a browser"],
    memory_search: ["Searching its memory", "Searched its memory"],
    memory_get: ["Reading its memory", "Read its memory"],
    cron: ["Looking after its jobs", "Looked after its jobs"],
    message: ["Sending a message", "Sent a message"],
    image: ["Looking at a picture", "Looked at a picture"],
    pdf: ["Reading a PDF", "Read a PDF"],
    sessions_spawn: ["Starting a sub-agent", "Started a sub-agent"],
    tool_search: ["Looking for a tool", "Looked for a tool"],
    tool_describe: ["Reading about a tool", "Read about a tool"],
  } as const),
);

export function toolTitle({ name, state }: WireTool): string {
  const running = state === "running";
  const own = OWN.get(name);
  if (own !== undefined) return own[running ? 0 : 1];
  const [server = "", tool] = name.split("__", 2);
  const used = running ? "Using" : "Used";
  return tool === undefined
    ? `${used} ${visibleName(name)}`
    : `${used} ${visibleName(tool)} of ${visibleName(server)}`;
}
