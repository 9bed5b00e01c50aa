/** Pages of sections: the settings, and the tools. */

import { css } from "lit";

export const pageStyles = css`
  :host {
    display: block;
    position: relative; /* Contains what is positioned in it. */
    overflow-y: auto;
  }
  .column {
    max-width: var(--column);
    margin: 0 auto;
    padding: 0.5rem 1rem max(1.5rem, env(safe-area-inset-bottom));
  }
  h1 {
    margin: 0.5rem 0 1rem;
    font-size: 1.625rem;
    line-height: 1.25;
    letter-spacing: -0.01em;
  }
  h1:focus-visible {
    outline: 0; /* It has the focus for screen readers, and does nothing. */
  }
`;

/** Texts and rows in a section. */
export const rowStyles = css`
  :host {
    display: block;
  }
  h2 {
    margin: 0 0 0.25rem;
    font-size: 1.125rem;
  }
  h3 {
    margin: 1.5rem 0 0.25rem;
    font-size: 1rem;
  }
  p {
    margin: 0 0 1rem;
    overflow-wrap: anywhere; /* An address in a text is one word. */
  }
  ul {
    margin: 0;
    padding: 0;
    list-style: none;
  }
  li {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.5rem 1rem;
    min-height: 3.5rem;
    padding: 0.625rem 0;
    border-top: 1px solid var(--line);
  }
  li:first-child {
    border-top: 0;
  }
  li > div {
    flex: 1 1 12rem;
    min-width: 0;
    overflow-wrap: anywhere;
  }
  code {
    font-family: var(--mono);
    font-size: 0.9em;
  }
  .small {
    font-size: 0.875rem;
  }
  .tag {
    padding: 0.1rem 0.5rem;
    border-radius: 999px;
    background: var(--accent-soft);
    color: var(--accent-strong);
    font-size: 0.8125rem;
    font-weight: 600;
    white-space: nowrap;
  }
  .tag.off {
    background: var(--danger-soft);
    color: var(--danger);
  }
  .row {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5rem;
  }
  .row input {
    flex: 1 1 14rem;
    width: auto;
  }
`;

const frame = css`
  :host {
    margin-bottom: 1.25rem;
    padding: 1.25rem;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    background: var(--surface);
  }
`;

export const sectionStyles = [rowStyles, frame];
