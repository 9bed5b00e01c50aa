import { beforeEach, expect, it } from "vitest";

import { FileStorage } from "../src/chat/file-storage";

/** IndexedDB with one store, whose open databases can die. */
class FakeDatabases {
  readonly kept = new Map<string, unknown>();
  opened: { onclose: (() => void) | null; dead: boolean }[] = [];

  open = () => {
    const database = {
      onclose: null,
      dead: false,
      transaction: () => {
        if (database.dead) throw new DOMException("closed", "InvalidStateError");
        return { objectStore: () => this.store };
      },
    };
    this.opened.push(database);
    return this.request(database);
  };

  private readonly store = {
    get: (key: string) => this.request(this.kept.get(key)),
    put: (value: unknown, key: string) => this.request(void this.kept.set(key, value)),
    delete: (key: string) => this.request(void this.kept.delete(key)),
  };

  private request(result: unknown) {
    const request = { result, onsuccess: (): void => undefined };
    queueMicrotask(() => request.onsuccess());
    return request;
  }
}

let databases: FakeDatabases;
let files: FileStorage;

/** The names of the kept files, as the page finds them after a reload. */
async function found(): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve));
  const kept = databases.kept.get("u1.draft") as File[] | undefined;
  return (kept ?? []).map(({ name }) => name);
}

beforeEach(async () => {
  databases = new FakeDatabases();
  files = new FileStorage("u1", databases as unknown as IDBFactory);
  files.set("draft", [new File(["abc"], "a.txt")]);
  expect(await found()).toEqual(["a.txt"]);
});

it("keeps files in a new database when the browser closed the last one", async () => {
  const [database] = databases.opened;
  if (database === undefined) throw new Error("nothing was opened");
  database.dead = true;
  database.onclose?.();
  files.set("draft", [new File(["abc"], "b.txt")]);
  expect(await found()).toEqual(["b.txt"]);
  files.set("draft", [new File(["abc"], "c.txt")]);
  expect(await found()).toEqual(["c.txt"]);
  expect(databases.opened).toHaveLength(2);
});

it("keeps the next files when the browser closed it without a word", async () => {
  for (const database of databases.opened) database.dead = true;
  await files.get("other");
  files.set("draft", [new File(["abc"], "b.txt")]);
  expect(await found()).toEqual(["b.txt"]);
});
