import { describe, expect, it } from "vitest";

import type { ConnectionView } from "../src/api/generated";
import { ownScopes } from "../src/connections/own-scopes";
import { connectionTrouble, disconnectedText, resultOf, stateTag } from "../src/connections/texts";

const CONNECTION: ConnectionView = {
  id: "1",
  provider: "github",
  name: "GitHub",
  kind: "oauth",
  account: "octocat",
  state: "ok",
  trouble: null,
  scopes: [],
  missing: [],
  hosts: ["api.github.com"],
  since: "2026-11-30T12:00:00Z",
  connectedAt: "2026-11-30T12:00:00Z",
  expiresAt: null,
  lastUsedAt: null,
  lastUsedFor: null,
};

describe("a connection in words", () => {
  it("names its state and the cure", () => {
    expect(stateTag("ok")).toBeNull();
    expect(connectionTrouble(CONNECTION)).toBeNull();
    for (const state of ["expiring", "reconnect"] as const) {
      expect(stateTag(state)).not.toBeNull();
      expect(connectionTrouble({ ...CONNECTION, state })).toContain("Connect it again");
    }
    const said = connectionTrouble({ ...CONNECTION, trouble: "It is down.\u202e" });
    expect(said).toContain("It is down.");
    expect(said).not.toContain("\u202e");
  });

  it("says how connecting ended, whatever the address holds", () => {
    expect(resultOf("")).toBeNull();
    expect(resultOf("?result=connected")?.good).toBe(true);
    expect(resultOf("?result=refused")?.text).toContain("did not allow it");
    const made = resultOf("?result=<b>call+0800</b>");
    expect(made?.good).toBe(false);
    expect(made?.text).not.toContain("0800");
    expect(resultOf("?result=constructor")?.text).toBeTypeOf("string");
  });

  it("says whether the access has ended at the provider, too", () => {
    expect(disconnectedText("GitHub", { revoked: true, byHand: null })).toContain("there, too");
    expect(disconnectedText("X", { revoked: false, byHand: "https://a.example/" })).toContain(
      "https://a.example/",
    );
    expect(disconnectedText("X", { revoked: false, byHand: null })).toContain("here");
  });
});

describe("scopes of an own provider", () => {
  it("are one a line, each with what it permits", () => {
    expect(ownScopes("openid Know you\n\n  notes  Read notes \nplain")).toEqual([
      { id: "openid", text: "Know you", required: true },
      { id: "notes", text: "Read notes", required: false },
      { id: "plain", text: "plain", required: false },
    ]);
    expect(ownScopes("")).toEqual([]);
  });
});
