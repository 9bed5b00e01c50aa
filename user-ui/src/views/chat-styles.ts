/** The chat page: a scrolling conversation and a fixed foot. */

import { css } from "lit";

export const chatStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
  }
  .conversation {
    position: relative;
    display: grid;
    grid-template: minmax(0, 1fr) / minmax(0, 1fr);
    flex: 1;
    min-height: 0;
  }
  .foot {
    width: 100%;
    max-width: calc(var(--column) + 1rem);
    margin: 0 auto;
    padding: 0 0.75rem max(0.5rem, env(safe-area-inset-bottom));
  }
  .foot .problem {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.5rem;
    margin: 0 0 0.5rem;
  }
  .foot .problem p {
    flex: 1 1 14rem;
    margin: 0;
  }
  .hint {
    min-height: 1.5rem;
    margin: 0.375rem 0 0;
    color: var(--muted);
    font-size: 0.8125rem;
    text-align: center;
  }
  .loading {
    margin: auto;
    text-align: center;
    color: var(--muted);
    animation: appear 300ms 400ms both;
  }
  @keyframes appear {
    from {
      opacity: 0;
    }
  }
`;
