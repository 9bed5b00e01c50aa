/** Sends the files of a message in pieces that fit into frames. */

import type { ClientFrame } from "../api/generated";
import { nameOf, typeOf } from "./attachments";

/** A multiple of three, so that the base64 of the pieces joins to that of the file. */
export const PIECE_BYTES = 180 * 1024;

type Attach = Extract<ClientFrame, { type: "attach" }>;
export type SentFiles = NonNullable<Extract<ClientFrame, { type: "send" }>["files"]>;

/** The frames of a message's files, before its `send`. */
export async function* piecesOf(id: string, files: readonly File[]): AsyncGenerator<Attach> {
  for (const [file, content] of files.entries()) {
    let at = 0;
    for (let from = 0; from < content.size; from += PIECE_BYTES) {
      const bytes = await content.slice(from, from + PIECE_BYTES).arrayBuffer();
      const data = base64(new Uint8Array(bytes));
      yield { type: "attach", id, file, at, data };
      at += data.length;
    }
  }
}

export function sentFiles(files: readonly File[]): SentFiles {
  return files.map((file) => ({ name: nameOf(file), type: typeOf(file) }));
}

function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let from = 0; from < bytes.length; from += 8_192) {
    binary += String.fromCharCode(...bytes.subarray(from, from + 8_192));
  }
  return btoa(binary);
}
