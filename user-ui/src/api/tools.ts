/** The routes of the tools' pages, as functions. Loaded with those pages only. */

import type { Api } from "./client";
import type { NewServer, NewSharedServer, Rule, ServerChange } from "./generated";

export class ToolsApi {
  constructor(private readonly api: Api) {}

  /** Without connected accounts, which have a page of their own. */
  servers = async () =>
    (await this.api.call("GET /api/tools", {})).servers.filter(
      ({ transport }) => transport !== "api",
    );
  add = (body: NewServer) => this.api.call("POST /api/tools/servers", { body });
  change = (id: string, body: ServerChange) =>
    this.api.call("PATCH /api/tools/servers/{server_id}", { path: { server_id: id }, body });
  remove = (id: string) =>
    this.api.call("DELETE /api/tools/servers/{server_id}", { path: { server_id: id } });
  /** Connect a server, or replace the credential for it. */
  connect = (id: string, credential: string) =>
    this.api.call("PUT /api/tools/servers/{server_id}/connection", {
      path: { server_id: id },
      body: credential === "" ? {} : { credential },
    });
  disconnect = (id: string) =>
    this.api.call("DELETE /api/tools/servers/{server_id}/connection", { path: { server_id: id } });
  /** The address at which the person signs in to a server. */
  signIn = async (id: string) =>
    (
      await this.api.call("POST /api/tools/servers/{server_id}/sign-in", {
        path: { server_id: id },
      })
    ).url;
  refresh = (id: string) =>
    this.api.call("POST /api/tools/servers/{server_id}/refresh", { path: { server_id: id } });
  /** Set the rule for a tool, or for the whole server; `null` removes it. */
  setRule = (id: string, tool: string | null, rule: Rule | null) =>
    this.api.call("PUT /api/tools/servers/{server_id}/rule", {
      path: { server_id: id },
      body: tool === null ? { rule } : { tool, rule },
    });
  changes = async (id: string) =>
    (await this.api.call("GET /api/tools/servers/{server_id}/changes", { path: { server_id: id } }))
      .changes;
  accept = (id: string, tool: string, pin: string) =>
    this.api.call("POST /api/tools/servers/{server_id}/changes", {
      path: { server_id: id },
      body: { tool, pin },
    });
  uses = async () => (await this.api.call("GET /api/tools/uses", {})).uses;

  approvals = async () => (await this.api.call("GET /api/approvals", {})).approvals;

  shared = async () => (await this.api.call("GET /api/admin/tools", {})).servers;
  addShared = (body: NewSharedServer) => this.api.call("POST /api/admin/tools/servers", { body });
  changeShared = (id: string, body: ServerChange) =>
    this.api.call("PATCH /api/admin/tools/servers/{server_id}", { path: { server_id: id }, body });
  removeShared = (id: string) =>
    this.api.call("DELETE /api/admin/tools/servers/{server_id}", { path: { server_id: id } });
  setSharedRule = (id: string, tool: string | null, rule: Rule | null) =>
    this.api.call("PUT /api/admin/tools/servers/{server_id}/rule", {
      path: { server_id: id },
      body: tool === null ? { rule } : { tool, rule },
    });
}
