/** The page's paths, and the token in a sign-in link. */

const PATHS = ["/", "/settings", "/sign-in", "/tools", "/connections", "/agent", "/admin"] as const;

export type Path = (typeof PATHS)[number];

export function pathNow(): Path {
  return PATHS.find((path) => path === location.pathname) ?? "/";
}

export function goTo(path: Path, { replace = false } = {}): void {
  if (path === location.pathname) return;
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
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
export function inPageTarget(event: MouseEvent): Path | null {
  if (event.defaultPrevented || event.button !== 0) return null;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return null;
  for (const node of event.composedPath()) {
    if (!(node instanceof HTMLAnchorElement)) continue;
    const href = node.getAttribute("href");
    return PATHS.find((path) => path === href && path !== "/sign-in") ?? null;
  }
  return null;
}

/** The number in `/tools?decision=<number>`, the link to one call; null without one. */
export function wantedNumber(): number | null {
  const number = Number(new URLSearchParams(location.search).get("decision"));
  return Number.isSafeInteger(number) && number > 0 ? number : null;
}
