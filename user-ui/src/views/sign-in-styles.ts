import { css } from "lit";

export const signInStyles = css`
  :host {
    display: grid;
    min-height: 100dvh;
    place-items: center;
    padding: 1.5rem 1rem;
  }
  main {
    display: flex;
    flex-direction: column;
    width: 100%;
    max-width: 25rem;
    padding: 2rem 1.5rem;
    border: 1px solid var(--line);
    border-radius: 20px;
    background: var(--surface);
    box-shadow: var(--shadow);
  }
  h1 {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    margin: 1.25rem 0 0.25rem;
    font-size: 1.5rem;
    line-height: 1.25;
    letter-spacing: -0.01em;
    outline: 0;
  }
  p {
    margin: 0 0 1rem;
    overflow-wrap: anywhere;
  }
  p.small {
    margin: -0.25rem 0 0.5rem;
    font-size: 0.875rem;
  }
  form {
    display: flex;
    flex-direction: column;
    gap: 0.125rem;
    margin: 0.5rem 0 0;
  }
  form button {
    margin-top: 0.875rem;
  }
  button.quiet {
    align-self: center;
    min-height: 2.25rem;
    margin-top: 0.875rem;
    font-size: 0.9rem;
  }
  .digits {
    font-family: var(--mono);
    font-size: 1.25rem;
    letter-spacing: 0.35em;
    text-align: center;
  }
  .code {
    margin: 0.75rem 0 1.25rem;
    padding: 1rem 0 1rem 0.2em;
    border-radius: var(--radius);
    background: var(--accent-soft);
    color: var(--accent-strong);
    font-family: var(--mono);
    font-size: 2.5rem;
    font-weight: 700;
    letter-spacing: 0.2em;
    line-height: 1.2;
    text-align: center;
    user-select: all;
  }
`;
