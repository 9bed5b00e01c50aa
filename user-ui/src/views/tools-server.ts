/** One tool server: its state, connection, rules and tools. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Rule, ServerView, ToolView } from "../api/generated";
import { RequestState } from "../api/request-state";
import type { ToolsApi } from "../api/tools";
import "../components/folded-text";
import "../components/sure-button";
import { timeLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { STATE_NOTES, STATE_TAGS, toAcceptSummary } from "../tools/definitions";
import { inherited, NO_RULE, serverNote, toolNote } from "../tools/rules";
import { serverTags, troubleText } from "../tools/servers";
import { visibleName } from "../tools/visible-text";
import { fieldText } from "./form";
import { ruleSelect } from "./rule-select";
import { rowStyles } from "./settings-styles";
import "./tools-changes";
import { toolsStyles } from "./tools-styles";

@customElement("tools-server")
export class ToolsServer extends LitElement {
  @property({ attribute: false }) tools!: ToolsApi;
  @property({ attribute: false }) server!: ServerView;
  @state() private entering = false;
  @state() private listing = false;
  @state() private comparing = false;

  private readonly work = new RequestState(this);

  static override styles = [base, controls, rowStyles, toolsStyles];

  override render() {
    const { server } = this;
    const trouble = troubleText(server);
    const note = server.connected ? serverNote(server) : null;
    return html`<article aria-labelledby="name">
      <h3 id="name">
        <bdi>${visibleName(server.name)}</bdi>
        ${serverTags(server).map(
          ({ text, kind }) => html`<span class="tag ${kind}">${text}</span>`,
        )}
      </h3>
      <div class="muted small">${this.facts()}</div>
      ${trouble === null ? nothing : html`<p class="problem">${trouble}</p>`}
      ${this.entering ? this.keyForm() : this.acts()}
      ${
        server.connected
          ? html`<div class="rule">
              <span>Rule for all its tools</span>
              ${ruleSelect({
                label: `Rule for all tools of ${visibleName(server.name)}`,
                value: server.ownRule,
                none: NO_RULE,
                disabled: this.work.busy,
                set: (rule) => this.setRule(null, rule),
              })}
            </div>`
          : nothing
      }
      ${note === null ? nothing : html`<p class="note">${note}</p>`} ${this.work.outcome()}
      ${server.connected ? this.changes() : nothing}
      ${server.tools.length === 0 ? nothing : this.toolList()}
    </article>`;
  }

  private facts() {
    const { url, package: packed, listedAt, credentialHint } = this.server;
    const listed =
      listedAt === null
        ? nothing
        : html` · tools read ${timeLabel(new Date(listedAt).getTime(), Date.now())}`;
    const hint =
      credentialHint === null ? nothing : html` · <span class="whole">key ${credentialHint}</span>`;
    return html`<bdi>${visibleName(url ?? packed ?? "", 300)}</bdi>${hint}${listed}`;
  }

  /** What the server needs now, in sight; everything else is folded. */
  private acts() {
    const { server } = this;
    if (!server.connected) {
      const label = this.work.busy ? "Connecting…" : "Connect";
      return html`<div class="acts">${this.button(label, "", this.onConnect)}</div>`;
    }
    if (!server.enabled) {
      return html`<div class="acts">
        ${this.button("Enable", "", () => this.enable(true))} ${this.deleteButton()}
      </div>`;
    }
    const enter = () => (this.entering = true);
    const needsKey = server.credentialState === "missing" || server.credentialState === "refused";
    const wantsSignIn =
      server.transport === "http" && server.credentialName === null && server.trouble !== null;
    return html`
      ${wantsSignIn ? html`<div class="acts">${this.button("Sign in", "", this.onSignIn)}</div>` : nothing}
      ${needsKey ? html`<div class="acts">${this.button("Enter key", "", enter)}</div>` : nothing}
      <details>
        <summary>Manage<span class="unseen"> ${visibleName(server.name)}</span></summary>
        <div class="acts">
          ${this.button("Read tools again", "plain", this.onRefresh)}
          ${server.credentialState === "ok" ? this.button("Replace key", "plain", enter) : nothing}
          ${server.shared ? this.disconnectButton("Disconnect") : this.ownActs()}
        </div>
      </details>
    `;
  }

  private ownActs() {
    const { credentialState } = this.server;
    const hasKey = credentialState === "ok" || credentialState === "refused";
    return html`
      ${this.server.connectionId === null ? nothing : this.disconnectButton("Sign out")}
      ${hasKey ? this.disconnectButton("Remove key") : nothing}
      ${this.button("Disable", "plain", () => this.enable(false))} ${this.deleteButton()}
    `;
  }

  private button(label: string, kind: string, run: () => unknown) {
    return html`<button
      class="small ${kind}"
      aria-label="${label} ${visibleName(this.server.name)}"
      ?disabled=${this.work.busy}
      @click=${run}
    >
      ${label}
    </button>`;
  }

  private disconnectButton(label: string) {
    return html`<sure-button
      label=${label}
      what=" ${visibleName(this.server.name)}"
      @sure=${this.onDisconnect}
    ></sure-button>`;
  }

  private deleteButton() {
    return html`<sure-button
      label="Delete"
      what=" ${visibleName(this.server.name)}"
      @sure=${this.onDelete}
    ></sure-button>`;
  }

  private keyForm() {
    const { server } = this;
    return html`<form class="acts" @submit=${this.onKey} autocomplete="off">
      <div class="field wide">
        <label for="key">Your key for ${visibleName(server.name)}</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          required
          aria-describedby="key-help"
        />
        <small id="key-help">
          Sent to this server as ${server.credentialName}. Stored encrypted and never shown again;
          your agent cannot read it.
        </small>
      </div>
      <button class="small" ?disabled=${this.work.busy}>
        ${this.work.busy ? "Connecting…" : server.connected ? "Save key" : "Connect"}
      </button>
      <button type="button" class="small plain" @click=${() => (this.entering = false)}>
        Cancel
      </button>
    </form>`;
  }

  private changes() {
    const summary = toAcceptSummary(this.server.tools);
    if (summary === "") return nothing;
    return html`<details @toggle=${(event: Event) => (this.comparing = isOpen(event))}>
      <summary>Look at ${summary}</summary>
      ${
        this.comparing
          ? html`<tools-changes
              .tools=${this.tools}
              .server=${this.server}
              @server-changed=${this.onAccepted}
            ></tools-changes>`
          : nothing
      }
    </details>`;
  }

  private toolList() {
    const { tools } = this.server;
    return html`<details @toggle=${(event: Event) => (this.listing = isOpen(event))}>
      <summary>${tools.length} ${tools.length === 1 ? "tool" : "tools"}</summary>
      ${
        this.listing
          ? html`<ul>
              ${tools.map((tool) => this.tool(tool))}
            </ul>`
          : nothing
      }
    </details>`;
  }

  private tool(tool: ToolView) {
    const name = visibleName(tool.name);
    const tag = STATE_TAGS[tool.state];
    const notes = [STATE_NOTES[tool.state], toolNote(this.server, tool)];
    return html`<li class="tool">
      <div>
        <code><bdi>${name}</bdi></code>
        ${tool.title === null ? nothing : html`<span class="muted small">${visibleName(tool.title)}</span>`}
        ${tag === null ? nothing : html`<span class="tag ${tool.state === "changed" ? "off" : "warn"}">${tag}</span>`}
        <folded-text class="small" what="description of ${name}" .text=${tool.description}>
        </folded-text>
        ${
          tool.readOnly === true
            ? html`<p class="note">Changes nothing, according to its server.</p>`
            : nothing
        }
        ${notes.map((note) => (note === null ? nothing : html`<p class="note">${note}</p>`))}
      </div>
      ${
        tool.state === "gone"
          ? nothing
          : ruleSelect({
              label: `Rule for ${name}`,
              value: tool.ownRule,
              none: inherited(this.server),
              disabled: this.work.busy,
              set: (rule) => this.setRule(tool.name, rule),
            })
      }
    </li>`;
  }

  private setRule(tool: string | null, rule: Rule | null): Promise<boolean> {
    return this.take(() => this.tools.setRule(this.server.id, tool, rule));
  }

  private enable(enabled: boolean): void {
    void this.take(() => this.tools.change(this.server.id, { enabled }));
  }

  private take(request: () => Promise<ServerView>, done = ""): Promise<boolean> {
    return this.work.run(async () => this.announce(await request()), done);
  }

  private announce(detail: ServerView): void {
    this.dispatchEvent(new CustomEvent("server-changed", { detail }));
  }

  private readonly onAccepted = ({ detail }: CustomEvent<ServerView>) => {
    const done = toAcceptSummary(detail.tools) === "" ? "All definitions are accepted." : "";
    void this.work.run(() => {
      this.announce(detail);
      return Promise.resolve();
    }, done);
  };

  private readonly onConnect = () => {
    if (this.server.credentialName === null) void this.connect("");
    else this.entering = true;
  };

  private readonly onKey = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const key = fieldText(form, "key");
    if (await this.connect(key)) form.reset();
  };

  private async connect(key: string): Promise<boolean> {
    const done = await this.take(() => this.tools.connect(this.server.id, key));
    if (done) this.entering = false;
    return done;
  }

  private readonly onSignIn = () =>
    void this.work.run(async () => location.assign(await this.tools.signIn(this.server.id)));

  private readonly onRefresh = () =>
    void this.take(() => this.tools.refresh(this.server.id), "Its tools were read again.");

  private readonly onDisconnect = () =>
    void this.work.run(async () => {
      await this.tools.disconnect(this.server.id);
      this.dispatchEvent(new CustomEvent("servers-stale"));
    });

  private readonly onDelete = () =>
    void this.work.run(async () => {
      await this.tools.remove(this.server.id);
      this.dispatchEvent(new CustomEvent("servers-stale"));
    });
}

function isOpen(event: Event): boolean {
  return (event.target as HTMLDetailsElement).open;
}

declare global {
  interface HTMLElementTagNameMap {
    "tools-server": ToolsServer;
  }
}
