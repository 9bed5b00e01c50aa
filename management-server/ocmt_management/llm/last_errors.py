"""The error of each user's last model request, for the chat to show.

OpenClaw reports to its user only that the request failed; the reason stays in its log.
"""

from ocmt_management.llm.errors import ModelError


class LastErrors:
    """Holds an error per user while the user's last request failed."""

    def __init__(self) -> None:
        self._errors: dict[str, ModelError] = {}

    def record(self, user_id: str, error: ModelError) -> None:
        self._errors[user_id] = error

    def forget(self, user_id: str) -> None:
        self._errors.pop(user_id, None)

    def of(self, user_id: str) -> ModelError | None:
        return self._errors.get(user_id)
