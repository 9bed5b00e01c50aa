"""The ids of a user's conversations, and the keys of their sessions in OpenClaw. Pure.

The main conversation is OpenClaw's main session, in which jobs and heartbeats report too. Others
have keys of ours, or those of the dashboard's sessions, which forks get. OpenClaw spends a request
to the model on the name of the latter, and reports each in the main session. Sessions with other
keys (jobs, sub-agents, channels) are no conversations of the page. (OpenClaw 2026.9.6)
"""

import re

SESSION_KEY = "main"
"""The key of the main conversation in requests to the gateway."""
MAIN = "main"
"""The id of the main conversation. It always exists and cannot be deleted."""
CONVERSATION_ID = r"main|(?:d-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_MAIN_KEYS = frozenset({SESSION_KEY, "agent:main:main"})
# The start of an id → that of its key.
_PREFIXES = (("d-", "agent:main:dashboard:"), ("", "agent:main:ocmt-"))
_ID = re.compile(CONVERSATION_ID)


def key_of(conversation: str) -> str:
    """The session key of a conversation. Raises `ValueError` for what is not an id."""
    if _ID.fullmatch(conversation) is None:
        raise ValueError("not the id of a conversation")
    if conversation == MAIN:
        return SESSION_KEY
    start, prefix = next(one for one in _PREFIXES if conversation.startswith(one[0]))
    return prefix + conversation.removeprefix(start)


def conversation_of(key: object) -> str | None:
    """The conversation with this session key; `None` for a session that is not a conversation."""
    if not isinstance(key, str):
        return None
    if key in _MAIN_KEYS:
        return MAIN
    for start, prefix in _PREFIXES:
        found = start + key.removeprefix(prefix)
        if key.startswith(prefix) and found != MAIN and _ID.fullmatch(found):
            return found if key_of(found) == key else None
    return None
