"""Why the last request for a user's model failed, so that the chat can say it.

OpenClaw tells its user that "the request failed"; the reason it got from us stays in its log.
"""

from ocmt_management.llm.errors import Trouble


class Troubles:
    """The last trouble of each user whose last request failed."""

    def __init__(self) -> None:
        self._last: dict[str, Trouble] = {}

    def note(self, user_id: str, trouble: Trouble) -> None:
        self._last[user_id] = trouble

    def forget(self, user_id: str) -> None:
        self._last.pop(user_id, None)

    def of(self, user_id: str) -> Trouble | None:
        return self._last.get(user_id)
