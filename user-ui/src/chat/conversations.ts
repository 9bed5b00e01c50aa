/** The list of conversations, as a pure reducer of frames. */

import type { FoundFrame, ServerFrame, WireConversation } from "../api/generated";
import { MAIN } from "./protocol";

export interface ConversationList {
  /** Pinned ones first, then the last used. */
  readonly entries: readonly WireConversation[];
  readonly loaded: boolean;
  /** Whether there are older ones that only the search finds. */
  readonly more: boolean;
  /** Why the last change failed; empty otherwise. */
  readonly problem: string;
  readonly found: FoundFrame | null;
  /** Ids of those that are being deleted. The agent may have to be stopped first. */
  readonly deleting: readonly string[];
}

export const EMPTY_LIST: ConversationList = {
  entries: [],
  loaded: false,
  more: false,
  problem: "",
  found: null,
  deleting: [],
};

export function onListFrame(list: ConversationList, frame: ServerFrame): ConversationList {
  switch (frame.type) {
    case "conversations":
      return { ...list, entries: sorted(frame.conversations), loaded: true, more: frame.more };
    case "conversation":
      return { ...list, entries: withEntry(list.entries, frame.conversation), problem: "" };
    case "deleted":
      return {
        ...list,
        entries: list.entries.filter(({ id }) => id !== frame.conversation),
        deleting: list.deleting.filter((id) => id !== frame.conversation),
        problem: "",
      };
    case "found":
      return { ...list, found: frame, problem: "" };
    case "error":
      if (frame.about !== "conversations") return list;
      return {
        ...list,
        deleting: list.deleting.filter((id) => id !== frame.conversation),
        problem: frame.detail,
      };
    default:
      return list;
  }
}

export function withEntry(
  entries: readonly WireConversation[],
  changed: WireConversation,
): readonly WireConversation[] {
  return sorted([...entries.filter(({ id }) => id !== changed.id), changed]);
}

export function titleOf(
  entry: { readonly id: string; readonly title: string } | undefined,
): string {
  if (entry === undefined || entry.title === "") {
    return entry?.id === MAIN ? "Main conversation" : "New conversation";
  }
  return entry.title;
}

/** The entries whose title contains every word of `query`. */
export function matching(
  entries: readonly WireConversation[],
  query: string,
): readonly WireConversation[] {
  const words = query.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  return entries.filter((entry) => {
    const title = titleOf(entry).toLocaleLowerCase();
    return words.every((word) => title.includes(word));
  });
}

function sorted(entries: readonly WireConversation[]): readonly WireConversation[] {
  return [...entries].sort(
    (one, other) => Number(other.pinned) - Number(one.pinned) || time(other) - time(one),
  );
}

function time({ at }: WireConversation): number {
  return new Date(at).getTime() || 0;
}
