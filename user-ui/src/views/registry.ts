/**
 * The views beside the chat. A new view is one entry here and one file, which is loaded when the
 * view is first opened.
 */

import { html, type TemplateResult } from "lit";

import type { Api } from "../api/client";
import type { Me } from "../api/generated";
import type { ChatSession } from "../chat/session";
import {
  adminIcon,
  agentIcon,
  connectionsIcon,
  settingsIcon,
  toolsIcon,
} from "../components/icons";

/** What a view gets of the page. A view reports changes to `me` as the event `me-changed`. */
export interface ViewContext {
  readonly api: Api;
  readonly me: Me;
  /** The conversation that was last on the screen, with the agent's state and the decisions. */
  readonly session: ChatSession;
}

export interface View {
  readonly path: string;
  readonly title: string;
  readonly icon: TemplateResult;
  /** Only admins see it. */
  readonly admin?: boolean;
  readonly load: () => Promise<unknown>;
  readonly render: (context: ViewContext) => TemplateResult;
}

export const VIEWS: readonly View[] = [
  {
    path: "/tools",
    title: "Tools",
    icon: toolsIcon,
    load: () => import("./tools-view"),
    render: ({ api, me, session }) =>
      html`<tools-view role="main" .api=${api} .session=${session} .me=${me}></tools-view>`,
  },
  {
    path: "/connections",
    title: "Connections",
    icon: connectionsIcon,
    load: () => import("./connections-view"),
    render: ({ api, me }) =>
      html`<connections-view role="main" .api=${api} .me=${me}></connections-view>`,
  },
  {
    path: "/agent",
    title: "Your agent",
    icon: agentIcon,
    load: () => import("./agent-view"),
    render: ({ api, me }) => html`<agent-view role="main" .api=${api} .me=${me}></agent-view>`,
  },
  {
    path: "/admin",
    title: "Administration",
    icon: adminIcon,
    admin: true,
    load: () => import("./admin-view"),
    render: ({ api, me }) => html`<admin-view role="main" .api=${api} .me=${me}></admin-view>`,
  },
  {
    path: "/settings",
    title: "Settings",
    icon: settingsIcon,
    load: () => import("./settings-view"),
    render: ({ api, me }) =>
      html`<settings-view role="main" .api=${api} .me=${me}></settings-view>`,
  },
];

export function viewAt(path: string): View | undefined {
  return VIEWS.find((view) => view.path === path);
}

/** The views that this user may open, in the order of the sidebar. */
export function viewsOf(me: Me): readonly View[] {
  return VIEWS.filter((view) => view.admin !== true || me.user.role === "admin");
}
