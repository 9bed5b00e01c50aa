"""Session ids of servers, signed for agents so that each is bound to a connection. Pure.

An id of another user, or one issued for an earlier credential, is rejected here and never reaches
the server.
"""

import base64
import binascii
import hmac

from ocmt_management.tokens import KeyedHash
from ocmt_management.tools.connection import Connection

_MAX_CHARACTERS = 1024


class SessionIds:
    def __init__(self, keyed_hash: KeyedHash) -> None:
        self._hash = keyed_hash

    def wrapped(self, connection: Connection, session_id: str) -> str | None:
        """The id to give to the agent; `None` if the server's id is invalid by MCP's rules."""
        if len(session_id) > _MAX_CHARACTERS or not all("!" <= c <= "~" for c in session_id):
            return None
        return f"{_encoded(session_id.encode())}.{_encoded(self._mac(connection, session_id))}"

    def unwrapped(self, connection: Connection, text: str) -> str | None:
        """The server's own id; `None` if `text` was not issued for this connection."""
        first, _, second = text.partition(".")
        try:
            session_id = _decoded(first).decode()
            mac = _decoded(second)
        except ValueError:
            return None
        if not hmac.compare_digest(mac, self._mac(connection, session_id)):
            return None
        return session_id

    def _mac(self, connection: Connection, session_id: str) -> bytes:
        parts = [str(part) for part in connection.session_key]
        return self._hash("mcp-session", *parts, session_id)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
