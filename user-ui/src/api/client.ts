/** The management server's API as functions; a failed request throws a `Problem`. */

import { again, WAITS_MS } from "./again";
import type { BudgetRequest, Decision, ModelRequest, ProviderId, Routes } from "./generated";
import { problemOf, unreachable } from "./problem";

type Send = (url: string, init: RequestInit) => Promise<Response>;

interface AnyRequest {
  readonly path?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Bytes to send as they are, instead of a body in JSON. */
  readonly content?: Blob;
}

export class Api {
  /** Called when any request answers 401. */
  onSignedOut: (() => void) | null = null;

  /** `base` is the server's origin, or empty for the page's own. */
  constructor(
    private readonly base: string,
    private readonly send: Send = (url, init) => fetch(url, init),
    /** Before a request that only reads is sent again, because no server answered. */
    private readonly waits = WAITS_MS,
  ) {}

  /** The address of the chat socket. */
  chatUrl(pageOrigin: string): string {
    return new URL("/api/chat", this.base || pageOrigin).href.replace(/^http/, "ws");
  }

  /** The address of a route, for a link. */
  url(path: string, query: Readonly<Record<string, string>>): string {
    return `${this.base}${path}?${new URLSearchParams(query).toString()}`;
  }

  me = () => this.call("GET /api/me", {});

  askForLink = (email: string) => this.call("POST /api/auth/link", { body: { email } });
  linkAccount = (token: string) => this.call("POST /api/auth/link/account", { body: { token } });
  useToken = (token: string) => this.call("POST /api/auth/session", { body: { token } });
  useCode = (code: string) => this.call("POST /api/auth/session", { body: { code } });
  signOut = () => this.call("DELETE /api/auth/session", {});
  sessions = async () => (await this.call("GET /api/auth/sessions", {})).sessions;
  endSession = (id: string) =>
    this.call("DELETE /api/auth/sessions/{session_id}", { path: { session_id: id } });

  endAllSessions = () => this.call("DELETE /api/auth/sessions", {});

  provision = () => this.call("POST /api/agent", {});

  /** `version` is that of the approval which the user saw. */
  decide = (id: string, decision: Decision, version: number) =>
    this.call("POST /api/approvals/{approval_id}/decision", {
      path: { approval_id: id },
      body: { decision, version },
    });

  model = () => this.call("GET /api/model", {});
  chooseModel = (body: ModelRequest) => this.call("PUT /api/model", { body });
  removeKey = (provider: ProviderId) =>
    this.call("DELETE /api/model/keys/{provider}", { path: { provider } });

  models = (provider: ProviderId, search = "") =>
    this.call("GET /api/model/models", { query: { provider, search } });

  usage = () => this.call("GET /api/usage", {});
  setTimeZone = (timeZone: string) => this.call("PUT /api/usage/time-zone", { body: { timeZone } });

  allUsage = () => this.call("GET /api/admin/usage", {});
  budgets = () => this.call("GET /api/admin/budgets", {});
  setTotalBudget = (body: BudgetRequest) => this.call("PUT /api/admin/budgets/total", { body });
  setBudget = (id: string, body: BudgetRequest) =>
    this.call("PUT /api/admin/budgets/users/{user_id}", { path: { user_id: id }, body });

  /** Send one request of a route; views that are loaded on demand have their routes with them. */
  async call<R extends keyof Routes>(
    route: R,
    parts: Omit<Routes[R], "answer"> & AnyRequest,
  ): Promise<Routes[R]["answer"]> {
    const text = await (await this.request(route, parts)).text();
    return (text === "" ? undefined : JSON.parse(text)) as Routes[R]["answer"];
  }

  /** The same for an answer that is not JSON. */
  async request<R extends keyof Routes>(
    route: R,
    { path = {}, query, body, content }: Omit<Routes[R], "answer"> & AnyRequest,
  ): Promise<Response> {
    const [method = "", pattern = ""] = route.split(" ");
    const url = pattern.replace(/{(\w+)}/g, (_, name: string) =>
      encodeURIComponent(path[name] ?? ""),
    );
    const init: RequestInit = { method, credentials: "include", cache: "no-store" };
    if (body !== undefined) {
      init.headers = { "Content-Type": "application/json" };
      init.body = JSON.stringify(body);
    } else if (content !== undefined) {
      init.headers = { "Content-Type": "application/octet-stream" };
      init.body = content;
    }
    let response: Response;
    try {
      const search = query === undefined ? "" : `?${new URLSearchParams(query).toString()}`;
      const send = () => this.send(this.base + url + search, init);
      response = await (method === "GET" ? again(send, this.waits) : send());
    } catch {
      throw unreachable();
    }
    if (!response.ok) {
      if (response.status === 401) this.onSignedOut?.();
      throw await problemOf(response);
    }
    return response;
  }
}
