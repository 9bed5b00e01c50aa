"""The error of each user's last model request, for the chat to show.

OpenClaw shows only that the request failed; the reason stays in its log.
"""

from datetime import datetime, timedelta

from ocmt_management.clock import Clock
from ocmt_management.llm.errors import NO_ANSWER, ModelError

_IN_A_ROW = timedelta(minutes=2)


class LastErrors:
    """Holds the error of each user whose last request failed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._errors: dict[str, tuple[ModelError, datetime]] = {}

    def record(self, user_id: str, error: ModelError) -> None:
        self._errors[user_id] = error, self._clock()

    def forget(self, user_id: str) -> None:
        self._errors.pop(user_id, None)

    def of(self, user_id: str) -> ModelError | None:
        error, _ = self._errors.get(user_id, (None, None))
        return error

    def just_unanswered(self, user_id: str) -> bool:
        """Whether the last request failed within 2 minutes without an answer of the provider."""
        error, at = self._errors.get(user_id, (None, None))
        return (
            error is not None
            and at is not None
            and error.code in NO_ANSWER
            and self._clock() - at < _IN_A_ROW
        )
