/** The routes of the agent's panel, as functions. Loaded with that page only. */

import type { Api } from "./client";
import type { IdentityRequest, OwnTimes } from "./generated";

const CONTENT = "/api/agent/files/content";

export class AgentApi {
  constructor(private readonly api: Api) {}

  panel = () => this.api.call("GET /api/agent/panel", {});
  wake = () => this.api.call("POST /api/agent/wake", {});
  restart = () => this.api.call("POST /api/agent/restart", {});
  setTimes = (body: OwnTimes) => this.api.call("PUT /api/agent/times", { body });
  setIdentity = (body: IdentityRequest) => this.api.call("PUT /api/agent/identity", { body });
  usage = () => this.api.usage();

  jobs = async () => (await this.api.call("GET /api/agent/jobs", {})).jobs;
  runJob = (id: string) =>
    this.api.call("POST /api/agent/jobs/{job_id}/run", { path: { job_id: id } });
  enableJob = (id: string, enabled: boolean) =>
    this.api.call("PATCH /api/agent/jobs/{job_id}", { path: { job_id: id }, body: { enabled } });
  removeJob = (id: string) =>
    this.api.call("DELETE /api/agent/jobs/{job_id}", { path: { job_id: id } });

  log = async () => (await this.api.call("GET /api/agent/log", {})).text;

  files = (path: string) => this.api.call("GET /api/agent/files", { query: { path } });
  fileUrl = (path: string) => this.api.url(CONTENT, { path });
  fileText = async (path: string) =>
    (await this.api.request("GET /api/agent/files/content", { query: { path } })).text();
  upload = (path: string, content: Blob) =>
    this.api.call("PUT /api/agent/files/content", { query: { path }, content });
}
