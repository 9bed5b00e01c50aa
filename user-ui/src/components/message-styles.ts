/** Layout of a message. */

import { css } from "lit";

export const messageStyles = css`
  :host {
    display: block;
  }
  article {
    display: flex;
    flex-direction: column;
  }
  .answer > * {
    min-width: 0;
  }
  .question {
    align-items: flex-end;
  }
  .question > * {
    max-width: min(85%, 36rem);
  }
  .bubble {
    padding: 0.625rem 1rem;
    border-radius: 18px 18px 4px 18px;
    background: var(--accent-soft);
  }
  p.text {
    margin: 0;
    white-space: pre-wrap;
  }
  .files {
    display: flex;
    flex-direction: column;
    gap: 0.5rem;
    margin: 0.5rem 0 0;
    padding: 0;
    list-style: none;
    overflow-wrap: anywhere;
  }
  .files img {
    display: block;
    max-width: 100%;
    max-height: 24rem;
    border-radius: var(--radius);
    background: var(--sunken);
  }
  .question .files {
    align-items: flex-end;
    margin: 0 0 0.25rem;
  }
  .question .files img {
    max-height: 14rem;
  }
  .folded {
    max-height: 14rem;
    overflow: hidden;
    mask-image: linear-gradient(#000 70%, transparent);
  }
  button.more {
    align-self: flex-start;
    margin-top: 0.25rem;
    color: var(--accent);
    font-weight: 600;
  }
  .question .more {
    align-self: flex-end;
  }
  .meta {
    display: flex;
    align-items: center;
    gap: 0.25rem;
    min-height: 1.75rem;
    margin-top: 0.125rem;
    color: var(--muted);
    font-size: 0.8125rem;
  }
  /* The button stands before the time, so that the time stays aligned with the bubble's edge. */
  .question .meta {
    flex-direction: row-reverse;
    padding-right: 0.5rem;
  }
  .answer .meta > time,
  .answer .meta > .ending {
    margin-right: 0.25rem;
  }
  .problem {
    margin-top: 0.25rem;
  }
  .problem p {
    margin: 0 0 0.375rem;
  }
  .thinking {
    display: flex;
    align-items: center;
    gap: 0.625rem;
    margin: 0;
    color: var(--muted);
  }
  .dots {
    display: inline-flex;
    gap: 4px;
  }
  .dots i {
    width: 7px;
    height: 7px;
    border-radius: 50%;
    background: currentColor;
    animation: breathe 1.2s infinite ease-in-out;
  }
  .dots i:nth-child(2) {
    animation-delay: 0.15s;
  }
  .dots i:nth-child(3) {
    animation-delay: 0.3s;
  }
  @keyframes breathe {
    0%,
    60%,
    100% {
      opacity: 0.35;
    }
    30% {
      opacity: 1;
    }
  }
  @media (hover: hover) {
    .meta > time,
    .meta > .quiet {
      visibility: hidden;
    }
    article:hover .meta > *,
    article:focus-within .meta > * {
      visibility: visible;
    }
  }
`;
