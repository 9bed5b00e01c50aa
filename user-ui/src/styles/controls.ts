/** Styles that several components share, as one sheet that each shadow root adopts. */

import { css } from "lit";

export const base = css`
  :host {
    box-sizing: border-box;
  }
  *,
  *::before,
  *::after {
    box-sizing: inherit;
  }
  [hidden] {
    display: none !important;
  }
  a {
    color: var(--accent);
    text-underline-offset: 0.15em;
  }
  :focus-visible {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }
  svg {
    width: 1.25em;
    height: 1.25em;
    flex: none;
  }
  .unseen {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation: none !important;
      transition: none !important;
    }
  }
`;

export const controls = css`
  button,
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.5em;
    min-height: 2.75rem;
    padding: 0.5rem 1.1rem;
    border: 1px solid transparent;
    border-radius: 999px;
    background: var(--accent);
    color: var(--on-accent);
    font: inherit;
    font-weight: 600;
    text-decoration: none;
    cursor: pointer;
    transition: background-color 120ms;
  }
  button:hover,
  .button:hover {
    background: var(--accent-strong);
  }
  button:disabled {
    background: var(--sunken);
    color: var(--muted);
    cursor: default;
  }
  button.plain,
  .button.plain {
    background: transparent;
    border-color: var(--field-line);
    color: var(--ink);
  }
  button.plain:hover,
  .button.plain:hover {
    background: var(--sunken);
  }
  button.danger {
    background: transparent;
    border-color: var(--danger);
    color: var(--danger);
  }
  button.danger:hover {
    background: var(--danger-soft);
  }
  button.small {
    min-height: 2.25rem;
    padding: 0.25rem 0.85rem;
    font-size: 0.9rem;
  }
  button.quiet {
    min-height: 1.75rem;
    padding: 0.125rem 0.5rem;
    background: transparent;
    color: var(--muted);
    font-size: 0.8125rem;
    font-weight: 500;
  }
  button.quiet:hover {
    background: var(--sunken);
    color: var(--ink);
  }
  label {
    display: block;
    margin-bottom: 0.375rem;
    font-weight: 600;
  }
  input:not([type="radio"], [type="checkbox"]),
  select {
    width: 100%;
    min-height: 2.75rem;
    padding: 0.5rem 0.875rem;
    border: 1px solid var(--field-line);
    border-radius: 10px;
    background: var(--surface);
    color: var(--ink);
    font: inherit;
  }
  input::placeholder {
    color: var(--muted);
    opacity: 1;
  }
  .problem,
  .good {
    margin: 0.75rem 0 0;
    padding: 0.625rem 0.875rem;
    border-radius: 10px;
    overflow-wrap: anywhere;
  }
  .problem {
    background: var(--danger-soft);
    color: var(--danger);
  }
  .good {
    background: var(--accent-soft);
    color: var(--accent-strong);
  }
  .muted {
    color: var(--muted);
  }
`;
