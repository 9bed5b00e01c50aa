// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";

import { AgentApi } from "../src/api/agent";
import "../src/components/agent-face";
import { agentName } from "../src/components/agent-face";
import "../src/views/agent-identity";
import { answering, buttonIn, everything, settled } from "./tools-made";

const PICTURE = "data:image/png;base64,iVBORw0KGgo=";
const ME = {
  user: { id: "u1", email: "ada@a.io", role: "member" as const },
  model: { provider: "demo", model: "demo", demo: true },
  agent: { name: "Ada", face: PICTURE },
  version: "1",
  mail: false,
};

describe("the name and the face of the agent", () => {
  afterEach(() => {
    document.body.replaceChildren();
  });

  it("are shown where the agent is, or the usual words without them", async () => {
    expect(agentName(ME)).toBe("Ada");
    expect(agentName({ ...ME, agent: { name: "", face: "" } })).toBe("Your agent");
    const face = document.createElement("agent-face");
    document.body.append(face);
    for (const [shown, tag] of [
      [PICTURE, "IMG"],
      ["\u{1f98a}", "SPAN"],
      ["<img src=x onerror=alert(1)>", "SPAN"],
    ] as const) {
      face.face = shown;
      await face.updateComplete;
      const tags = everything(document.body).map(({ tagName }) => tagName);
      expect(tags.filter((name) => name === "IMG" || name === "SPAN")).toEqual([tag]);
    }
  });

  it("are changed together, and the page is told", async () => {
    const answer = { name: "Bo", face: "\u{1f98a}" };
    const { api, sent } = answering({ "PUT /api/agent/identity": () => answer });
    const form = document.createElement("agent-identity");
    form.agent = new AgentApi(api);
    form.me = ME;
    let told = 0;
    form.addEventListener("me-changed", () => (told += 1));
    document.body.append(form);
    await settled();
    const fields = everything(document.body);
    const field = (name: string) => fields.find((one) => one.classList.contains(name));
    const [name, emoji] = [field("name"), field("emoji")] as HTMLInputElement[];
    expect([name?.value, emoji?.value]).toEqual(["Ada", ""]);
    if (name === undefined || emoji === undefined) return;
    name.value = " Bo ";
    emoji.value = "\u{1f98a}";
    emoji.dispatchEvent(new Event("input"));
    await settled();
    buttonIn(document.body, "Save")?.click();
    await settled();
    expect(JSON.stringify(sent)).toContain(JSON.stringify(answer));
    expect(told).toBe(1);
  });
});
