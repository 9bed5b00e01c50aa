/** Tables of the admin's page, which become cards on a phone, and its plots. */

import { css } from "lit";

export const tableStyles = css`
  table {
    width: 100%;
    border-collapse: collapse;
    font-size: 0.9375rem;
  }
  th,
  td {
    padding: 0.5rem 0.75rem 0.5rem 0;
    border-top: 1px solid var(--line);
    text-align: left;
    vertical-align: top;
    overflow-wrap: anywhere;
  }
  thead th {
    border-top: 0;
    color: var(--muted);
    font-weight: 500;
    white-space: nowrap;
  }
  th button {
    min-height: 2rem;
    padding: 0;
    border-radius: 6px;
    background: transparent;
    color: var(--muted);
    font-weight: 500;
  }
  th button:hover {
    background: transparent;
    color: var(--ink);
  }
  .acts td {
    padding-top: 0;
    border-top: 0;
  }
  @media (max-width: 44rem) {
    tbody,
    tbody tr,
    tbody td {
      display: block;
    }
    thead tr {
      display: flex;
      flex-wrap: wrap;
      gap: 0 1rem;
    }
    tbody tr:not(.acts) {
      padding: 0.5rem 0;
      border-top: 1px solid var(--line);
    }
    tbody td {
      padding: 0.125rem 0;
      border: 0;
    }
    td[data-label]::before {
      content: attr(data-label) ": ";
      color: var(--muted);
    }
  }
`;

export const plotStyles = css`
  .plot {
    display: block;
    width: 100%;
    height: 7rem;
    border-bottom: 1px solid var(--line);
  }
  .scale {
    display: flex;
    justify-content: space-between;
    margin: 0.25rem 0 1rem;
    color: var(--muted);
    font-size: 0.8125rem;
  }
  .line {
    fill: none;
    stroke: var(--accent);
    stroke-width: 2;
    vector-effect: non-scaling-stroke;
  }
  .dot {
    fill: var(--accent);
  }
  .dot.stopped {
    fill: var(--waking);
  }
`;
