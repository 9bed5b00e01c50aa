/** The user's sessions, with buttons to end them. */

import { LitElement, html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import type { Api } from "../api/client";
import type { SessionView } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/sure-button";
import { dayLabel, fullLabel, timeLabel } from "../components/times";
import { base, controls } from "../styles/controls";
import { sectionStyles } from "./settings-styles";

@customElement("settings-devices")
export class SettingsDevices extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() email = "";
  @state() private sessions: readonly SessionView[] = [];

  private readonly work = new RequestState(this);

  static override styles = [base, controls, sectionStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.work.run(async () => void (this.sessions = await this.api.sessions()));
  }

  override render() {
    return html`
      <h2>Signed in</h2>
      <p class="muted">As ${this.email}, on these devices:</p>
      <ul>
        ${this.sessions.map((session) => this.row(session))}
      </ul>
      ${
        this.sessions.length < 2
          ? nothing
          : html`<sure-button
              label="Sign out everywhere"
              @sure=${this.signOutEverywhere}
            ></sure-button>`
      }
      ${this.work.outcome()}
    `;
  }

  private row(session: SessionView) {
    const name = deviceName(session.userAgent);
    return html`<li>
      <div>
        ${name} ${session.current ? html`<span class="tag">this device</span>` : nothing}
        <div class="muted small">
          Last used ${used(session)}, signed in ${fullLabel(new Date(session.createdAt).getTime())}
        </div>
      </div>
      ${
        session.current
          ? html`<button class="small plain" ?disabled=${this.work.busy} @click=${this.signOut}>
              Sign out
            </button>`
          : html`<sure-button
              label="Sign out"
              what=" ${name}"
              @sure=${() => this.end(session)}
            ></sure-button>`
      }
    </li>`;
  }

  private async end(session: SessionView): Promise<void> {
    await this.work.run(async () => {
      await this.api.endSession(session.id);
      this.sessions = await this.api.sessions();
    }, "That device was signed out.");
  }

  private readonly signOutEverywhere = async () => {
    await this.work.run(async () => {
      await this.api.endAllSessions();
      this.dispatchEvent(new CustomEvent("signed-out", { bubbles: true, composed: true }));
    });
  };

  private readonly signOut = async () => {
    await this.work.run(async () => {
      await this.api.signOut();
      this.dispatchEvent(new CustomEvent("signed-out", { bubbles: true, composed: true }));
    });
  };
}

/** When and from where a session was used last. Two sessions of one browser differ in both. */
function used({ lastUsedAt, client }: SessionView): string {
  const when = timeLabel(new Date(lastUsedAt).getTime(), Date.now());
  const day = dayLabel(new Date(lastUsedAt).getTime(), Date.now());
  const at = when.includes("ago") || when === "just now" ? when : `${day}, ${when}`;
  return client === "" ? at : `${at} from ${client}`;
}

/** A short name from a User-Agent header, such as “Firefox on Windows”. */
export function deviceName(userAgent: string): string {
  const browser = first(userAgent, [
    [/Edg(?:e|A|iOS)?\//, "Edge"],
    [/OPR\/|Opera/, "Opera"],
    [/SamsungBrowser\//, "Samsung Internet"],
    [/Firefox\/|FxiOS\//, "Firefox"],
    [/Chrome\/|CriOS\//, "Chrome"],
    [/Safari\//, "Safari"],
  ]);
  const system = first(userAgent, [
    [/Android/, "Android"],
    [/iPhone/, "iPhone"],
    [/iPad/, "iPad"],
    [/Windows/, "Windows"],
    [/Mac OS X|Macintosh/, "Mac"],
    [/CrOS/, "ChromeOS"],
    [/Linux/, "Linux"],
  ]);
  if (browser === null) return system ?? "Unknown device";
  return system === null ? browser : `${browser} on ${system}`;
}

function first(text: string, names: readonly (readonly [RegExp, string])[]): string | null {
  return names.find(([pattern]) => pattern.test(text))?.[1] ?? null;
}

declare global {
  interface HTMLElementTagNameMap {
    "settings-devices": SettingsDevices;
  }
}
