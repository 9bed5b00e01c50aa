/** The routes of the admin pages, as functions. Loaded with those pages only. */

import type { Api } from "./client";
import type { Order, ProviderId, Role, SharedKeyRequest } from "./generated";

export class AdminApi {
  constructor(private readonly api: Api) {}

  sharedKeys = () => this.api.call("GET /api/admin/shared-keys", {});
  shareKey = (provider: ProviderId, body: SharedKeyRequest) =>
    this.api.call("PUT /api/admin/shared-keys/{provider}", { path: { provider }, body });
  stopSharingKey = (provider: ProviderId) =>
    this.api.call("DELETE /api/admin/shared-keys/{provider}", { path: { provider } });

  people = async () => (await this.api.call("GET /api/admin/users", {})).users;
  agents = async () => (await this.api.call("GET /api/admin/agents", {})).agents;
  usage = async () => (await this.api.call("GET /api/admin/usage", {})).users;
  setStatus = (id: string, status: "active" | "suspended") =>
    this.api.call("PATCH /api/admin/users/{user_id}", { path: { user_id: id }, body: { status } });
  setRole = (id: string, role: Role) =>
    this.api.call("PATCH /api/admin/users/{user_id}", { path: { user_id: id }, body: { role } });
  remove = (id: string, email: string) =>
    this.api.call("POST /api/admin/users/{user_id}/deletion", {
      path: { user_id: id },
      body: { email },
    });
  order = (id: string, order: Order) =>
    this.api.call("POST /api/admin/agents/{user_id}/order", {
      path: { user_id: id },
      body: { order },
    });

  invitations = async () => (await this.api.call("GET /api/admin/invitations", {})).invitations;
  invite = async (emails: readonly string[]) =>
    (
      await this.api.call("POST /api/admin/invitations/bulk", {
        body: { emails: emails as [string, ...string[]] },
      })
    ).outcomes;
  inviteLink = async (id: string) =>
    (
      await this.api.call("POST /api/admin/invitations/{invitation_id}/link", {
        path: { invitation_id: id },
      })
    ).link;
  withdraw = (id: string) =>
    this.api.call("DELETE /api/admin/invitations/{invitation_id}", { path: { invitation_id: id } });

  host = () => this.api.call("GET /api/admin/host", {});

  audit = (before: number | null) =>
    this.api.call("GET /api/admin/audit", {
      query: { limit: "50", ...(before === null ? {} : { before: String(before) }) },
    });
  auditUrl = () => this.api.url("/api/admin/audit/export", {});
}
