/**
 * What the agent did on the way to an answer: a card for each call of a tool, and what the model
 * thought. Cards are folded; of many, the last ones are shown.
 */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import type { WireTool } from "../api/generated";
import { toolTitle } from "../chat/tool-texts";
import { base, controls } from "../styles/controls";
import { visible } from "../tools/visible-text";
import "./folded-text";
import { alertIcon, checkIcon, ringIcon, stopIcon } from "./icons";

const SHOWN = 3;
const ICONS = { running: ringIcon, done: checkIcon, failed: alertIcon, stopped: stopIcon };

@customElement("tool-calls")
export class ToolCalls extends LitElement {
  @property({ attribute: false }) tools: readonly WireTool[] = [];
  @property() thoughts = "";
  @state() private open = false;

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
        margin-bottom: 0.5rem;
        font-size: 0.875rem;
      }
      ul {
        display: grid;
        gap: 0.375rem;
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        min-width: 0;
      }
      details {
        border: 1px solid var(--line);
        border-radius: 10px;
        background: var(--surface);
      }
      summary {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        min-height: 2.5rem;
        padding: 0.375rem 0.75rem;
        cursor: pointer;
        list-style: none;
      }
      summary::-webkit-details-marker {
        display: none;
      }
      summary svg {
        flex: none;
        width: 1rem;
        height: 1rem;
        color: var(--muted);
      }
      .running svg {
        animation: turn 1s linear infinite;
      }
      .failed svg,
      .failed .ending {
        color: var(--danger);
      }
      .title {
        flex: none;
        max-width: 60%;
        font-weight: 600;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .subject {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        color: var(--muted);
        font-family: var(--mono);
        font-size: 0.8125rem;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .ending {
        flex: none;
        color: var(--muted);
      }
      .inside {
        padding: 0 0.75rem 0.75rem;
      }
      .inside p {
        margin: 0.5rem 0 0.25rem;
        color: var(--muted);
        font-size: 0.8125rem;
      }
      .thoughts {
        margin-bottom: 0.375rem;
      }
      button.quiet {
        margin-bottom: 0.25rem;
        color: var(--accent);
        font-weight: 600;
      }
      @keyframes turn {
        to {
          transform: rotate(1turn);
        }
      }
    `,
  ];

  override render() {
    const { tools } = this;
    const folded = tools.length > SHOWN && !this.open;
    return html`
      ${this.thoughts === "" ? nothing : this.thinking()}
      ${
        tools.length > SHOWN
          ? html`<button class="quiet" aria-expanded=${this.open} @click=${this.onFold}>
              ${folded ? `Show all ${tools.length} steps` : "Show the last steps only"}
            </button>`
          : nothing
      }
      <ul aria-label="What your agent did">
        ${repeat(
          folded ? tools.slice(-SHOWN) : tools,
          ({ id }) => id,
          (tool) => html`<li>${card(tool)}</li>`,
        )}
      </ul>
    `;
  }

  private readonly onFold = () => {
    this.open = !this.open;
  };

  private thinking() {
    return html`<details class="thoughts">
      <summary>Thoughts</summary>
      <div class="inside"><folded-text what="thoughts" .text=${this.thoughts}></folded-text></div>
    </details>`;
  }
}

function card(tool: WireTool) {
  const { state: how, subject, arguments: given, result } = tool;
  return html`<details class=${how} data-state=${how}>
    <summary>
      ${ICONS[how]}<span class="title">${toolTitle(tool)}</span>
      <span class="subject"
        >${subject === undefined ? nothing : html`<bdi>${visible(subject)}</bdi>`}</span
      >
      <span class=${how === "done" ? "unseen" : "ending"}>${how}</span>
    </summary>
    <div class="inside">
      ${part("Given", "arguments", given)} ${part("Result", "result", result)}
      ${given === undefined && result === undefined ? html`<p>Nothing more is known about it.</p>` : nothing}
    </div>
  </details>`;
}

function part(heading: string, what: string, text: string | undefined) {
  if (text === undefined) return nothing;
  return html`<p>${heading}</p>
    <folded-text code what=${what} .text=${text.replaceAll("\t", "    ")}></folded-text>`;
}

declare global {
  interface HTMLElementTagNameMap {
    "tool-calls": ToolCalls;
  }
}
