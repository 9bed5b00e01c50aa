"""The form of user ids.

A user id appears in URLs, container labels and folder names, so it has no characters with a special
meaning there: it has no slash or dot, does not begin with a dash, and is in lower case.
"""

import re
from typing import Annotated

from pydantic import StringConstraints

USER_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
HOME_PREFIX = "agent."
"""With a dot, which no user id has: a home is never the folder of another user."""
_HOME = re.compile(r"agent\.[0-9a-f]{16}")
_USER_ID = re.compile(USER_ID_PATTERN)

UserId = Annotated[str, StringConstraints(pattern=USER_ID_PATTERN)]
"""1–63 characters of `a-z`, `0-9`, `_`, `-`, starting with a letter or digit, such as a UUID in
lower case."""


def is_home(text: str) -> bool:
    """Whether `text` is the home of an agent that was made before it had a user."""
    return _HOME.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Whether `text` is a user id."""
    return _USER_ID.fullmatch(text) is not None
