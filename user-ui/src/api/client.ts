/** The management server's API as functions: one place that knows paths and how errors look. */

import { problemOf, unreachable } from "./problem";
import type {
  Invitation,
  Me,
  ModelChange,
  ModelChoice,
  Person,
  Session,
  SignInOutcome,
} from "./types";

type Send = (url: string, init: RequestInit) => Promise<Response>;
type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export class Api {
  /** Called when the session is over, whichever request noticed it. */
  onSignedOut: (() => void) | null = null;

  /** `base` is the server's origin, or empty for the page's own. */
  constructor(
    private readonly base: string,
    private readonly send: Send = (url, init) => fetch(url, init),
  ) {}

  /** Where the chat socket is. */
  chatUrl(pageOrigin: string): string {
    return new URL("/api/chat", this.base || pageOrigin).href.replace(/^http/, "ws");
  }

  me = () => this.call<Me>("GET", "/api/me");

  askForLink = (email: string) =>
    this.call<{ message: string }>("POST", "/api/auth/link", { email });
  useToken = (token: string) => this.call<SignInOutcome>("POST", "/api/auth/session", { token });
  useCode = (code: string) => this.call<SignInOutcome>("POST", "/api/auth/session", { code });
  signOut = () => this.call<undefined>("DELETE", "/api/auth/session");
  sessions = async () =>
    (await this.call<{ sessions: Session[] }>("GET", "/api/auth/sessions")).sessions;
  endSession = (id: string) => this.call<undefined>("DELETE", `/api/auth/sessions/${segment(id)}`);

  provision = () => this.call<unknown>("POST", "/api/agent");

  model = () => this.call<ModelChoice>("GET", "/api/model");
  chooseModel = (change: ModelChange) => this.call<ModelChoice>("PUT", "/api/model", change);
  removeKey = (provider: string) =>
    this.call<undefined>("DELETE", `/api/model/keys/${segment(provider)}`);

  people = async () => (await this.call<{ users: Person[] }>("GET", "/api/admin/users")).users;
  setStatus = (id: string, status: Person["status"]) =>
    this.call<Person>("PATCH", `/api/admin/users/${segment(id)}`, { status });
  invitations = async () =>
    (await this.call<{ invitations: Invitation[] }>("GET", "/api/admin/invitations")).invitations;
  invite = (email: string) => this.call<Invitation>("POST", "/api/admin/invitations", { email });
  revokeInvitation = (id: string) =>
    this.call<undefined>("DELETE", `/api/admin/invitations/${segment(id)}`);

  private async call<T>(method: Method, path: string, body?: unknown): Promise<T> {
    const init: RequestInit = { method, credentials: "include", cache: "no-store" };
    if (body !== undefined) {
      init.headers = { "Content-Type": "application/json" };
      init.body = JSON.stringify(body);
    }
    let response: Response;
    try {
      response = await this.send(this.base + path, init);
    } catch {
      throw unreachable();
    }
    if (!response.ok) {
      if (response.status === 401) this.onSignedOut?.();
      throw await problemOf(response);
    }
    const text = await response.text();
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }
}

function segment(value: string): string {
  return encodeURIComponent(value);
}
