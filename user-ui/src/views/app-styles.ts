import { css } from "lit";

export const appStyles = css`
  :host {
    display: grid;
    grid-template: auto minmax(0, 1fr) / minmax(0, 1fr);
    height: 100dvh;
    position: relative;
    overflow: clip; /* Only the views scroll, never the page around them. */
  }
  sign-in-view,
  .alone {
    position: relative;
    grid-row: 1 / -1;
    overflow-y: auto;
  }
  header {
    display: flex;
    align-items: center;
    justify-content: space-between;
    gap: 0.75rem;
    padding: max(0.5rem, env(safe-area-inset-top)) 0.75rem 0.5rem;
    border-bottom: 1px solid var(--line);
  }
  header img {
    margin: 0 0.375rem;
  }
  .button.icon {
    width: 2.75rem;
    padding: 0;
    border-color: transparent;
  }
  .pill {
    display: inline-flex;
    align-items: center;
    min-height: 2.75rem;
    border-radius: 999px;
    text-decoration: none;
  }
  nav {
    display: flex;
    gap: 0.125rem;
  }
  .button.icon {
    position: relative;
  }
  .count {
    position: absolute;
    top: 0;
    right: 0;
    min-width: 1.25rem;
    padding: 0 0.3125rem;
    border-radius: 999px;
    background: var(--waking);
    color: var(--bg);
    font-size: 0.75rem;
    line-height: 1.25rem;
    text-align: center;
  }
  .button.icon[aria-current] {
    background: var(--sunken);
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
