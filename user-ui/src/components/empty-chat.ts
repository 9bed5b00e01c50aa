/** Shown in an empty conversation: what an agent is, and messages to begin with. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";

import { base, controls } from "../styles/controls";
import "./agent-face";

const BEGINNINGS = [
  "What can you do for me?",
  "Help me plan my week",
  "Explain something I should know",
];

@customElement("empty-chat")
export class EmptyChat extends LitElement {
  @property({ type: Boolean }) demo = false;
  /** The agent's name, empty without one, and its face. */
  @property() name = "";
  @property() face = "";

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
        margin: auto;
        padding: 1rem 0;
        max-width: 32rem;
        text-align: center;
      }
      agent-face {
        font-size: 2.5rem;
      }
      h2 {
        margin: 0 0 0.5rem;
        font-size: 1.625rem;
        line-height: 1.25;
        letter-spacing: -0.01em;
      }
      p {
        margin: 0 0 1rem;
      }
      ul {
        display: flex;
        flex-wrap: wrap;
        justify-content: center;
        gap: 0.5rem;
        margin: 1.5rem 0;
        padding: 0;
        list-style: none;
      }
      button.plain {
        border-color: var(--line);
        background: var(--surface);
        font-weight: 500;
      }
      .demo {
        padding: 0.875rem 1rem;
        border-radius: var(--radius);
        background: var(--waking-soft);
        color: var(--waking);
        text-align: left;
      }
      .demo a {
        color: inherit;
        font-weight: 600;
      }
    `,
  ];

  override render() {
    return html`
      ${this.face === "" ? nothing : html`<agent-face .face=${this.face}></agent-face>`}
      <h2>
        ${this.name === "" ? "This is your own agent" : `This is ${this.name}, your own agent`}
      </h2>
      <p class="muted">
        It works for you alone and remembers your conversations. It sleeps while you are away; your
        next message wakes it.
      </p>
      <ul aria-label="Ways to begin">
        ${BEGINNINGS.map(
          (text) =>
            html`<li>
              <button class="plain small" @click=${() => this.begin(text)}>${text}</button>
            </li>`,
        )}
      </ul>
      ${
        this.demo
          ? html`<p class="demo">
              The built-in demo model answers for now. It lets you try everything out, but its
              answers are canned. <a href="/settings">Add your own key</a> to use a real model.
            </p>`
          : nothing
      }
    `;
  }

  private begin(text: string): void {
    this.dispatchEvent(new CustomEvent("begin", { detail: text }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "empty-chat": EmptyChat;
  }
}
