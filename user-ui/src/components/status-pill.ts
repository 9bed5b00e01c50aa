/** The agent's state in one word, taken only from the server's last status. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";

import type { ChatState } from "../chat/state";
import { base } from "../styles/controls";
import { alertIcon, dotIcon, moonIcon, ringIcon, sunIcon } from "./icons";

export type Mood = "connecting" | "setting-up" | "asleep" | "waking" | "awake" | "trouble";

/** The mood to show. Without a connection it is `trouble` or `connecting`, not the last state. */
export function moodOf(state: ChatState): Mood {
  if (state.connection === "offline") return "trouble";
  if (state.connection !== "open") return state.connection === "waiting" ? "trouble" : "connecting";
  if (!state.statusFresh) return "connecting";
  switch (state.status?.state) {
    case "none":
    case "provisioning":
      return "setting-up";
    case "paused":
    case "stopped":
      return "asleep";
    case "waking":
      return "waking";
    case "running":
      return "awake";
    case "failed":
    case "unreachable":
      return "trouble";
    default:
      return "connecting";
  }
}

const FACES: Record<Mood, { label: string; icon: TemplateResult }> = {
  connecting: { label: "Connecting", icon: ringIcon },
  "setting-up": { label: "Setting up", icon: ringIcon },
  asleep: { label: "Asleep", icon: moonIcon },
  waking: { label: "Waking", icon: sunIcon },
  awake: { label: "Awake", icon: dotIcon },
  trouble: { label: "Trouble", icon: alertIcon },
};

@customElement("status-pill")
export class StatusPill extends LitElement {
  @property() mood: Mood = "connecting";

  static override styles = [
    base,
    css`
      span {
        display: inline-flex;
        align-items: center;
        gap: 0.375rem;
        padding: 0.25rem 0.75rem 0.25rem 0.5rem;
        border-radius: 999px;
        background: var(--sunken);
        color: var(--muted);
        font-size: 0.875rem;
        font-weight: 600;
        line-height: 1.4;
        white-space: nowrap;
        transition:
          background-color 200ms,
          color 200ms;
      }
      svg {
        width: 1rem;
        height: 1rem;
      }
      [data-state="awake"] {
        background: var(--accent-soft);
        color: var(--accent-strong);
      }
      [data-state="asleep"] {
        background: var(--asleep-soft);
        color: var(--asleep);
      }
      [data-state="waking"],
      [data-state="setting-up"] {
        background: var(--waking-soft);
        color: var(--waking);
      }
      [data-state="trouble"] {
        background: var(--danger-soft);
        color: var(--danger);
      }
      [data-state="setting-up"] svg,
      [data-state="waking"] svg,
      [data-state="connecting"] svg {
        animation: turn 2s linear infinite;
      }
      @keyframes turn {
        to {
          transform: rotate(1turn);
        }
      }
    `,
  ];

  override render() {
    const { label, icon } = FACES[this.mood];
    return html`<span role="status" aria-live="polite" data-state=${this.mood}>
      ${icon}<b class="unseen">Your agent:</b>${label}
    </span>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "status-pill": StatusPill;
  }
}
