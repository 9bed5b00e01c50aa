"""Combines the resources and prompts of a user's servers, as last listed. Pure."""

import json
import re
from collections.abc import Iterable
from typing import Any

from ocmt_management.tools.connection import Connection
from ocmt_management.tools.names import public_name

_EXPRESSION = re.compile(r"\{[^}]*\}")


class Extras:
    def __init__(self, connections: Iterable[Connection]) -> None:
        self._lists: dict[str, list[dict[str, Any]]] = {
            "resources": [],
            "resourceTemplates": [],
            "prompts": [],
        }
        self._by_uri: dict[str, Connection] = {}
        self._by_template: list[tuple[tuple[str, str], Connection]] = []
        self._by_prompt: dict[str, tuple[Connection, str]] = {}
        for connection in connections:
            if connection.extras is not None:
                self._add(connection, json.loads(connection.extras))

    def listed(self, member: str) -> list[dict[str, Any]]:
        return self._lists[member]

    def server_of_uri(self, uri: str) -> Connection | None:
        """The server of a resource; the first by slug if several have the URI."""
        found = self._by_uri.get(uri)
        if found is not None:
            return found
        for (start, end), connection in self._by_template:
            if len(uri) >= len(start) + len(end) and uri.startswith(start) and uri.endswith(end):
                return connection
        return None

    def prompt(self, name: str) -> tuple[Connection, str] | None:
        """`(server, name at the server)` of a prompt."""
        return self._by_prompt.get(name)

    def _add(self, connection: Connection, lists: dict[str, list[Any]]) -> None:
        for resource in _named(lists, "resources", "uri"):
            if self._by_uri.setdefault(resource["uri"], connection) is connection:
                self._lists["resources"].append(resource)
        for template in _named(lists, "resourceTemplates", "uriTemplate"):
            uri = template["uriTemplate"]
            self._lists["resourceTemplates"].append(template)
            start, end = _ends_of(uri)
            if start:
                self._by_template.append(((start, end), connection))
            # A completion request has the template itself as its URI.
            self._by_uri.setdefault(uri, connection)
        for prompt in _named(lists, "prompts", "name"):
            taken = {name.lower() for name in self._by_prompt}
            name = public_name(connection.slug, prompt["name"], taken)
            self._by_prompt[name] = (connection, prompt["name"])
            self._lists["prompts"].append({**prompt, "name": name})


def _named(lists: dict[str, list[Any]], member: str, key: str) -> Iterable[dict[str, Any]]:
    for item in lists.get(member, []):
        if isinstance(item, dict) and isinstance(item.get(key), str):
            yield item


def _ends_of(template: str) -> tuple[str, str]:
    """The literal text before a template's first expression and after its last."""
    parts = _EXPRESSION.split(template)
    return parts[0], parts[-1]
