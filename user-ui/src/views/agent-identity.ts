/** The name and the face of the user's agent, in the agent's panel. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import type { AgentApi } from "../api/agent";
import type { Me } from "../api/generated";
import { RequestState } from "../api/request-state";
import "../components/agent-face";
import { isPicture } from "../components/agent-face";
import { base, controls } from "../styles/controls";
import { pageStyles } from "./settings-styles";

const MAX_NAME = 40;
const SIDE_PX = 96;
const JPEG_QUALITY = 0.85;

@customElement("agent-identity")
export class AgentIdentity extends LitElement {
  @property({ attribute: false }) agent!: AgentApi;
  @property({ attribute: false }) me!: Me;
  /** Chosen and not saved yet; null for the stored one. */
  @state() private face: string | null = null;
  @query(".name") private nameField!: HTMLInputElement;
  @query(".emoji") private emojiField!: HTMLInputElement;
  @query(".picture") private pictureField!: HTMLInputElement;

  private readonly work = new RequestState(this);

  static override styles = [
    base,
    controls,
    pageStyles,
    css`
      .row {
        display: flex;
        flex-wrap: wrap;
        align-items: flex-end;
        gap: 0.75rem;
      }
      .row > div {
        flex: 1 1 9rem;
      }
      agent-face {
        font-size: 1.5rem;
        background: var(--sunken);
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
        margin-top: 0.75rem;
      }
    `,
  ];

  override render() {
    const stored = this.me.agent;
    const face = this.face ?? stored.face;
    return html`<section>
      <h2>Name and face</h2>
      <p class="muted">Your agent is told its name, and answers to it from its next turn on.</p>
      <form @submit=${this.onSubmit}>
        <div class="row">
          <agent-face .face=${face}></agent-face>
          <div>
            <label for="name">Name</label>
            <input id="name" class="name" maxlength=${MAX_NAME} .value=${stored.name} />
          </div>
          <div>
            <label for="emoji">Emoji</label>
            <input
              id="emoji"
              class="emoji"
              maxlength="16"
              .value=${isPicture(face) ? "" : face}
              @input=${this.onEmoji}
            />
          </div>
        </div>
        <div class="buttons">
          <button class="small" ?disabled=${this.work.busy}>Save</button>
          <button type="button" class="small plain" @click=${() => this.pictureField.click()}>
            Choose a picture
          </button>
          ${
            face === ""
              ? nothing
              : html`<button type="button" class="small plain" @click=${this.onRemove}>
                  Remove the face
                </button>`
          }
        </div>
        <input class="picture" type="file" accept="image/*" hidden @change=${this.onPicture} />
        ${this.work.outcome()}
      </form>
    </section>`;
  }

  private readonly onEmoji = () => {
    this.face = this.emojiField.value.trim();
  };

  private readonly onRemove = () => {
    this.face = "";
  };

  private readonly onSubmit = (event: Event) => {
    event.preventDefault();
    const face = this.face ?? this.me.agent.face;
    void this.work.run(async () => {
      const agent = await this.agent.setIdentity({ name: this.nameField.value.trim(), face });
      this.me = { ...this.me, agent };
      this.face = null;
      this.dispatchEvent(new CustomEvent("me-changed", { bubbles: true, composed: true }));
    }, "Saved.");
  };

  private readonly onPicture = async () => {
    const file = this.pictureField.files?.[0];
    this.pictureField.value = "";
    if (file === undefined) return;
    const face = await portrait(file);
    if (face === null) this.work.fail("This browser cannot read the picture. Choose another one.");
    else this.face = face;
  };
}

/** The middle of a picture, small, as a `data:` URL; null if this browser cannot read it. */
async function portrait(file: File): Promise<string | null> {
  try {
    const picture = await createImageBitmap(file);
    const side = Math.min(picture.width, picture.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE_PX;
    const x = (picture.width - side) / 2;
    const y = (picture.height - side) / 2;
    canvas.getContext("2d")?.drawImage(picture, x, y, side, side, 0, 0, SIDE_PX, SIDE_PX);
    picture.close();
    return canvas.toDataURL("image/jpeg", JPEG_QUALITY);
  } catch {
    return null;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-identity": AgentIdentity;
  }
}
