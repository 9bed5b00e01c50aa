/** What the management server's HTTP API says, in its own words (camelCase JSON). */

export type AgentState =
  "none" | "provisioning" | "running" | "paused" | "stopped" | "waking" | "failed" | "unreachable";

export interface AgentStatus {
  readonly state: AgentState;
  /** A sentence for people, or null when there is nothing to say. */
  readonly detail: string | null;
  readonly since: string | null;
}

export interface User {
  readonly id: string;
  readonly email: string;
  readonly role: "admin" | "member";
}

export interface Me {
  readonly user: User;
  readonly model: { readonly provider: string; readonly model: string; readonly demo: boolean };
  readonly version: string;
  /** Whether the server can mail sign-in links and invitations. */
  readonly mail: boolean;
}

/** A session here, or the digits to type into the browser that asked for the link. */
export type SignInOutcome = { readonly user: User } | { readonly code: string };

export interface Session {
  readonly id: string;
  readonly createdAt: string;
  readonly lastUsedAt: string;
  readonly userAgent: string;
  readonly current: boolean;
}

export interface Provider {
  readonly id: string;
  readonly name: string;
  readonly keySet: boolean;
  readonly keyHint: string | null;
  readonly models: readonly string[];
}

export interface ModelChoice {
  readonly provider: string;
  readonly model: string;
  readonly demo: boolean;
  readonly providers: readonly Provider[];
}

export interface ModelChange {
  readonly provider: string;
  readonly model: string;
  readonly key?: string;
}

export interface Person {
  readonly id: string;
  readonly email: string;
  readonly role: "admin" | "member";
  readonly status: "active" | "suspended";
  readonly createdAt: string;
  readonly lastSignInAt: string | null;
}

export interface Invitation {
  readonly id: string;
  readonly email: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}
