import { css } from "lit";

export const sidebarStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
  }
  .top {
    display: grid;
    grid-template-columns: auto 1fr;
    gap: 0.5rem;
    align-items: center;
    padding: max(0.5rem, env(safe-area-inset-top)) 0.75rem 0.5rem;
  }
  .top input {
    grid-column: 1 / -1;
    min-height: 2.25rem;
    border-color: var(--line);
  }
  .brand {
    display: flex;
    padding: 0.25rem;
  }
  .agent {
    display: flex;
    grid-column: 1 / -1;
    align-items: center;
    gap: 0.5rem;
    min-width: 0;
    padding: 0 0.25rem;
    color: inherit;
    font-weight: 600;
    text-decoration: none;
  }
  .new {
    min-height: 2.5rem;
  }
  .list {
    position: relative;
    flex: 1;
    min-height: 0;
    padding: 0.25rem 0.5rem;
    overflow-y: auto;
    overscroll-behavior: contain;
  }
  ul {
    margin: 0;
    padding: 0;
    list-style: none;
  }
  h3 {
    margin: 1rem 0.5rem 0.25rem;
    color: var(--muted);
    font-size: 0.8125rem;
  }
  .row {
    position: relative;
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    border-radius: 10px;
  }
  .row:hover,
  .row:focus-within,
  .page:hover {
    background: color-mix(in srgb, var(--ink) 6%, transparent);
  }
  .row.current,
  .page[aria-current] {
    background: var(--accent-soft);
  }
  .row a {
    display: flex;
    flex: 1;
    align-items: center;
    gap: 0.5rem;
    min-width: 0;
    min-height: 2.5rem;
    padding: 0.25rem 0.25rem 0.25rem 0.625rem;
    border-radius: 10px;
    color: inherit;
    text-decoration: none;
  }
  .name {
    flex: 1;
    min-width: 0;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .unread .name {
    font-weight: 700;
  }
  .pin svg {
    width: 0.875rem;
    height: 0.875rem;
    color: var(--muted);
  }
  .pin {
    display: inline-flex;
  }
  .news,
  .working {
    flex: none;
    width: 0.5rem;
    height: 0.5rem;
    border-radius: 50%;
    background: var(--accent);
  }
  .working {
    background: var(--waking);
    animation: pulse 1.2s infinite ease-in-out;
  }
  @keyframes pulse {
    50% {
      opacity: 0.3;
    }
  }
  .more {
    width: 2.25rem;
    min-height: 2.25rem;
    padding: 0;
  }
  .actions,
  .rename {
    display: flex;
    flex: 1 0 100%;
    flex-wrap: wrap;
    gap: 0.375rem;
    padding: 0.25rem 0.5rem 0.5rem;
  }
  .rename input {
    flex: 1;
    min-width: 0;
    min-height: 2.25rem;
  }
  .deleting {
    flex-direction: column;
    align-items: stretch;
    padding: 0.25rem 0.625rem;
  }
  .hit a {
    display: grid;
    gap: 0.125rem;
    padding-block: 0.375rem;
  }
  .hit .name {
    font-weight: 600;
  }
  .snippet {
    display: -webkit-box;
    overflow: hidden;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 2;
    font-size: 0.875rem;
    overflow-wrap: anywhere;
  }
  .when,
  .hint {
    color: var(--muted);
    font-size: 0.8125rem;
  }
  .hint {
    margin: 0.75rem 0.5rem;
  }
  .pages {
    display: flex;
    flex-direction: column;
    padding: 0.5rem 0.5rem max(0.5rem, env(safe-area-inset-bottom));
    border-top: 1px solid var(--line);
  }
  .page {
    display: flex;
    align-items: center;
    gap: 0.625rem;
    min-height: 2.5rem;
    padding: 0.25rem 0.625rem;
    border-radius: 10px;
    color: inherit;
    text-decoration: none;
  }
  .commands {
    display: none;
    justify-content: space-between;
    margin: 0 0.5rem 0.5rem;
  }
  @media (hover: hover) {
    .commands {
      display: flex; /* For those who have a keyboard. */
    }
  }
  kbd {
    font: inherit;
  }
  .count {
    margin-left: auto;
    min-width: 1.25rem;
    padding: 0 0.3125rem;
    border-radius: 999px;
    background: var(--waking);
    color: var(--bg);
    font-size: 0.75rem;
    line-height: 1.25rem;
    text-align: center;
  }
`;
