/** A text of a tool or its server: as text, with hidden characters escaped, folded if it is long. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import { base, controls } from "../styles/controls";
import { visible } from "../tools/visible-text";

const LONG_LINES = 12;
const LONG_CHARACTERS = 600;

@customElement("folded-text")
export class FoldedText extends LitElement {
  @property() text = "";
  /** The kind of text, for the button and for screen readers, e.g. “arguments”. */
  @property() what = "";
  /** Code, whose line ends and spaces matter. */
  @property({ type: Boolean }) code = false;
  @state() private open = false;

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
        min-width: 0;
      }
      p,
      pre {
        margin: 0;
        overflow-wrap: anywhere;
        white-space: pre-wrap;
      }
      pre {
        padding: 0.625rem 0.75rem;
        border: 1px solid var(--line);
        border-radius: 10px;
        background: var(--sunken);
        font-family: var(--mono);
        font-size: 0.8125rem;
        line-height: 1.5;
      }
      .folded {
        max-height: 12em;
        overflow: hidden;
        mask-image: linear-gradient(#000 75%, transparent);
      }
      button.quiet {
        margin-top: 0.25rem;
        color: var(--accent);
        font-weight: 600;
      }
    `,
  ];

  override render() {
    const text = visible(this.text);
    const lines = text.split("\n").length;
    const long = lines > LONG_LINES || text.length > LONG_CHARACTERS;
    const folded = long && !this.open ? "folded" : "";
    return html`${
      this.code
        ? html`<pre id="text" class=${folded} dir="ltr">${text}</pre>`
        : html`<p id="text" class=${folded} dir="auto">${text}</p>`
    }
    ${
      long
        ? html`<button
            type="button"
            class="quiet"
            aria-expanded=${this.open}
            aria-controls="text"
            @click=${this.onFold}
          >
            ${this.open ? "Show less" : `Show all${lines > LONG_LINES ? ` ${lines} lines` : ""}`}
            <span class="unseen"> of the ${this.what}</span>
          </button>`
        : nothing
    }`;
  }

  private readonly onFold = () => {
    this.open = !this.open;
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "folded-text": FoldedText;
  }
}
