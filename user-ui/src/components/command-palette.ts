/**
 * The command palette: go to a page or a conversation, begin one, or change the theme, by keyboard.
 *
 * A combobox with its list, in a modal dialog. The dispatched events are the page's own: `go-to` with
 * a path, `new-conversation`.
 */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { WireConversation } from "../api/generated";
import { base, controls } from "../styles/controls";
import type { View } from "../views/registry";
import { commands, found, type Command } from "./commands";

@customElement("command-palette")
export class CommandPalette extends LitElement {
  @property({ attribute: false }) views: readonly View[] = [];
  @property({ attribute: false }) conversations: readonly WireConversation[] = [];
  @state() private words = "";
  /** The place of the active command in what is found. */
  @state() private active = 0;
  @query("dialog") private dialog!: HTMLDialogElement;
  @query("input") private input!: HTMLInputElement;
  @query("[aria-selected=true]") private chosen!: HTMLElement | null;

  static override styles = [
    base,
    controls,
    css`
      dialog {
        width: min(36rem, calc(100vw - 2rem));
        max-height: min(30rem, calc(100dvh - 2rem));
        margin: max(1rem, 12dvh) auto auto;
        padding: 0;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
        color: var(--ink);
        box-shadow: var(--shadow);
        overflow: hidden;
      }
      dialog[open] {
        display: flex;
        flex-direction: column;
      }
      dialog::backdrop {
        background: rgb(0 0 0 / 40%);
      }
      .field {
        padding: 0.75rem;
        border-bottom: 1px solid var(--line);
      }
      .list {
        min-height: 0;
        padding: 0.375rem;
        overflow-y: auto;
      }
      [role="option"] {
        display: flex;
        align-items: baseline;
        gap: 0.75rem;
        padding: 0.5rem 0.625rem;
        border-radius: 10px;
        cursor: pointer;
      }
      [role="option"][aria-selected="true"] {
        background: var(--accent-soft);
      }
      .name {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .kind,
      .none {
        color: var(--muted);
        font-size: 0.8125rem;
      }
      .none {
        margin: 0;
        padding: 0.75rem;
      }
    `,
  ];

  override render() {
    const shown = this.found();
    return html`<dialog
      aria-label="Commands"
      @close=${() => this.dispatchEvent(new CustomEvent("closed"))}
    >
      <div class="field">
        <input
          type="text"
          role="combobox"
          aria-label="Command"
          aria-autocomplete="list"
          aria-controls="commands"
          aria-expanded=${shown.length > 0}
          aria-activedescendant=${shown.length === 0 ? nothing : `command-${this.active}`}
          autocomplete="off"
          spellcheck="false"
          placeholder="Go to a page or a conversation, or do something"
          .value=${this.words}
          @input=${this.onInput}
          @keydown=${this.onKey}
        />
      </div>
      <div class="list" id="commands" role="listbox" aria-label="Commands" tabindex="-1">
        ${shown.map((command, place) => this.option(command, place))}
      </div>
      <p class="none" role="status" ?hidden=${shown.length > 0}>
        ${shown.length > 0 ? "" : "No command has these words."}
      </p>
    </dialog>`;
  }

  override firstUpdated(): void {
    this.dialog.addEventListener("click", this.onBackdrop);
    this.dialog.showModal();
    this.input.focus();
  }

  override updated(): void {
    this.chosen?.scrollIntoView({ block: "nearest" });
  }

  private option(command: Command, place: number) {
    // eslint-disable-next-line lit-a11y/click-events-have-key-events -- The field has the keys.
    return html`<div
      role="option"
      id="command-${place}"
      aria-selected=${place === this.active}
      @click=${() => this.run(command)}
      @pointermove=${() => (this.active = place)}
    >
      <span class="name" dir="auto">${command.name}</span>
      <span class="kind">${command.kind}</span>
    </div>`;
  }

  private found(): readonly Command[] {
    return found(commands(this.views, this.conversations), this.words);
  }

  private run(command: Command): void {
    this.dialog.close();
    command.run((name, detail) => this.dispatchEvent(new CustomEvent(name, { detail })));
  }

  private readonly onInput = () => {
    this.words = this.input.value;
    this.active = 0;
  };

  private readonly onKey = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    const shown = this.found();
    const last = shown.length - 1;
    const next: Partial<Record<string, number>> = {
      ArrowDown: this.active === last ? 0 : this.active + 1,
      ArrowUp: this.active === 0 ? last : this.active - 1,
      PageDown: Math.min(this.active + 8, last),
      PageUp: Math.max(this.active - 8, 0),
    };
    const place = next[event.key];
    const command = shown[this.active];
    if (place !== undefined) this.active = Math.max(place, 0);
    else if (event.key !== "Enter" || command === undefined) return;
    else this.run(command);
    event.preventDefault();
  };

  private readonly onBackdrop = (event: MouseEvent) => {
    if (event.composedPath()[0] === this.dialog) this.dialog.close();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "command-palette": CommandPalette;
  }
}
