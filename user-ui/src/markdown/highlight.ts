/** Colours code. Loaded when a message has code in a language; each language when it occurs. */

import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import type { LanguageFn } from "highlight.js";

import { again } from "../api/again";

type Loader = () => Promise<{ default: LanguageFn }>;

const LONGEST = 50_000;
const LANGUAGES: Record<string, Loader> = {
  bash: () => import("highlight.js/lib/languages/bash"),
  c: () => import("highlight.js/lib/languages/c"),
  cpp: () => import("highlight.js/lib/languages/cpp"),
  csharp: () => import("highlight.js/lib/languages/csharp"),
  css: () => import("highlight.js/lib/languages/css"),
  diff: () => import("highlight.js/lib/languages/diff"),
  dockerfile: () => import("highlight.js/lib/languages/dockerfile"),
  go: () => import("highlight.js/lib/languages/go"),
  ini: () => import("highlight.js/lib/languages/ini"),
  java: () => import("highlight.js/lib/languages/java"),
  javascript: () => import("highlight.js/lib/languages/javascript"),
  json: () => import("highlight.js/lib/languages/json"),
  kotlin: () => import("highlight.js/lib/languages/kotlin"),
  markdown: () => import("highlight.js/lib/languages/markdown"),
  php: () => import("highlight.js/lib/languages/php"),
  python: () => import("highlight.js/lib/languages/python"),
  ruby: () => import("highlight.js/lib/languages/ruby"),
  rust: () => import("highlight.js/lib/languages/rust"),
  sql: () => import("highlight.js/lib/languages/sql"),
  swift: () => import("highlight.js/lib/languages/swift"),
  typescript: () => import("highlight.js/lib/languages/typescript"),
  xml: () => import("highlight.js/lib/languages/xml"),
  yaml: () => import("highlight.js/lib/languages/yaml"),
};
const ALIASES: Record<string, string> = {
  "c#": "csharp",
  "c++": "cpp",
  console: "bash",
  cs: "csharp",
  docker: "dockerfile",
  golang: "go",
  html: "xml",
  js: "javascript",
  jsx: "javascript",
  kt: "kotlin",
  md: "markdown",
  mjs: "javascript",
  patch: "diff",
  py: "python",
  rb: "ruby",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svg: "xml",
  toml: "ini",
  ts: "typescript",
  tsx: "typescript",
  yml: "yaml",
  zsh: "bash",
};

/** Colour the code in `element` whose language is known. */
export async function highlight(element: HTMLElement): Promise<void> {
  for (const code of element.querySelectorAll<HTMLElement>("pre code[class^='language-']")) {
    const named = code.className.slice("language-".length).toLowerCase();
    const language = Object.hasOwn(ALIASES, named) ? (ALIASES[named] ?? named) : named;
    const text = code.textContent;
    if (text.length > LONGEST || !(await load(language)) || code.textContent !== text) continue;
    const html = hljs.highlight(text, { language, ignoreIllegals: true }).value;
    const coloured = DOMPurify.sanitize(html, {
      ALLOWED_TAGS: ["span"],
      ALLOWED_ATTR: ["class"],
      RETURN_DOM_FRAGMENT: true,
    });
    // What is copied and read must be what was sent.
    if (coloured.textContent === text) code.replaceChildren(coloured);
  }
}

async function load(language: string): Promise<boolean> {
  const loader = Object.hasOwn(LANGUAGES, language) ? LANGUAGES[language] : undefined;
  if (loader === undefined) return false;
  if (hljs.getLanguage(language) !== undefined) return true;
  try {
    hljs.registerLanguage(language, (await again(loader)).default);
    return true;
  } catch {
    return false; // offline: the code stays without colours
  }
}
