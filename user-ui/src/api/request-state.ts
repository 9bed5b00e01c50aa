/**
 * The current request of a view: whether it is running, and its outcome to show.
 *
 * Not `@lit/task`: a Task runs one function and drops its last value on an error. The requests of a
 * view (load, change, remove) share one outcome with a success text, and what was loaded stays.
 */

import { html, nothing, type ReactiveControllerHost } from "lit";

import { sentence } from "./problem";

export class RequestState {
  busy = false;
  problem = "";
  private done = "";

  constructor(private readonly host: ReactiveControllerHost) {}

  /** Run `task`, then show `done` or the problem. Resolves to whether it succeeded. */
  async run(task: () => Promise<unknown>, done = ""): Promise<boolean> {
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

  /** Show a problem that was found before any request. */
  fail(problem: string): void {
    this.done = "";
    this.problem = problem;
    this.host.requestUpdate();
  }

  /** Show no outcome any more. */
  clear(): void {
    this.problem = this.done = "";
    this.host.requestUpdate();
  }

  outcome() {
    return html`<div aria-live="polite">
      ${this.problem === "" ? nothing : html`<p class="problem">${this.problem}</p>`}
      ${this.done === "" ? nothing : html`<p class="good">${this.done}</p>`}
    </div>`;
  }
}
