/** Connections in words. Pure. */

import type { ConnectionView, Disconnected, ConnectableProvider } from "../api/generated";
import { visibleName } from "../tools/visible-text";

interface Tag {
  readonly text: string;
  readonly kind: "" | "off" | "warn";
}

export function stateTag(state: ConnectionView["state"]): Tag | null {
  switch (state) {
    case "expiring":
      return { text: "expires soon", kind: "warn" };
    case "reconnect":
      return { text: "connect again", kind: "off" };
    default:
      return null;
  }
}

/** What is wrong and what to do about it; null when all is well. */
export function connectionTrouble(connection: ConnectionView): string | null {
  if (connection.trouble !== null) return visibleName(connection.trouble, 500);
  if (connection.state === "reconnect") return "Its access has ended. Connect it again.";
  if (connection.state === "expiring") {
    return "Its access ends soon and cannot be renewed. Connect it again.";
  }
  return null;
}

interface Result {
  readonly text: string;
  readonly good: boolean;
}

const RESULTS: Readonly<Record<string, Result>> = {
  connected: { text: "Connected. Your agent can use it from its next message on.", good: true },
  "fewer-scopes": {
    text: "Connected, but you did not allow everything. What is missing is listed below; connect it again to allow it.",
    good: true,
  },
  "another-account": {
    text: "You signed in with another account, so that one is connected now. The one that you meant to connect again is unchanged: sign out at the provider first.",
    good: false,
  },
  refused: { text: "You did not allow it, so nothing was connected.", good: false },
  "state-wrong": {
    text: "This answer was used before, is older than ten minutes, or belongs to another sign-in. Start again.",
    good: false,
  },
  "signed-out": {
    text: "You were signed out here meanwhile, so nothing was connected. Start again.",
    good: false,
  },
  "issuer-wrong": {
    text: "The answer came from another provider than the one you chose, so it was not used. Start again; if it happens again, tell an admin.",
    good: false,
  },
  "no-answer": {
    text: "The provider did not answer, so nothing was connected. Try again in a minute.",
    good: false,
  },
  "no-tokens": {
    text: "The provider gave no access, so nothing was connected. Start again; if it happens again, tell an admin.",
    good: false,
  },
  "account-unknown": {
    text: "The provider did not tell whose account it is, so nothing was connected. Start again.",
    good: false,
  },
  "client-wrong": {
    text: "The provider rejects this installation. Ask an admin to check its client id and secret under Settings.",
    good: false,
  },
  "client-gone": {
    text: "An admin removed this provider meanwhile. Nothing was connected.",
    good: false,
  },
  "provider-error": {
    text: "The provider reported an error, so nothing was connected. Start again; if it happens again, tell an admin.",
    good: false,
  },
  "server-problem": {
    text: "This server could not store the connection. Try again in a minute.",
    good: false,
  },
};

/** The outcome in `/connections?result=…`; null without one. */
export function resultOf(search: string): Result | null {
  const code = new URLSearchParams(search).get("result");
  if (code === null) return null;
  return RESULTS[code] ?? { text: "Nothing was connected. Start again.", good: false };
}

export function disconnectedText(name: string, { revoked, byHand }: Disconnected): string {
  const shown = visibleName(name);
  if (revoked) return `${shown} is disconnected, and its access has ended there, too.`;
  return byHand === null
    ? `${shown} is disconnected here. End the access there, too, if it has a list of apps.`
    : `${shown} is disconnected here. End the access there, too: ${byHand}`;
}

/** The scopes chosen at first: those that only read, or the required ones. */
export function chosenAtFirst(provider: ConnectableProvider): Set<string> {
  return new Set(provider.scopes.filter((scope) => scope.required).map((scope) => scope.id));
}
