/**
 * The address within the page that a signed-out user wanted, such as a link to a decision.
 *
 * This tab keeps it in memory; the browser's storage has it for the tab that the mailed link opens.
 */

import { isInPage } from "./location";

const KEY = "ocmt.after-sign-in";
/** A link lasts ten minutes, and a new one can be requested. */
const KEPT_MS = 60 * 60 * 1_000;

/** The path and query of an address within the page; "/" for every other address. */
export function withinThePage(address: string, origin: string = location.origin): string {
  if (!address.startsWith("/") || !URL.canParse(address, origin)) return "/";
  const { origin: of, pathname, search } = new URL(address, origin);
  return of === origin && isInPage(pathname) ? pathname + search : "/";
}

export class SignInTarget {
  private mine: string | null = null;

  constructor(
    private readonly storage: Storage = localStorage,
    private readonly now: () => number = Date.now,
  ) {}

  remember(address: string): void {
    const target = withinThePage(address);
    if (target === "/") return;
    this.mine = target;
    this.write(JSON.stringify({ target, at: this.now() }));
  }

  /** The address to show now. It is then forgotten. */
  take(): string {
    const target = this.mine ?? this.stored();
    this.forget();
    return withinThePage(target);
  }

  forget(): void {
    this.mine = null;
    this.write("");
  }

  private stored(): string {
    try {
      const kept: unknown = JSON.parse(this.storage.getItem(KEY) ?? "null");
      if (typeof kept !== "object" || kept === null) return "/";
      const { target, at } = kept as { target?: unknown; at?: unknown };
      const fresh = typeof at === "number" && Math.abs(this.now() - at) < KEPT_MS;
      return fresh && typeof target === "string" ? target : "/";
    } catch {
      return "/";
    }
  }

  private write(value: string): void {
    try {
      if (value === "") this.storage.removeItem(KEY);
      else this.storage.setItem(KEY, value);
    } catch {
      // Some private modes refuse storage: this tab still has it.
    }
  }
}
