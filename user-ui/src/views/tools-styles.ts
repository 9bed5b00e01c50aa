/** The tools' views. */

import { css } from "lit";

export const toolsStyles = css`
  /* They inherit from a box of the browser in between, which has none of the page's styles. */
  details > * {
    box-sizing: border-box;
  }
  details {
    margin-top: 0.25rem;
  }
  details > summary {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    min-height: 2.75rem;
    padding: 0.375rem 0;
    border-radius: 8px;
    color: var(--accent);
    line-height: 1.35;
    font-weight: 600;
    cursor: pointer;
  }
  details > summary::before {
    content: "›";
    width: 0.75rem;
    font-size: 1.25rem;
    line-height: 1;
    text-align: center;
    transition: transform 120ms;
  }
  details[open] > summary::before {
    transform: rotate(90deg);
  }
  summary::-webkit-details-marker {
    display: none;
  }
  textarea {
    display: block;
    width: 100%;
    min-height: 5rem;
    padding: 0.5rem 0.875rem;
    border: 1px solid var(--field-line);
    border-radius: 10px;
    background: var(--surface);
    color: var(--ink);
    font: inherit;
    resize: vertical;
  }
  .kinds {
    display: flex;
    flex-wrap: wrap;
    gap: 0.25rem 1.25rem;
    margin: 0 0 1rem;
    padding: 0;
    border: 0;
  }
  .kinds legend {
    padding: 0;
    font-weight: 600;
  }
  .kinds label {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    min-height: 2.75rem;
    margin: 0;
    font-weight: 500;
  }
  .kinds input {
    accent-color: var(--accent);
  }
  .field {
    margin-bottom: 1rem;
  }
  .field.wide {
    flex: 1 1 100%;
    margin: 0;
  }
  .field small {
    display: block;
    margin-top: 0.375rem;
    color: var(--muted);
  }
  .acts {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5rem;
    margin: 0.75rem 0;
  }
  .rule {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.25rem 0.75rem;
  }
  .rule label {
    margin: 0;
  }
  select.small {
    width: auto;
    max-width: 100%;
    min-height: 2.25rem;
    padding: 0.25rem 0.625rem;
  }
  .whole {
    white-space: nowrap;
  }
  .note {
    margin: 0.25rem 0 0;
    color: var(--muted);
    font-size: 0.875rem;
  }
  article {
    padding: 1rem 0;
    border-top: 1px solid var(--line);
    overflow-wrap: anywhere;
  }
  article h3 {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.25rem 0.5rem;
    margin: 0;
  }
  .tag.warn {
    background: var(--waking-soft);
    color: var(--waking);
  }
  li.tool {
    align-items: flex-start;
  }
`;
