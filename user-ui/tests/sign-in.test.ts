// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { Api } from "../src/api/client";
import "../src/views/sign-in-view";

type Answer = [number, unknown];

/** The opened page of a link, with a server that gives `answers` in turn. */
async function opened(...answers: Answer[]): Promise<{ text: () => string; press: () => void }> {
  const api = new Api("https://ocmt.example", () => {
    const [status, body] = answers.shift() ?? [500, {}];
    return Promise.resolve(new Response(JSON.stringify(body), { status }));
  });
  const view = document.createElement("sign-in-view");
  view.api = api;
  view.token = "t".repeat(43);
  view.mail = true;
  document.body.append(view);
  await settled();
  const root = view.shadowRoot;
  return {
    text: () => (root?.querySelector("main")?.textContent ?? "").replace(/\s+/g, " "),
    press: () => root?.querySelector("button")?.click(),
  };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

describe("the page of a sign-in link", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("says whose account it is before the press", async () => {
    const page = await opened([200, { email: "ada@a.io", here: true, signedInAs: null }]);
    expect(page.text()).toContain("signs in to the account of ada@a.io");
    expect(page.text()).not.toContain("You are signed in here");
  });

  it("says whose session ends by it", async () => {
    const page = await opened([200, { email: "eve@e.io", here: true, signedInAs: "ada@a.io" }]);
    expect(page.text()).toContain("You are signed in here as ada@a.io");
  });

  it("says nothing of ending one's own session, nor where it signs nobody in", async () => {
    const own = await opened([200, { email: "ada@a.io", here: true, signedInAs: "ada@a.io" }]);
    expect(own.text()).not.toContain("You are signed in here");
    const other = await opened([200, { email: "eve@e.io", here: false, signedInAs: "ada@a.io" }]);
    expect(other.text()).toContain("eve@e.io, in the browser that requested it");
  });

  it("offers no press for a link that does not work", async () => {
    const page = await opened([403, { code: "link-invalid", detail: "This link is wrong." }]);
    expect(page.text()).toContain("This link is wrong.");
    expect(page.text()).toContain("Mail me a link");
  });

  it("tries again when the server did not answer", async () => {
    const page = await opened(
      [503, { code: "database-unavailable", detail: "The database does not answer." }],
      [200, { email: "ada@a.io", here: true, signedInAs: null }],
    );
    expect(page.text()).toContain("The database does not answer.");
    page.press();
    await settled();
    expect(page.text()).toContain("ada@a.io");
  });
});

describe("the sign-in page", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  async function page(set: { mail: boolean; reason?: string }, ...answers: Answer[]) {
    const api = new Api("https://ocmt.example", () => {
      const [status, body] = answers.shift() ?? [500, {}];
      return Promise.resolve(new Response(JSON.stringify(body), { status }));
    });
    const view = Object.assign(document.createElement("sign-in-view"), { api, ...set });
    document.body.append(view);
    await settled();
    const root = view.shadowRoot;
    if (root === null) throw new Error("the page has no content");
    return { root, text: () => root.textContent.replace(/\s+/g, " ") };
  }

  it("offers no mail where none is sent, and shows the command as one", async () => {
    const { root, text } = await page({ mail: false, reason: "You were signed out." });
    expect(text()).not.toContain("Mail me a link");
    expect(root.querySelector("form")).toBeNull();
    expect(text()).toContain("You were signed out.");
    expect(text()).not.toContain("`");
    expect(root.querySelector("code")?.textContent).toContain("./ocmt link --email");
  });

  it("says what to do when no mail comes, and does not claim that one was sent", async () => {
    const message = "If this address may sign in, a link is on its way.";
    const { root, text } = await page({ mail: true }, [202, { message }]);
    const field = root.querySelector("input");
    if (field !== null) field.value = "ada@a.io";
    root.querySelector("form")?.requestSubmit();
    await settled();
    expect(text()).toContain(message);
    expect(text()).toContain("Your address: ada@a.io");
    expect(text()).not.toMatch(/sent to/i);
  });
});
