/** The files attached to the message being written: previews, sizes, and buttons to remove them. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";

import { kindOf, LIMITS_TEXT, nameOf, sizeText, totalOf, typeOf } from "../chat/attachments";
import { base, controls } from "../styles/controls";
import { closeIcon, fileIcon } from "./icons";

@customElement("attached-files")
export class AttachedFiles extends LitElement {
  @property({ attribute: false }) files: readonly File[] = [];
  /** Why files were left out. */
  @property({ attribute: false }) problems: readonly string[] = [];

  private readonly urls = new Map<File, string>();

  static override styles = [
    base,
    controls,
    css`
      :host {
        display: block;
      }
      ul {
        display: flex;
        flex-wrap: wrap;
        gap: 0.375rem;
        margin: 0 0 0.375rem;
        padding: 0;
        list-style: none;
      }
      li {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        max-width: 100%;
        padding: 0.25rem 0.25rem 0.25rem 0.375rem;
        border: 1px solid var(--line);
        border-radius: 12px;
        background: var(--surface);
        font-size: 0.8125rem;
      }
      img {
        width: 2.5rem;
        height: 2.5rem;
        border-radius: 8px;
        object-fit: cover;
        background: var(--sunken);
      }
      .name {
        min-width: 0;
        max-width: 12rem;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      button {
        width: 2rem;
        min-height: 2rem;
        padding: 0;
        border-color: transparent;
      }
      p {
        margin: 0 0 0.375rem;
        font-size: 0.8125rem;
      }
      .problem {
        font-size: 1rem;
      }
    `,
  ];

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
    this.urls.clear();
  }

  override render() {
    const { files } = this;
    return html`
      ${this.problems.map((problem) => html`<p class="problem" role="alert">${problem}</p>`)}
      ${
        files.length === 0
          ? nothing
          : html`<ul aria-label="Attached files">
                ${files.map((file, index) => this.item(file, index))}
              </ul>
              <p class="muted">${sizeText(totalOf(files))}. ${LIMITS_TEXT}</p>`
      }
    `;
  }

  private item(file: File, index: number) {
    const name = nameOf(file);
    return html`<li>
      ${kindOf(typeOf(file)) === "image" ? html`<img src=${this.urlOf(file)} alt="" />` : fileIcon}
      <span class="name" dir="auto" title=${name}>${name}</span>
      <span class="muted">${sizeText(file.size)}</span>
      <button
        type="button"
        class="plain"
        aria-label="Remove ${name}"
        title="Remove"
        @click=${() => this.dispatchEvent(new CustomEvent("remove", { detail: index }))}
      >
        ${closeIcon}
      </button>
    </li>`;
  }

  private urlOf(file: File): string {
    const known = this.urls.get(file) ?? URL.createObjectURL(file);
    this.urls.set(file, known);
    return known;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "attached-files": AttachedFiles;
  }
}
