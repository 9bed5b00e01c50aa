/** The text field for messages. The chat view stores the draft, so that it survives a reload. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query } from "lit/decorators.js";

import { filesIn, LIMITS_TEXT } from "../chat/attachments";
import { fitsFrame } from "../chat/protocol";
import { base, controls } from "../styles/controls";
import { attachIcon, cameraIcon, sendIcon, stopIcon } from "./icons";

@customElement("message-composer")
export class MessageComposer extends LitElement {
  @property() draft = "";
  @property({ type: Boolean }) running = false;
  /** Whether files are attached, so that a message needs no text. */
  @property({ type: Boolean }) attached = false;
  @query(".any") private anyInput!: HTMLInputElement;
  @query(".camera") private cameraInput!: HTMLInputElement;
  @query("textarea") private field!: HTMLTextAreaElement;

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
      }
      form {
        display: flex;
        align-items: flex-end;
        gap: 0.375rem;
        padding: 0.375rem;
        border: 1px solid var(--field-line);
        border-radius: 26px;
        background: var(--surface);
        box-shadow: var(--shadow);
      }
      form:focus-within {
        border-color: var(--accent);
        outline: 1px solid var(--accent);
      }
      textarea {
        flex: 1;
        min-width: 0;
        min-height: 2.5rem;
        max-height: min(40dvh, 16rem);
        padding: 0.5rem 0.25rem;
        border: 0;
        background: transparent;
        color: inherit;
        font: inherit;
        line-height: 1.5;
        resize: none;
      }
      textarea:focus-visible {
        outline: 0; /* The form around it shows the focus. */
      }
      textarea::placeholder {
        color: var(--muted);
        opacity: 1;
      }
      button {
        width: 2.75rem;
        min-height: 2.75rem;
        padding: 0;
        flex: none;
      }
      button.attach {
        border-color: transparent;
        color: var(--muted);
      }
      button.attach + button.attach {
        margin-inline-start: -0.375rem;
      }
      button.stop {
        background: var(--ink);
        color: var(--bg);
      }
      .problem {
        margin: 0 0 0.5rem;
      }
    `,
  ];

  override render() {
    const empty = this.draft.trim() === "" && !this.attached;
    const tooLong = !fitsFrame(this.draft);
    return html`
      ${
        tooLong
          ? html`<p class="problem" role="alert">
              This message is too long. Shorten it, or send it in parts.
            </p>`
          : nothing
      }
      <form @submit=${this.onSubmit}>
        ${this.attachButton("Attach files", attachIcon, () => this.anyInput)}
        ${onPhone() ? this.attachButton("Take a photo", cameraIcon, () => this.cameraInput) : nothing}
        <input class="any" type="file" multiple hidden @change=${this.onChosen} />
        <input
          class="camera"
          type="file"
          accept="image/*"
          capture="environment"
          hidden
          @change=${this.onChosen}
        />
        <textarea
          rows="1"
          dir="auto"
          aria-label="Message"
          placeholder="Write to your agent"
          enterkeyhint=${onPhone() ? "enter" : "send"}
          autocomplete="off"
          .value=${this.draft}
          @input=${this.onInput}
          @keydown=${this.onKey}
          @paste=${this.onPaste}
        ></textarea>
        ${
          this.running
            ? html`<button
                type="button"
                class="stop"
                aria-label="Stop"
                title="Stop"
                @click=${this.onStop}
              >
                ${stopIcon}
              </button>`
            : nothing
        }
        ${
          this.running && empty
            ? nothing
            : html`<button aria-label="Send" title="Send" ?disabled=${empty || tooLong}>
                ${sendIcon}
              </button>`
        }
      </form>
    `;
  }

  private attachButton(label: string, icon: unknown, input: () => HTMLInputElement) {
    return html`<button
      type="button"
      class="plain attach"
      aria-label=${label}
      title="${label}. ${LIMITS_TEXT}"
      @click=${() => {
        input().click();
      }}
    >
      ${icon}
    </button>`;
  }

  private readonly onChosen = (event: Event) => {
    const input = event.target as HTMLInputElement;
    this.attach([...(input.files ?? [])]);
    input.value = ""; // so that the same file can be chosen again
  };

  private readonly onPaste = (event: ClipboardEvent) => {
    const files = filesIn(event.clipboardData);
    // Office programs add a picture of the text that they copy.
    if (files.length === 0 || event.clipboardData?.types.includes("text/plain") === true) return;
    event.preventDefault();
    this.attach(files);
  };

  private attach(files: readonly File[]): void {
    if (files.length > 0) this.dispatchEvent(new CustomEvent("attach", { detail: files }));
  }

  override updated(): void {
    // Fit the text: reset the height first, since scrollHeight never falls below it.
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  override focus(): void {
    void this.updateComplete.then(() => this.field.focus());
  }

  private readonly onStop = () => {
    this.emit("stop", undefined);
    // This button vanishes: keep the focus, but open no keyboard on a phone.
    if (matchMedia("(hover: hover)").matches) this.field.focus();
  };

  private readonly onInput = () => this.emit("draft", this.field.value);

  private readonly onKey = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || endsComposition(event)) return;
    // A phone's keyboard has no Shift with Return: there it begins a line, and the button sends.
    if (onPhone() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.submit();
  };

  private readonly onSubmit = (event: Event) => {
    event.preventDefault();
    this.submit();
    this.field.focus();
  };

  private submit(): void {
    const text = this.draft.trim();
    if ((text !== "" || this.attached) && fitsFrame(text)) this.emit("write", text);
  }

  private emit(name: "draft" | "write" | "stop", detail: string | undefined): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Whether texts are written on the screen's own keyboard. */
function onPhone(): boolean {
  return matchMedia("(hover: none) and (pointer: coarse)").matches;
}

/** Whether this Enter confirms an input method's composition instead of sending. */
function endsComposition(event: KeyboardEvent): boolean {
  // Safari ends the composition before the key event: only keyCode shows it (WebKit bug 165004).
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  return event.isComposing || event.keyCode === 229;
}

declare global {
  interface HTMLElementTagNameMap {
    "message-composer": MessageComposer;
  }
}
