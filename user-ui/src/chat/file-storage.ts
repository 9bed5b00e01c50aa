/**
 * The files of drafts and unsent messages, kept in this browser until they are sent: across reloads
 * and closed tabs where the browser allows (IndexedDB), otherwise as long as the page is open.
 */

const DATABASE = "ocmt-files";
const STORE = "files";

/** The name under which the files of a conversation's draft are kept. */
export function draftFiles(conversation: string): string {
  return `draft.${conversation}`;
}

export class FileStorage {
  private readonly memory = new Map<string, readonly File[]>();
  private database: Promise<IDBDatabase> | null = null;
  private renaming: Promise<void> = Promise.resolve();

  constructor(
    private readonly userId: string,
    private readonly factory: IDBFactory | undefined = globalThis.indexedDB,
  ) {}

  async get(name: string): Promise<readonly File[]> {
    await this.renaming;
    const known = this.memory.get(name);
    if (known !== undefined) return known;
    const kept = await this.run("readonly", (store) => store.get(this.key(name)));
    return Array.isArray(kept) ? kept.filter((one) => one instanceof File) : [];
  }

  set(name: string, files: readonly File[]): void {
    if (files.length === 0) {
      this.delete(name);
      return;
    }
    this.memory.set(name, files);
    void this.run("readwrite", (store) => store.put([...files], this.key(name)));
  }

  rename(name: string, to: string): void {
    const known = this.memory.get(name);
    if (known === undefined) {
      const get = this.get(name);
      this.renaming = get.then((files) => {
        this.set(to, files);
        this.delete(name);
      });
      return;
    }
    this.set(to, known);
    this.delete(name);
  }

  delete(name: string): void {
    this.memory.delete(name);
    void this.run("readwrite", (store) => store.delete(this.key(name)));
  }

  /** Remove all files of this user. */
  clearAll(): void {
    this.memory.clear();
    const all = IDBKeyRangeOf(this.key(""));
    if (all !== null) void this.run("readwrite", (store) => store.delete(all));
  }

  private key(name: string): string {
    return `${this.userId}.${name}`;
  }

  /** The result of a request; undefined where the browser refuses, or has no space. */
  private async run(
    mode: IDBTransactionMode,
    request: (store: IDBObjectStore) => IDBRequest,
  ): Promise<unknown> {
    if (this.factory === undefined) return undefined;
    try {
      this.database ??= this.opened(this.factory);
      const database = await this.database;
      return await done(request(database.transaction(STORE, mode).objectStore(STORE)));
    } catch {
      this.database = null; // it may be closed, as by Safari in the background
      return undefined;
    }
  }

  private async opened(factory: IDBFactory): Promise<IDBDatabase> {
    const request = factory.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    const database = await done(request);
    database.onclose = () => (this.database = null);
    return database;
  }
}

function IDBKeyRangeOf(start: string): IDBKeyRange | null {
  return typeof IDBKeyRange === "undefined" ? null : IDBKeyRange.bound(start, `${start}\uffff`);
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(request.error ?? new Error("refused"));
    };
  });
}
