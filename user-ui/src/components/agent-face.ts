/** The face of the user's agent: the emoji or the picture that its user chose. */

import { LitElement, css, html, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";

import type { Me } from "../api/generated";

export const DEFAULT_NAME = "Your agent";

export function agentName(me: Me | null): string {
  return me?.agent.name ? me.agent.name : DEFAULT_NAME;
}

/** Whether the face is a picture; the server checks what it is. */
export function isPicture(face: string): boolean {
  return face.startsWith("data:image/");
}

@customElement("agent-face")
export class AgentFace extends LitElement {
  @property() face = "";

  static override styles = css`
    :host {
      display: inline-grid;
      place-items: center;
      width: 1.75em;
      height: 1.75em;
      flex: none;
      overflow: hidden;
      border-radius: 50%;
      line-height: 1;
    }
    img {
      width: 100%;
      height: 100%;
      object-fit: cover;
    }
  `;

  override render() {
    if (this.face === "") return nothing;
    return isPicture(this.face)
      ? html`<img src=${this.face} alt="" />`
      : html`<span aria-hidden="true">${this.face}</span>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "agent-face": AgentFace;
  }
}
