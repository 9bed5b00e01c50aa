/** A section's current request: whether it is running, and its outcome to show in the section. */

import { html, nothing, type ReactiveControllerHost } from "lit";

import { sentence } from "../api/problem";

export class Work {
  busy = false;
  private problem = "";
  private done = "";

  constructor(private readonly host: ReactiveControllerHost) {}

  /** Run `task`, then show `done` or the problem. Resolves to whether it succeeded. */
  async run(task: () => Promise<void>, done = ""): Promise<boolean> {
    this.busy = true;
    this.problem = this.done = "";
    this.host.requestUpdate();
    try {
      await task();
      this.done = done;
      return true;
    } catch (error) {
      this.problem = sentence(error);
      return false;
    } finally {
      this.busy = false;
      this.host.requestUpdate();
    }
  }

  outcome() {
    return html`<div aria-live="polite">
      ${this.problem === "" ? nothing : html`<p class="problem">${this.problem}</p>`}
      ${this.done === "" ? nothing : html`<p class="good">${this.done}</p>`}
    </div>`;
  }
}
