/** The scopes of the operator's own provider, as they are entered. Pure. */

import type { OwnEndpoints } from "../api/generated";

type Scopes = NonNullable<OwnEndpoints["scopes"]>;

/** `openid Know which account it is`, one a line. `openid` is always asked for. */
export function ownScopes(text: string): Scopes {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => {
      const [id = "", ...words] = line.split(/\s+/);
      return { id, text: words.join(" ") || id, required: id === "openid" };
    });
}
