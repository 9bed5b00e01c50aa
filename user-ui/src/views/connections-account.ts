/** One connected account: as whom, since when, last used for what, trouble and its cure. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { ConnectionsApi } from "../api/connections";
import type { ConnectionView, ServerView, ToolView } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { fullLabel, timeLabel } from "../components/times";
import { connectionTrouble, stateTag } from "../connections/texts";
import { base, controls } from "../styles/controls";
import { inherited } from "../tools/rules";
import { visibleName } from "../tools/visible-text";
import { fieldText } from "./form";
import { ruleSelect } from "./rule-select";
import { rowStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

const RULE_TEXTS: Readonly<Record<string, string>> = { read: "Reading", change: "Changing" };

@customElement("connections-account")
export class ConnectionsAccount extends LitElement {
  @property({ attribute: false }) connections!: ConnectionsApi;
  @property({ attribute: false }) account!: ConnectionView;
  /** Its tools with their rules; null if it has no API. */
  @property({ attribute: false }) server: ServerView | null = null;
  @state() private entering = false;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    rowStyles,
    toolsStyles,
    css`
      .any,
      .note,
      h3 {
        overflow-wrap: anywhere;
      }
    `,
  ];

  override render() {
    const { account } = this;
    const trouble = connectionTrouble(account);
    const tag = stateTag(account.state);
    return html`<article aria-labelledby="name">
      <h3 id="name">
        <bdi>${visibleName(account.name)}</bdi>
        ${tag === null ? nothing : html`<span class="tag ${tag.kind}">${tag.text}</span>`}
      </h3>
      <div class="muted small">${this.facts()}</div>
      ${trouble === null ? nothing : html`<p class="problem">${trouble}</p>`}
      ${account.missing.length === 0 ? nothing : html`<p class="note">Not allowed: ${list(account.missing)}.</p>`}
      ${this.entering ? this.keyForm() : this.acts()} ${this.rules()} ${this.work.outcome()}
    </article>`;
  }

  private facts() {
    const { account: whom, since, lastUsedAt, lastUsedFor } = this.account;
    const used =
      lastUsedAt === null
        ? html`not used yet`
        : html`last used
          ${timeLabel(Date.parse(lastUsedAt), Date.now())}${
            lastUsedFor === null
              ? nothing
              : html` for <bdi class="any">${visibleName(lastUsedFor, 200)}</bdi>`
          }`;
    return html`<bdi class="any">${visibleName(whom, 200)}</bdi> · since
      ${fullLabel(Date.parse(since))} · ${used}`;
  }

  private acts() {
    const { account } = this;
    const again =
      account.kind === "key"
        ? this.button("Replace key", "plain", () => (this.entering = true))
        : this.button("Connect again", account.state === "ok" ? "plain" : "", this.onAgain);
    return html`<div class="acts">
      ${account.state === "ok" ? nothing : again}
      ${account.kind === "oauth" || account.kind === "own" ? this.button("Test", "plain", this.onTest) : nothing}
      ${account.state === "ok" ? again : nothing}
      <sure-button
        label="Disconnect"
        what=" ${this.label()}"
        @sure=${this.onDisconnect}
      ></sure-button>
    </div>`;
  }

  private button(text: string, kind: string, run: () => unknown) {
    return html`<button
      class="small ${kind}"
      aria-label="${text} ${this.label()}"
      ?disabled=${this.work.busy}
      @click=${run}
    >
      ${text}
    </button>`;
  }

  private rules() {
    const { server } = this;
    return html`<details>
      <summary>What it may do<span class="unseen">, ${this.label()}</span></summary>
      ${
        this.account.scopes.length === 0
          ? nothing
          : html`<p class="note">Permissions at the provider: ${list(this.account.scopes)}.</p>`
      }
      ${this.account.hosts.length === 0 ? nothing : html`<p class="note">Goes to: ${list(this.account.hosts)}.</p>`}
      ${(server?.tools ?? []).map((tool) => this.rule(tool))}
    </details>`;
  }

  private rule(tool: ToolView) {
    const { server } = this;
    const text = RULE_TEXTS[tool.name];
    if (server === null || text === undefined) return nothing;
    return html`<div class="rule">
      <span>${text}</span>
      ${ruleSelect({
        label: `${text} with ${this.label()}`,
        value: tool.ownRule,
        none: inherited(server),
        disabled: this.work.busy,
        set: (rule) =>
          this.work.run(async () => {
            const detail = await this.connections.setRule(server.id, tool.name, rule);
            this.dispatchEvent(new CustomEvent("server-changed", { detail }));
          }),
      })}
    </div>`;
  }

  private keyForm() {
    return html`<form class="acts" @submit=${this.onKey} autocomplete="off">
      <div class="field wide">
        <label for="key">Your new key for ${this.label()}</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="off"
          data-1p-ignore
          data-lpignore="true"
          required
        />
      </div>
      <button class="small" ?disabled=${this.work.busy}>Save key</button>
      <button type="button" class="small plain" @click=${() => (this.entering = false)}>
        Cancel
      </button>
    </form>`;
  }

  private label(): string {
    return `${visibleName(this.account.name)}, ${visibleName(this.account.account)}`;
  }

  private announce(detail: ConnectionView): void {
    this.dispatchEvent(new CustomEvent("account-changed", { detail }));
  }

  private readonly onAgain = () =>
    void this.work.run(async () => {
      const { provider, id } = this.account;
      location.assign(await this.connections.start(provider, null, id));
    });

  private readonly onTest = () =>
    void this.work.run(async () => {
      this.announce(await this.connections.test(this.account.id));
    }, "Tested.");

  private readonly onKey = async (event: SubmitEvent) => {
    event.preventDefault();
    const key = fieldText(event.target as HTMLFormElement, "key");
    const renew = async () => this.announce(await this.connections.renewKey(this.account.id, key));
    if (await this.work.run(renew, "The new key is saved.")) this.entering = false;
  };

  private readonly onDisconnect = () =>
    void this.work.run(async () => {
      const outcome = await this.connections.disconnect(this.account.id);
      const detail = { name: this.label(), outcome };
      this.dispatchEvent(new CustomEvent("disconnected", { detail }));
    });
}

function list(items: readonly string[]): string {
  return items.map((one) => visibleName(one, 200)).join(" · ");
}

declare global {
  interface HTMLElementTagNameMap {
    "connections-account": ConnectionsAccount;
  }
}
