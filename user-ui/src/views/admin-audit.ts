/** The audit trail, newest first, a page at a time. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { AdminApi } from "../api/admin";
import type { AuditRow } from "../api/generated";
import { RequestState } from "../api/request-state";
import { fullLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { visibleName } from "../tools/visible-text";
import { tableStyles } from "./admin-styles";
import { sectionStyles } from "./settings-styles";

@customElement("admin-audit")
export class AdminAudit extends LitElement {
  @property({ attribute: false }) admin!: AdminApi;
  @state() private events: readonly AuditRow[] = [];
  @state() private earlier: number | null = null;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    sectionStyles,
    tableStyles,
    css`
      .row {
        margin-top: 1rem;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.more();
  }

  override render() {
    return html`
      <h2>Audit trail</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">What</th>
            <th scope="col">By</th>
            <th scope="col">About</th>
            <th scope="col">From</th>
          </tr>
        </thead>
        <tbody>
          ${this.events.map((event) => this.row(event))}
        </tbody>
      </table>
      <div class="row">
        ${
          this.earlier === null
            ? nothing
            : html`<button class="small plain" ?disabled=${this.work.busy} @click=${this.more}>
                Earlier
              </button>`
        }
        <a class="button small plain" href=${this.admin.auditUrl()} download>Save all</a>
      </div>
      ${this.work.outcome()}
    `;
  }

  private row(event: AuditRow) {
    const about = [event.userEmail ?? "", event.subject, event.detail].filter(
      (text, index, all) => text !== "" && all.indexOf(text) === index,
    );
    return html`<tr>
      <td data-label="When">${fullLabel(Date.parse(event.at))}</td>
      <td data-label="What">${event.action}</td>
      <td data-label="By">${event.actorEmail ?? event.actor}</td>
      <td data-label="About">${visibleName(about.join(" · "), 400)}</td>
      <td data-label="From">${event.client}</td>
    </tr>`;
  }

  private readonly more = async () => {
    await this.work.run(async () => {
      const page = await this.admin.audit(this.earlier);
      this.events = [...this.events, ...page.events];
      this.earlier = page.earlier;
    });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "admin-audit": AdminAudit;
  }
}
