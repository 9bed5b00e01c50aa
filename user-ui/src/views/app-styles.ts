import { css } from "lit";

export const appStyles = css`
  :host {
    display: grid;
    grid-template: auto minmax(0, 1fr) / minmax(0, 1fr);
    height: 100dvh;
    position: relative;
    overflow: clip; /* Only the views scroll, never the page around them. */
  }
  :host([sided]) {
    grid-template-columns: 17.5rem minmax(0, 1fr);
  }
  :host([sided]) > :not(aside, dialog) {
    grid-column: 2;
  }
  sign-in-view,
  .alone {
    position: relative;
    overflow-y: auto;
  }
  sign-in-view,
  .alone.whole {
    grid-area: 1 / 1 / -1 / -1;
  }
  aside {
    grid-area: 1 / 1 / -1 / 2;
    min-height: 0;
    border-right: 1px solid var(--line);
    background: var(--sunken);
  }
  dialog {
    width: min(20rem, 86vw);
    height: 100dvh;
    max-height: none;
    margin: 0 auto 0 0;
    padding: 0;
    border: 0;
    border-right: 1px solid var(--line);
    background: var(--bg);
    color: inherit;
  }
  dialog::backdrop {
    background: rgb(0 0 0 / 40%);
  }
  chat-sidebar {
    height: 100%;
  }
  header {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    min-width: 0;
    padding: max(0.375rem, env(safe-area-inset-top)) 0.75rem 0.375rem;
    border-bottom: 1px solid var(--line);
  }
  header .title {
    flex: 1;
    min-width: 0;
    margin: 0;
    overflow: hidden;
    font-size: 1rem;
    font-weight: 600;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .pill {
    display: inline-flex;
    flex: none;
    align-items: center;
    min-height: 2.75rem;
    border-radius: 999px;
    text-decoration: none;
  }
  .button.icon,
  button.icon {
    position: relative;
    flex: none;
    width: 2.75rem;
    padding: 0;
    border-color: transparent;
  }
  .dot {
    position: absolute;
    top: 0.5rem;
    right: 0.5rem;
    width: 0.625rem;
    height: 0.625rem;
    border: 2px solid var(--bg);
    border-radius: 50%;
    background: var(--waking);
  }
  .alone {
    align-content: center;
    padding: 1.5rem;
    text-align: center;
  }
  .alone h1 {
    font-size: 1.375rem;
  }
`;
