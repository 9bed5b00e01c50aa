/** The routes of the pages about connections, as functions. Loaded with those pages only. */

import type { Api } from "./client";
import type { ClientBody, KeyBody, Rule } from "./generated";

export class ConnectionsApi {
  constructor(private readonly api: Api) {}

  all = () => this.api.call("GET /api/connections", {});
  /** Begin to connect an account, or to connect one again; returns the provider's address. */
  start = async (provider: string, scopes: string[] | null, connectionId: string | null) =>
    (
      await this.api.call("POST /api/connections/start", {
        body: {
          provider,
          ...(scopes === null ? {} : { scopes }),
          ...(connectionId === null ? {} : { connectionId }),
        },
      })
    ).url;
  addKey = (body: KeyBody) => this.api.call("POST /api/connections/keys", { body });
  renewKey = (id: string, key: string) =>
    this.api.call("PUT /api/connections/keys/{connection_id}", {
      path: { connection_id: id },
      body: { key },
    });
  test = (id: string) =>
    this.api.call("POST /api/connections/{connection_id}/test", { path: { connection_id: id } });
  disconnect = (id: string) =>
    this.api.call("DELETE /api/connections/{connection_id}", { path: { connection_id: id } });

  /** The rules for reading and changing; a connection with an API is a server of tools, too. */
  servers = async () => (await this.api.call("GET /api/tools", {})).servers;
  setRule = (id: string, tool: string, rule: Rule | null) =>
    this.api.call("PUT /api/tools/servers/{server_id}/rule", {
      path: { server_id: id },
      body: { tool, rule },
    });

  clients = () => this.api.call("GET /api/admin/integrations", {});
  putClient = (provider: string, body: ClientBody) =>
    this.api.call("PUT /api/admin/integrations/{provider}", { path: { provider }, body });
  removeClient = (provider: string) =>
    this.api.call("DELETE /api/admin/integrations/{provider}", { path: { provider } });
}
