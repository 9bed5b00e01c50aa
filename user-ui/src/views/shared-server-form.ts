/** The request in the form for a shared server. */

import type { NewSharedServer } from "../api/generated";
import { fieldText } from "./form";

export type ServerKind = "url" | "package";

export function newSharedServer(form: HTMLFormElement, kind: ServerKind): NewSharedServer {
  const credentialName = fieldText(form, "credentialName");
  return {
    name: fieldText(form, "name"),
    ...(credentialName === "" ? {} : { credentialName }),
    ...(kind === "url"
      ? { url: fieldText(form, "url") }
      : {
          package: {
            name: fieldText(form, "package"),
            version: fieldText(form, "version"),
            integrity: fieldText(form, "integrity"),
            arguments: argumentLines(fieldText(form, "arguments")),
          },
        }),
  };
}

/** One argument a line, as it is written; empty lines are none. */
function argumentLines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== "");
}
