/** The page's paths, and the token in a sign-in link. */

import { MAIN } from "../chat/protocol";
import { viewAt } from "./registry";

const CONVERSATION = /^\/c\/((?:d-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** The path on the screen; that of an address which the page does not have is `null`. */
export function pathNow(): string | null {
  const path = location.pathname;
  return path === "/sign-in" || isInPage(path) ? path : null;
}

export function goTo(path: string, { replace = false } = {}): void {
  if (path === location.pathname) return;
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
}

/** The address of a conversation. */
export function conversationPath(id: string): string {
  return id === MAIN ? "/" : `/c/${id}`;
}

/** The conversation at a path; null for other paths. */
export function conversationAt(path: string | null): string | null {
  if (path === "/") return MAIN;
  return path === null ? null : (CONVERSATION.exec(path)?.[1] ?? null);
}

/**
 * The token of `/sign-in#<token>`, or null. It is removed from the address bar and the history at
 * once, so that neither keeps it.
 */
export function takeSignInToken(): string | null {
  const token = location.hash.slice(1);
  if (location.pathname !== "/sign-in" || token === "") return null;
  history.replaceState(null, "", "/sign-in");
  return token;
}

/** The path of a plain click on a link within the page; null for every other click. */
export function inPageTarget(event: MouseEvent): string | null {
  if (event.defaultPrevented || event.button !== 0) return null;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return null;
  for (const node of event.composedPath()) {
    if (!(node instanceof HTMLAnchorElement)) continue;
    const href = node.getAttribute("href");
    return href !== null && isInPage(href) ? href : null;
  }
  return null;
}

/** Whether the page has a view or a conversation at this path. */
export function isInPage(path: string): boolean {
  return conversationAt(path) !== null || viewAt(path) !== undefined;
}

/** The number in `/tools?decision=<number>`, the link to one call; null without one. */
export function wantedNumber(): number | null {
  const number = Number(new URLSearchParams(location.search).get("decision"));
  return Number.isSafeInteger(number) && number > 0 ? number : null;
}

/** The id in `/connections?provider=<id>`, the link to connect an account there; null without one. */
export function wantedProvider(): string | null {
  return new URLSearchParams(location.search).get("provider");
}
