/** The commands of the palette. Pure, but for what they do when they are run. */

import type { WireConversation } from "../api/generated";
import { titleOf } from "../chat/conversations";
import { MAIN } from "../chat/protocol";
import { THEMES, setTheme, type Theme } from "../theme";
import { conversationPath } from "../views/location";
import type { View } from "../views/registry";

type Dispatch = (name: "go-to" | "new-conversation", detail: string | null) => void;

export interface Command {
  readonly name: string;
  readonly kind: "Action" | "Page" | "Conversation" | "Theme";
  readonly run: (dispatch: Dispatch) => void;
}

const THEME_NAMES: Record<Theme, string> = {
  system: "Theme as the system",
  light: "Light theme",
  dark: "Dark theme",
};

/** All commands, those that are used most first. */
export function commands(
  views: readonly View[],
  conversations: readonly WireConversation[],
): readonly Command[] {
  const main = conversations.filter(({ id }) => id === MAIN);
  const others = conversations.filter(({ id }) => id !== MAIN);
  const listed = main.length > 0 ? [...main, ...others] : [{ id: MAIN, title: "" }, ...others];
  return [
    {
      name: "New conversation",
      kind: "Action",
      run: (dispatch) => dispatch("new-conversation", null),
    },
    ...listed.map((one): Command => ({
      name: titleOf(one),
      kind: "Conversation",
      run: (dispatch) => dispatch("go-to", conversationPath(one.id)),
    })),
    ...views.map(({ title, path }): Command => ({
      name: title,
      kind: "Page",
      run: (dispatch) => dispatch("go-to", path),
    })),
    ...THEMES.map((theme): Command => ({
      name: THEME_NAMES[theme],
      kind: "Theme",
      run: () => setTheme(theme),
    })),
  ];
}

/** The commands with every word in their name or kind; those whose name begins with it first. */
export function found(all: readonly Command[], text: string): readonly Command[] {
  const wanted = text.trim().toLocaleLowerCase();
  const words = wanted.split(/\s+/);
  const fitting = all.filter(({ name, kind }) => {
    const own = `${name} ${kind}`.toLocaleLowerCase();
    return words.every((word) => own.includes(word));
  });
  const begins = ({ name }: Command) => name.toLocaleLowerCase().startsWith(wanted);
  return [...fitting.filter(begins), ...fitting.filter((one) => !begins(one))];
}
