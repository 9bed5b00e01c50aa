"""Names: a server's slug, and a tool's public name in the aggregate.

OpenClaw adds the prefix `ocmt__` and cuts names at 64 characters, so two long names could become
equal. Names made here have at most 58 characters of `[A-Za-z0-9_-]`, begin with a letter, and
differ by more than case.
"""

import hashlib
import re
from collections.abc import Container

from ocmt_management.tools.models import PUBLIC_NAME_CHARACTERS, SLUG_CHARACTERS

SLUG_PATTERN = rf"[a-z][a-z0-9-]{{0,{SLUG_CHARACTERS - 2}}}[a-z0-9]"
"""Without underscores, so that `__` in a public name ends the slug."""
RESERVED_PREFIX = "ocmt"
"""The prefix of the built-in tools."""
_SEPARATOR = "__"
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_HASH_CHARACTERS = 8


def slug_from(name: str) -> str:
    """A slug for a server of this name, such as `my-notes` for `My notes`."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    words = words.lstrip("0123456789-")
    if len(words) < 2:
        words = "server"
    if words.startswith(RESERVED_PREFIX):
        words = f"my-{words}"
    return words[:SLUG_CHARACTERS].rstrip("-")


def numbered(slug: str, taken: Container[str]) -> str:
    """`slug`, or `slug` with the first number that makes it free."""
    number, found = 1, slug
    while found in taken:
        number += 1
        ending = f"-{number}"
        found = slug[: SLUG_CHARACTERS - len(ending)].rstrip("-") + ending
    return found


def public_name(slug: str, tool: str, taken: Container[str]) -> str:
    """The tool's name in the aggregate; `taken` are the user's other names in lower case.

    A name that has to be changed ends in a hash of the original, so it is the same each time.
    """
    whole = f"{slug}{_SEPARATOR}{_OTHER.sub('_', tool)}"
    plain = whole == f"{slug}{_SEPARATOR}{tool}" and len(whole) <= PUBLIC_NAME_CHARACTERS
    if plain and whole.lower() not in taken:
        return whole
    attempt = 0
    while True:
        hashed = hashlib.sha256(f"{tool}\x00{attempt}".encode()).hexdigest()[:_HASH_CHARACTERS]
        name = f"{whole[: PUBLIC_NAME_CHARACTERS - _HASH_CHARACTERS - 1]}_{hashed}"
        if name.lower() not in taken:
            return name
        attempt += 1
