/** Styles of rendered markdown. */

import { css } from "lit";

export const markdownStyles = css`
  .text {
    overflow-wrap: anywhere;
  }
  .block > * {
    margin: 0 0 0.75rem;
  }
  .plain {
    white-space: pre-wrap;
  }
  .block:last-child > :last-child {
    margin-bottom: 0;
  }
  h1,
  h2,
  h3,
  h4,
  h5,
  h6 {
    margin: 1.25rem 0 0.5rem;
    font-size: 1.0625rem;
    line-height: 1.35;
  }
  h1 {
    font-size: 1.3rem;
  }
  h2 {
    font-size: 1.15rem;
  }
  .block:first-child > h1,
  .block:first-child > h2,
  .block:first-child > h3 {
    margin-top: 0;
  }
  ul,
  ol {
    padding-inline-start: 1.5rem;
  }
  li + li {
    margin-top: 0.25rem;
  }
  li > p {
    margin: 0 0 0.375rem;
  }
  li input {
    margin: 0 0.375rem 0 0;
  }
  li:has(> input) {
    list-style: none;
    margin-inline-start: -1.375rem;
  }
  blockquote {
    padding-inline-start: 1rem;
    border-inline-start: 3px solid var(--line);
    color: var(--muted);
  }
  hr {
    border: 0;
    border-top: 1px solid var(--line);
  }
  img {
    max-width: 100%;
    height: auto;
    border-radius: 8px;
  }
  code {
    padding: 0.1em 0.35em;
    border-radius: 5px;
    background: var(--sunken);
    font-family: var(--mono);
    font-size: 0.875em;
  }
  .code {
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--sunken);
    overflow: hidden;
  }
  .code-bar {
    display: flex;
    justify-content: space-between;
    align-items: center;
    padding: 0.25rem 0.375rem 0.25rem 0.875rem;
    border-bottom: 1px solid var(--line);
    color: var(--muted);
    font-size: 0.8125rem;
  }
  pre {
    margin: 0;
    padding: 0.75rem 0.875rem;
    overflow-x: auto;
    line-height: 1.5;
    overflow-wrap: normal;
  }
  pre:focus-visible,
  .table:focus-visible {
    outline-offset: -2px;
  }
  pre code {
    padding: 0;
    background: none;
    font-size: 0.8438rem;
  }
  .hljs-comment,
  .hljs-quote,
  .hljs-meta {
    color: var(--muted);
  }
  .hljs-keyword,
  .hljs-selector-tag,
  .hljs-tag,
  .hljs-name,
  .hljs-deletion {
    color: var(--danger);
  }
  .hljs-string,
  .hljs-regexp,
  .hljs-addition,
  .hljs-attribute {
    color: var(--accent-strong);
  }
  .hljs-number,
  .hljs-literal,
  .hljs-symbol,
  .hljs-type,
  .hljs-built_in {
    color: var(--waking);
  }
  .hljs-title,
  .hljs-section,
  .hljs-attr,
  .hljs-variable,
  .hljs-property {
    color: var(--asleep);
  }
  .formula.block {
    overflow-x: auto;
    padding: 0.25rem 0;
  }
  .table {
    overflow-x: auto;
    overflow-wrap: normal;
  }
  table {
    border-collapse: collapse;
    font-size: 0.9375rem;
  }
  th,
  td {
    padding: 0.4rem 0.75rem;
    border: 1px solid var(--line);
    text-align: start;
    vertical-align: top;
  }
  [align="center"] {
    text-align: center;
  }
  [align="right"] {
    text-align: right;
  }
  th {
    background: var(--sunken);
  }
`;
