"""A secret in memory, masked unless it is revealed explicitly."""

import hmac

HINT_CHARACTERS = 4
_HINT_FROM_LENGTH = 20


class SecretValue:
    """A secret that logs, errors and format strings show as a mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it where the value is used, and keep no copy."""
        return self._value

    @property
    def hint(self) -> str | None:
        """The last four characters, or `None` if the secret is too short to show any."""
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
        raise TypeError("a secret must not be pickled")
