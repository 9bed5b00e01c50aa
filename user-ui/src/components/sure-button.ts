/** A button that needs confirmation: the first press asks, the second dispatches `sure`. */

import { LitElement, css, html } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { base, controls } from "../styles/controls";

@customElement("sure-button")
export class SureButton extends LitElement {
  /** The button's text, e.g. “Sign out”. */
  @property() label = "";
  /** The object of the action, for screen readers, e.g. “ Firefox on Linux”. */
  @property() what = "";
  /** The question of the second press; by default the label with a question mark. */
  @property() question = "";
  @state() private asked = false;
  @query("button") private firstButton!: HTMLButtonElement | null;

  static override styles = [
    base,
    controls,
    css`
      div {
        display: flex;
        gap: 0.375rem;
      }
    `,
  ];

  override render() {
    const what = html`<span class="unseen">${this.what}</span>`;
    return this.asked
      ? html`<div @focusout=${this.onFocusOut}>
          <button class="small danger" @click=${this.onSure}>
            ${this.question || `${this.label}?`}${what}
          </button>
          <button class="small plain" @click=${this.onKeep}>Cancel</button>
        </div>`
      : html`<button class="small plain" @click=${this.onAsk}>${this.label}${what}</button>`;
  }

  private readonly onAsk = async () => {
    this.asked = true;
    await this.updateComplete;
    this.firstButton?.focus();
  };

  private readonly onKeep = () => {
    this.asked = false;
  };

  private readonly onSure = () => {
    this.asked = false;
    this.dispatchEvent(new CustomEvent("sure"));
  };

  private readonly onFocusOut = (event: FocusEvent) => {
    const to = event.relatedTarget;
    if (!(to instanceof Node && this.renderRoot.contains(to))) this.asked = false;
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "sure-button": SureButton;
  }
}
