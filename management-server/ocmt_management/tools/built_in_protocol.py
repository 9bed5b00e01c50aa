"""The interface of the built-in tools for the endpoint."""

from typing import Protocol


class BuiltIn(Protocol):
    @property
    def definitions(self) -> bytes:
        """Their definitions as JSON objects, separated by commas."""
        ...

    def has(self, name: str) -> bool: ...

    async def call(self, user_id: str, name: str, arguments: bytes) -> bytes:
        """Call a built-in tool. Returns a `CallToolResult` as JSON."""
        ...
