// @vitest-environment jsdom
import { describe, expect, it } from "vitest";

import { highlight } from "../src/markdown/highlight";
import { blocksOf, nodesOf } from "../src/markdown/render";
import { typeset } from "../src/markdown/typeset";

function shown(text: string): HTMLElement {
  const root = document.createElement("div");
  for (const block of blocksOf(text)) root.append(nodesOf(block));
  return root;
}

function formulas(text: string): string[] {
  const found = shown(text).querySelectorAll("code[class^='language-math-']");
  return [...found].map((code) => `${code.className.slice(14)}: ${code.textContent}`);
}

describe("formulas", () => {
  it("are found in each way to write them", () => {
    expect(formulas("So $a^2$ and \\(b_1\\).")).toEqual(["inline: a^2", "inline: b_1"]);
    expect(formulas("$$\n\\frac{1}{2}\n$$")).toEqual(["block: \\frac{1}{2}"]);
    expect(formulas("\\[x\\]")).toEqual(["block: x"]);
  });

  it("are not amounts of money, prices in code, or a single sign", () => {
    for (const text of ["It costs $5 to $10.", "`$a$`", "US$ and $", "```sh\necho $A $B\n```"]) {
      expect(formulas(text)).toEqual([]);
    }
  });

  it("become MathML, and stay as they are when they are wrong", () => {
    const root = shown("$x<y$ and $\\nonsense{$ and $\\href{javascript:alert(1)}{x}$");
    typeset(root);
    expect(root.querySelectorAll("math").length).toBeGreaterThan(0);
    expect(root.textContent).toContain("\\nonsense{");
    expect(root.innerHTML).not.toMatch(/ href=| style=|<script|<a /);
  });
});

describe("code", () => {
  it("is coloured in a language that is known, and reads the same", async () => {
    const root = shown("```py\ndef f(x):\n    return x < 1  # <b>\n```");
    const before = root.textContent;
    await highlight(root);
    expect(root.querySelector(".hljs-keyword")?.textContent).toBe("def");
    expect(root.querySelector("b")).toBeNull();
    expect(root.textContent).toBe(before);
  });

  it("stays plain in another one, or when it is very long", async () => {
    for (const text of [
      "```constructor\nx\n```",
      "```\nx\n```",
      `\`\`\`py\n${"x=1\n".repeat(20_000)}\`\`\``,
    ]) {
      const root = shown(text);
      await highlight(root);
      expect(root.querySelector("span")).toBeNull();
    }
  });
});
