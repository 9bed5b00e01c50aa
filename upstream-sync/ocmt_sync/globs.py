"""Globs over repository paths: the policy's (anchored at the root) and CODEOWNERS' (gitignore's).

Many patterns become one regular expression, since a sync classifies tens of thousands of paths.
"""

import re
from collections.abc import Sequence


def glob_regex(pattern: str, *, ranges: bool = True) -> str:
    """Convert a glob to a regular expression.

    `**` matches across folders, `*` and `?` within one, and a trailing `/` everything below. With
    `ranges`, `[…]` matches one of its characters.
    """
    if pattern.endswith("/"):
        pattern += "**"
    out: list[str] = []
    i = 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out.append("(?:[^/]+/)*")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        elif pattern[i] == "*":
            out.append("[^/]*")
            i += 1
        elif pattern[i] == "?":
            out.append("[^/]")
            i += 1
        elif ranges and pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            body = pattern[i + 1 : end].replace("\\", "\\\\")
            out.append(f"[{'^' + body[1:] if body[0] in '!^' else body}]")
            i = end + 1
        else:
            out.append(re.escape(pattern[i]))
            i += 1
    return "".join(out)


def codeowners_regex(pattern: str) -> str:
    """Convert a CODEOWNERS pattern to a regular expression.

    A pattern without a slash matches at any depth; a folder's pattern also matches all below it.
    """
    anchored = "/" in pattern.rstrip("/")
    body = pattern.lstrip("/")
    regex = glob_regex(body, ranges=False)  # GitHub supports no character ranges
    prefix = "" if anchored else "(?:.*/)?"
    # On GitHub, `docs/*` matches only files directly in docs; other patterns also match below.
    below = "" if pattern.endswith(("/", "/*")) else "(?:/.*)?"
    return f"{prefix}{regex}{below}"


class FirstMatch:
    """Finds the first of several patterns that a path matches, cached per path."""

    def __init__(self, regexes: Sequence[str]) -> None:
        self._empty = not regexes
        self._all = re.compile("|".join(f"({r})\\Z" for r in regexes), re.DOTALL)
        self._known: dict[str, int | None] = {}

    def __call__(self, path: str) -> int | None:
        """The index of the first pattern that matches; `None` if none does."""
        if path in self._known:
            return self._known[path]
        found = None if self._empty else self._all.match(path)
        index = None if found is None or found.lastindex is None else found.lastindex - 1
        self._known[path] = index
        return index
