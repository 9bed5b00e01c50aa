// @vitest-environment jsdom
import { Marked } from "marked";
import { afterEach, describe, expect, it, vi } from "vitest";

import { blocksOf, nodesOf } from "../src/markdown/render";
import { MarkdownView } from "../src/markdown/view";

function shown(text: string): HTMLElement {
  const root = document.createElement("div");
  vi.spyOn(performance, "now").mockReturnValue(0); // all of it in one slice
  new MarkdownView(root).show(text);
  return root;
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("an agent's markdown", () => {
  it("is shown with lists, tables and code", () => {
    const root = shown(
      "# Title\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nx < 1\n```",
    );
    expect(root.querySelector("h1")?.textContent).toBe("Title");
    expect(root.querySelectorAll("li")).toHaveLength(2);
    expect(root.querySelector(".table")?.getAttribute("tabindex")).toBe("0");
    expect(root.querySelector("pre")?.textContent).toBe("x < 1\n");
    expect(root.querySelector(".code button")?.textContent).toBe("Copy code");
  });

  it("aligns the columns of a table as it says", () => {
    const cells = shown("| a | b |\n|---|--:|\n| 1 | 2 |").querySelectorAll("td");
    expect([...cells].map((cell) => cell.getAttribute("align"))).toEqual([null, "right"]);
  });

  it("is rendered in slices when it is long, the newest text last", () => {
    vi.useFakeTimers();
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (now += 10));
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    const long = Array.from({ length: 50 }, (_, index) => `Paragraph ${index}`);
    view.show(long.join("\n\n"));
    expect(root.childElementCount).toBeLessThan(5);
    vi.advanceTimersToNextTimer();
    const few = root.childElementCount;
    expect(few).toBeLessThan(10);
    view.show([...long, "The end"].join("\n\n"));
    vi.runAllTimers();
    expect(root.textContent.replaceAll("\n", "")).toBe([...long, "The end"].join(""));
    view.show("Short");
    vi.runAllTimers();
    expect(root.textContent.trim()).toBe("Short");
    vi.useRealTimers();
  });

  it("copies a piece of code at the press of its button", async () => {
    const writeText = vi.fn(() => Promise.resolve());
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    const button = shown("```\nx < 1\n```").querySelector("button");
    button?.click();
    await vi.waitFor(() => expect(button?.textContent).toBe("Copied"));
    expect(writeText).toHaveBeenCalledWith("x < 1\n");
  });

  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><use href='#x'/></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "hi <b style='position:fixed' onclick=alert(1)>there</b>",
    "<form action='https://evil.example'><input name=key></form>",
  ])("shows HTML as text and makes nothing of it: %s", (html) => {
    const root = shown(html);
    const names = [...root.querySelectorAll("*")].map((element) => element.localName);
    expect(names.filter((name) => !["div", "p"].includes(name))).toEqual([]);
    expect(root.textContent.trim()).toBe(html);
  });

  it.each([
    ...["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x"],
    "data:image/svg+xml;base64,PHN2Zz4=",
  ])("makes no link of %s", (address) => {
    expect(shown(`[press](${address})`).querySelector("a[href]")).toBeNull();
  });

  it("opens links in a new tab that knows nothing of this one", () => {
    const link = shown("[site](https://example.com)").querySelector("a");
    expect(link?.target).toBe("_blank");
    expect(link?.rel).toBe("noopener noreferrer");
  });

  it("loads no image from elsewhere, but links to it", () => {
    const root = shown("![a cat](https://example.com/cat.png)");
    expect(root.querySelector("img")).toBeNull();
    expect(root.querySelector("a")?.href).toBe("https://example.com/cat.png");
  });

  it("shows an image that is in the text itself", () => {
    const image = shown("![dot](data:image/png;base64,iVBORw0KGgo=)").querySelector("img");
    expect(image?.alt).toBe("dot");
  });

  it("draws no script image", () => {
    expect(shown("![x](data:image/svg+xml;base64,PHN2Zz4=)").querySelector("img")).toBeNull();
  });

  it("leaves the blocks above alone while the last one grows", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.show("first\n\nsecond");
    const first = root.children[0];
    view.show("first\n\nsecond and more");
    expect(root.children[0]).toBe(first);
    expect(root.children[1]?.textContent.trim()).toBe("second and more");
  });

  it("shows what is done and what is open in a list of tasks", () => {
    const boxes = [...shown("- [x] a\n- [ ] b").querySelectorAll("input")];
    expect(boxes.map((box) => [box.checked, box.disabled, box.ariaLabel])).toEqual([
      [true, true, "Done"],
      [false, true, "Open"],
    ]);
  });

  it("keeps the number at which a list starts", () => {
    expect(shown("4. four\n5. five").querySelector("ol")?.start).toBe(4);
  });

  it("removes blocks that the text no longer has", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.show("a\n\nb\n\nc");
    view.show("a");
    expect(root.textContent.trim()).toBe("a");
  });

  it("knows a reference that is defined further down", () => {
    const [block] = blocksOf("see [this][1]\n\n[1]: https://example.com");
    expect(block && nodesOf(block).querySelector("a")?.href).toBe("https://example.com/");
  });

  it.each([
    ["quotes", ">".repeat(2_500) + " deep"],
    ["many quotes", ">".repeat(50_000) + " deep"],
    ["spaced quotes", "> ".repeat(20_000) + "deep"],
    ["quotes around a list", ">".repeat(5_000) + "- deep"],
  ])("shows %s that nest too deeply as they are written", (_, text) => {
    const root = shown(`# Before\n\n${text}`);
    expect(root.textContent).toContain("Before");
    expect(root.textContent).toContain("deep");
  });

  it.each([
    ["the lexer", "lexer"],
    ["the parser", "parser"],
  ] as const)("shows the text as it is written when %s fails", (_, method) => {
    const failing = vi.spyOn(Marked.prototype, method).mockImplementation(() => {
      throw new RangeError("Maximum call stack size exceeded");
    });
    const text = "**a** <script>alert(1)</script>\n  b";
    const root = shown(text);
    failing.mockRestore();
    expect(root.querySelector("script, strong")).toBeNull();
    expect(root.querySelector("p.plain")?.textContent).toBe(text);
  });

  it("lays out each part in the direction of its own first letters", () => {
    const root = shown(
      "# مرحبا\n\nHello\n\n- שלום\n- one\n\n> مرحبا\n\n| a | b |\n|---|---|\n| שלום | 2 |",
    );
    const parts = [...root.querySelectorAll<HTMLElement>("h1, p, ul, li, blockquote, th, td")];
    expect(parts.length).toBeGreaterThan(8);
    expect(parts.every((part) => part.dir === "auto")).toBe(true);
  });

  it("lays out code from the left", () => {
    const frame = shown("- שלום\n\n  ```\n  x = 1\n  ```").querySelector("pre")?.parentElement;
    expect(frame?.dir).toBe("ltr");
  });
});
