"""What may name a user between the servers.

A user id appears in URLs, container labels and folder names, so it is limited to characters that
mean nothing to any of them: it can never be a path, a flag or an upper/lower-case twin.
"""

import re
from typing import Annotated

from pydantic import StringConstraints

USER_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_USER_ID = re.compile(USER_ID_PATTERN)

UserId = Annotated[str, StringConstraints(pattern=USER_ID_PATTERN)]
"""1–63 characters of `a-z`, `0-9`, `_`, `-`, starting with a letter or digit (a UUID fits)."""


def is_user_id(text: str) -> bool:
    """Whether `text` may name a user. `$` alone would let a trailing newline through."""
    return _USER_ID.fullmatch(text) is not None
