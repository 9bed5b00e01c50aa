/** For admins: one shared tool server, its rules, and the end of it. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Rule, SharedServerView } from "../api/generated";
import { RequestState } from "../api/request-state";
import type { ToolsApi } from "../api/tools";
import "../components/folded-text";
import "../components/sure-button";
import { base, controls } from "../styles/controls";
import { RULE_NAMES } from "../tools/rules";
import { visibleName } from "../tools/visible-text";
import { fieldText } from "./form";
import { ruleSelect } from "./rule-select";
import { rowStyles } from "./settings-styles";
import { toolsStyles } from "./tools-styles";

@customElement("settings-shared-server")
export class SettingsSharedServer extends LitElement {
  @property({ attribute: false }) tools!: ToolsApi;
  @property({ attribute: false }) server!: SharedServerView;
  @state() private listing = false;

  private readonly work = new RequestState(this);

  static override styles = [base, controls, rowStyles, toolsStyles];

  override render() {
    const { server } = this;
    const name = visibleName(server.name);
    return html`<article aria-labelledby="name">
      <h3 id="name">
        <bdi>${name}</bdi>
        ${server.enabled ? nothing : html`<span class="tag off">disabled</span>`}
      </h3>
      <div class="muted small">
        <bdi>${visibleName(server.url ?? server.package ?? "", 300)}</bdi>
        ·
        ${people(server.people)}${
          server.credentialName === null ? nothing : ` · key in ${server.credentialName}`
        }
      </div>
      ${
        server.arguments.length === 0
          ? nothing
          : html`<folded-text
              class="small"
              code
              what="arguments of ${name}"
              .text=${server.arguments.join("\n")}
            ></folded-text>`
      }
      <div class="acts">
        ${
          server.enabled
            ? html`<sure-button
                label="Disable"
                what=" ${name}"
                @sure=${() => this.enable(false)}
              ></sure-button>`
            : html`<button
                class="small plain"
                aria-label="Enable ${name}"
                ?disabled=${this.work.busy}
                @click=${() => this.enable(true)}
              >
                Enable
              </button>`
        }
        <sure-button
          label="Delete"
          what=" ${name}, with everybody’s keys for it"
          @sure=${this.onDelete}
        ></sure-button>
      </div>
      <div class="rule">
        <span>Rule for all its tools</span>
        ${ruleSelect({
          label: `Rule for all tools of ${name}`,
          value: server.rule,
          none: "No rule",
          disabled: this.work.busy,
          set: (rule) => this.setRule(null, rule),
        })}
      </div>
      ${this.work.outcome()}
      <details @toggle=${this.onToggle}>
        <summary>Rules for single tools</summary>
        ${this.listing ? this.toolRules() : nothing}
      </details>
    </article>`;
  }

  private toolRules() {
    const { server } = this;
    return html`
      <ul>
        ${server.tools.map(
          (tool) =>
            html`<li class="tool">
              <div>
                <code><bdi>${visibleName(tool.name)}</bdi></code>
                ${
                  tool.description === null
                    ? nothing
                    : html`<folded-text
                        class="small"
                        what="description of ${visibleName(tool.name)}"
                        .text=${tool.description}
                      ></folded-text>`
                }
              </div>
              ${ruleSelect({
                label: `Rule for ${visibleName(tool.name)}`,
                value: tool.rule,
                none:
                  server.rule === null ? "No rule" : `As the server: ${RULE_NAMES[server.rule]}`,
                disabled: this.work.busy,
                set: (rule) => this.setRule(tool.name, rule),
              })}
            </li>`,
        )}
      </ul>
      <form @submit=${this.onDeny}>
        <label for="tool">Deny another tool</label>
        <div class="row">
          <input
            id="tool"
            name="tool"
            required
            maxlength="128"
            spellcheck="false"
            autocapitalize="off"
            aria-describedby="tool-help"
          />
          <button class="small plain" ?disabled=${this.work.busy}>Deny</button>
        </div>
        <p class="note" id="tool-help">
          The server’s own name of the tool. Connect this server under Tools to see all of them.
        </p>
      </form>
    `;
  }

  private setRule(tool: string | null, rule: Rule | null): Promise<boolean> {
    return this.take(() => this.tools.setSharedRule(this.server.id, tool, rule));
  }

  private enable(enabled: boolean): void {
    void this.take(() => this.tools.changeShared(this.server.id, { enabled }));
  }

  private take(request: () => Promise<SharedServerView>): Promise<boolean> {
    return this.work.run(async () => {
      const detail = await request();
      this.dispatchEvent(new CustomEvent("server-changed", { detail }));
    });
  }

  private readonly onDeny = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    if (await this.setRule(fieldText(form, "tool"), "deny")) form.reset();
  };

  private readonly onDelete = () =>
    void this.work.run(async () => {
      await this.tools.removeShared(this.server.id);
      this.dispatchEvent(new CustomEvent("servers-stale"));
    });

  private readonly onToggle = (event: Event) => {
    this.listing = (event.target as HTMLDetailsElement).open;
  };
}

function people(count: number): string {
  return count === 1 ? "1 person has connected it" : `${count} people have connected it`;
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-shared-server": SettingsSharedServer;
  }
}
