"""The connections that are in trouble now, as this process saw it."""

from collections import Counter
from collections.abc import Mapping

from ocmt_management.tools.connection import Connection
from ocmt_management.tools.trouble import COUNTED, Kind, Trouble

_MAX_ENTRIES = 10_000


class Troubles:
    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Trouble] = {}

    def begun(self, connection: Connection, problem: Trouble) -> bool:
        """Note a connection's trouble; whether it differs from the one before."""
        before = self._of.get(connection.key)
        if len(self._of) >= _MAX_ENTRIES:
            self._of.clear()
        self._of[connection.key] = problem
        return before is None or before.text != problem.text

    def ended(self, connection: Connection) -> bool:
        """The connection was served; whether it was in trouble before."""
        return self._of.pop(connection.key, None) is not None

    def forget(self, user_id: str, server_id: str) -> None:
        self._of.pop((user_id, server_id), None)

    def by_kind(self) -> Mapping[str, int]:
        """How many connections are in each kind of trouble; all kinds that count."""
        found = Counter(problem.kind for problem in self._of.values())
        return {kind: found[kind] for kind in Kind if kind in COUNTED or found[kind]}
