/** A tool server's state in words. Pure. */

import type { ServerView } from "../api/generated";
import { visible } from "./visible-text";

interface Tag {
  readonly text: string;
  readonly kind: "" | "off" | "warn";
}

export function serverTags(server: ServerView): Tag[] {
  const tags: Tag[] = [];
  if (server.shared) tags.push({ text: "shared", kind: "" });
  if (!server.enabled) tags.push({ text: "disabled", kind: "off" });
  else if (!server.connected) tags.push({ text: "not connected", kind: "warn" });
  else if (server.installing) tags.push({ text: "being installed", kind: "warn" });
  else if (server.credentialState === "missing") tags.push({ text: "key missing", kind: "warn" });
  else if (server.credentialState === "refused") tags.push({ text: "key rejected", kind: "off" });
  return tags;
}

/** What is wrong and what to do about it; null when all is well. */
export function troubleText(server: ServerView): string | null {
  if (!server.connected || !server.enabled || server.installing) return null;
  switch (server.credentialState) {
    case "missing":
      return "This server needs a key from you. Enter it; it works at once.";
    case "refused":
      return "This server rejected your key, which may have expired. Enter a new one; it works at once.";
    default:
      return server.trouble === null ? null : visible(server.trouble);
  }
}
