// @vitest-environment jsdom
import { expect, it } from "vitest";

import { Api } from "../src/api/client";

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** The app renders a view at once, and its code comes later. */
it.each([
  ["agent-view", () => import("../src/views/agent-view"), "GET /api/agent/panel"],
  ["admin-view", () => import("../src/views/admin-view"), "GET /api/admin/users"],
])("%s works when its code comes after its element", async (name, load, request) => {
  const sent: string[] = [];
  const api = new Api("", (url, init) => {
    sent.push(`${init.method ?? ""} ${url}`);
    return Promise.reject(new TypeError("offline"));
  });
  const view = document.createElement(name);
  Object.assign(view, { api, me: { user: { id: "a", role: "admin" }, mail: true } });
  document.body.append(view);
  await load();
  await settled();
  expect(sent).toContain(request);
  view.remove();
});
