"""A secret in memory: it shows itself only when asked by name."""

import hmac

HINT_CHARACTERS = 4
_HINT_FROM_LENGTH = 20


class SecretValue:
    """Wraps a secret so that a log line, an error or a format string shows a mask instead."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it where it is used, and keep no copy."""
        return self._value

    @property
    def hint(self) -> str | None:
        """The last four characters, or `None` for a secret too short to show any of."""
        if len(self._value) < _HINT_FROM_LENGTH:
            return None
        return self._value[-HINT_CHARACTERS:]

    def __repr__(self) -> str:
        return "SecretValue(•••)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is never pickled")
