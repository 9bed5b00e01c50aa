/** The agent's workspace: folders, files to save, uploads, and texts to read in place. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { bytes } from "../agent/day";
import type { AgentApi } from "../api/agent";
import type { FileEntry, FileListing } from "../api/generated";
import { RequestState } from "../api/request-state";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import { sectionStyles } from "./settings-styles";

const MOST_UPLOAD_BYTES = 16 * 1024 * 1024;
/** Longer texts are only saved. */
const MOST_SHOWN_BYTES = 256 * 1024;
const TEXT =
  /\.(?:md|txt|json|jsonc|json5|csv|tsv|log|ya?ml|toml|ini|xml|html?|css|[jt]sx?|py|sh)$/i;
/** Where OpenClaw's agents have what people ask for most. */
const PLACES = [
  ["Memory notes", "memory"],
  ["Skills", "skills"],
] as const;

@customElement("agent-files")
export class AgentFiles extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @state() private path: readonly string[] = [];
  @state() private listing: FileListing | null = null;
  /** The folders in the workspace itself, to offer the usual places. */
  @state() private top: readonly string[] = [];
  @state() private shown: { readonly name: string; readonly text: string } | null = null;
  @query("input[type=file]") private chooser!: HTMLInputElement;
  @query("h3") private shownHeading!: HTMLElement | null;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    css`
      nav {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.25rem;
        margin-bottom: 0.5rem;
        overflow-wrap: anywhere;
      }
      nav button,
      li button.name {
        min-height: 2.25rem;
        padding: 0.125rem 0.375rem;
        border-radius: 8px;
        background: transparent;
        color: var(--accent);
        font-weight: 500;
        text-align: left;
        overflow-wrap: anywhere;
      }
      li button.name {
        margin-left: -0.375rem;
      }
      nav button:hover,
      li button.name:hover {
        background: var(--sunken);
      }
      li {
        min-height: 2.75rem;
        padding: 0.25rem 0;
      }
      pre {
        max-height: 30rem;
        margin: 0.5rem 0 1rem;
        padding: 0.75rem;
        overflow: auto;
        border-radius: 10px;
        background: var(--sunken);
        font-family: var(--mono);
        font-size: 0.8125rem;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
        unicode-bidi: isolate;
      }
      .upload {
        margin-top: 1rem;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.open([]);
  }

  override render() {
    return html`
      <h2>Files</h2>
      <p class="muted">
        Your agent’s workspace: what it works on, its memory notes and its skills. Reading it does
        not wake your agent.
      </p>
      ${this.places()} ${this.breadcrumbs()} ${this.list()}
      <div class="row upload">
        <input type="file" hidden multiple aria-label="Files to upload" @change=${this.onChosen} />
        <button
          class="small plain"
          ?disabled=${this.work.busy || this.listing === null}
          @click=${() => this.chooser.click()}
        >
          Upload files here
        </button>
      </div>
      ${this.work.outcome()}
      ${
        this.shown === null
          ? nothing
          : html`<h3 tabindex="-1">${this.shown.name}</h3>
              <pre tabindex="0" aria-label="Content of the file">${this.shown.text}</pre>
              <button class="small plain" @click=${this.close}>Close</button>`
      }
    `;
  }

  private places() {
    const there = PLACES.filter(([, folder]) => this.top.includes(folder));
    return there.length === 0
      ? nothing
      : html`<div class="row">
          ${there.map(
            ([name, folder]) =>
              html`<button class="small plain" @click=${() => this.open([folder])}>
                ${name}
              </button>`,
          )}
        </div>`;
  }

  private breadcrumbs() {
    return html`<nav aria-label="Folder">
      <button @click=${() => this.open([])}>Workspace</button>
      ${this.path.map(
        (name, index) =>
          html`<span aria-hidden="true">/</span>
            <button
              aria-current=${index === this.path.length - 1 ? "page" : nothing}
              @click=${() => this.open(this.path.slice(0, index + 1))}
            >
              ${visibleName(name)}
            </button>`,
      )}
    </nav>`;
  }

  private list() {
    if (this.listing === null) return nothing;
    const { entries, more } = this.listing;
    if (entries.length === 0) return html`<p>Nothing here.</p>`;
    return html`<ul>
        ${entries.map((entry) => this.entry(entry))}
      </ul>
      ${more ? html`<p class="muted">There are more; only the first are listed.</p>` : nothing}`;
  }

  private entry(entry: FileEntry) {
    const name = visibleName(entry.name);
    const path = [...this.path, entry.name];
    const about = [
      entry.size == null ? "" : bytes(entry.size),
      entry.changedAt == null ? "" : fullLabel(Date.parse(entry.changedAt)),
    ].filter((text) => text !== "");
    return html`<li>
      <div>
        ${
          entry.kind === "folder"
            ? html`<button class="name" @click=${() => this.open(path)}>${name}/</button>`
            : entry.kind === "file" && isShown(entry)
              ? html`<button class="name" @click=${() => this.show(path)}>${name}</button>`
              : name
        }
        <div class="muted small">
          ${entry.kind === "other" ? "cannot be opened here" : about.join(" · ")}
        </div>
      </div>
      ${
        entry.kind === "file"
          ? html`<a
              class="button small plain"
              href=${this.agent.fileUrl(path.join("/"))}
              download=${entry.name}
              >Save<span class="unseen"> ${name}</span></a
            >`
          : nothing
      }
    </li>`;
  }

  private readonly close = () => {
    this.shown = null;
  };

  private async open(path: readonly string[]): Promise<void> {
    await this.work.run(async () => {
      const listing = await this.agent.files(path.join("/"));
      this.listing = listing;
      this.path = path;
      this.shown = null;
      if (path.length === 0) {
        this.top = listing.entries.filter((e) => e.kind === "folder").map((e) => e.name);
      }
    });
  }

  private async show(path: readonly string[]): Promise<void> {
    await this.work.run(async () => {
      this.shown = {
        name: visibleName(path.at(-1) ?? ""),
        text: await this.agent.fileText(path.join("/")),
      };
    });
    await this.updateComplete;
    this.shownHeading?.focus();
  }

  private readonly onChosen = async () => {
    const files = [...(this.chooser.files ?? [])];
    this.chooser.value = "";
    const large = files.find((file) => file.size > MOST_UPLOAD_BYTES);
    if (large !== undefined) {
      this.work.fail(`“${large.name}” is larger than 16 MB. Nothing was uploaded.`);
      return;
    }
    const present = new Set(this.listing?.entries.map(({ name }) => name));
    const replaced = files.filter(({ name }) => present.has(name));
    if (replaced.length > 0) {
      this.work.fail(
        `“${replaced[0]?.name ?? ""}” is there already. Rename yours, or have your agent remove it. ` +
          "Nothing was uploaded.",
      );
      return;
    }
    await this.work.run(
      async () => {
        for (const file of files)
          await this.agent.upload([...this.path, file.name].join("/"), file);
        this.listing = await this.agent.files(this.path.join("/"));
      },
      files.length === 1 ? "Uploaded 1 file." : `Uploaded ${files.length} files.`,
    );
  };
}

function isShown({ name, size }: FileEntry): boolean {
  return TEXT.test(name) && (size ?? 0) <= MOST_SHOWN_BYTES;
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-files": AgentFiles;
  }
}
