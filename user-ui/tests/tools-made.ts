/** Tool servers, and an API that answers for them, for the tests of the tools' views. */

import { Api } from "../src/api/client";
import type { ServerView, ToolView } from "../src/api/generated";

export function tool(name: string, changes: Partial<ToolView> = {}): ToolView {
  return {
    name,
    publicName: `notes__${name}`,
    title: null,
    description: "A tool.",
    readOnly: null,
    state: "ok",
    rule: "ask",
    adminRule: null,
    ownRule: null,
    ...changes,
  };
}

export function server(changes: Partial<ServerView> = {}): ServerView {
  return {
    id: "s1",
    slug: "notes",
    name: "Notes",
    shared: false,
    transport: "http",
    url: "https://notes.example/mcp",
    package: null,
    credentialName: null,
    connected: true,
    enabled: true,
    credentialState: null,
    credentialHint: null,
    connectionId: null,
    trouble: null,
    listedAt: "2026-11-27T10:00:00Z",
    adminRule: null,
    ownRule: null,
    tools: [],
    ...changes,
  };
}

type Answers = Record<string, (body: unknown) => unknown>;

/** An API of which each route answers what the test says, or throws a problem; and what it got. */
export function answering(answers: Answers) {
  const sent: [string, unknown][] = [];
  const api = new Api("https://ocmt.example", (url, init) => {
    const route = `${init.method ?? ""} ${url.replace("https://ocmt.example", "")}`;
    const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : null;
    if (!route.startsWith("GET")) sent.push([route, body]);
    const answer = answers[route];
    if (answer === undefined) throw new Error(`The test has no answer for ${route}.`);
    const value = answer(body);
    if (value instanceof Response) return Promise.resolve(value);
    return Promise.resolve(new Response(value === undefined ? "" : JSON.stringify(value)));
  });
  return { api, sent };
}

export function refused(status: number, code: string, detail: string): Response {
  return new Response(JSON.stringify({ code, detail }), { status });
}

export const settled = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));

/** Every element below `root`, through shadow roots. */
export function everything(root: ParentNode): Element[] {
  return [...root.querySelectorAll("*")].flatMap((one) => [
    one,
    ...(one.shadowRoot === null ? [] : everything(one.shadowRoot)),
  ]);
}

export function buttonIn(root: ParentNode, label: string): HTMLButtonElement | undefined {
  return everything(root).find(
    (one): one is HTMLButtonElement =>
      one instanceof HTMLButtonElement &&
      one.textContent.replace(/\s+/g, " ").trim().startsWith(label),
  );
}

/** The text on the page, through shadow roots. */
export function textOf(root: ParentNode): string {
  return pieces(root).join("").replace(/\s+/g, " ");
}

function pieces(node: Node): string[] {
  if (node.nodeType === Node.TEXT_NODE) return [node.textContent ?? ""];
  if (node instanceof Element && ["STYLE", "SCRIPT"].includes(node.tagName)) return [];
  const inner = node instanceof Element && node.shadowRoot !== null ? node.shadowRoot : node;
  return [...inner.childNodes].flatMap(pieces);
}

/** Open the `details` whose summary has this text; jsdom does not say so by itself. */
export async function unfold(root: ParentNode, summary: string): Promise<void> {
  const found = everything(root).find(
    (one): one is HTMLDetailsElement =>
      one instanceof HTMLDetailsElement &&
      (one.querySelector("summary")?.textContent ?? "").includes(summary),
  );
  if (found === undefined) throw new Error(`There is no “${summary}” to open.`);
  found.open = true;
  found.dispatchEvent(new Event("toggle"));
  await settled();
}

export function fieldIn(root: ParentNode, name: string): HTMLInputElement {
  const found = everything(root).find((one) => one.getAttribute("name") === name);
  if (found === undefined) throw new Error(`There is no field ${name}.`);
  return found as HTMLInputElement;
}
