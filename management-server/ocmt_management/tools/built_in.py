"""The built-in tools, which every agent has besides those of its user's servers.

They need no decision: they list what the agent has, and make links for its person. Only `ocmt_api`
does; the gateway runs it like a server's tool.
"""

from typing import Any

import msgspec
from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson
from ocmt_common.problems import Problem

from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.service import ConnectionView, Integrations, Kind
from ocmt_management.tools import api_tool
from ocmt_management.tools.approval_results import text_result
from ocmt_management.tools.approval_states import OPEN
from ocmt_management.tools.approvals import Approvals
from ocmt_management.tools.connection_links import ConnectionLinks
from ocmt_management.tools.models import DefinitionState, Rule, Transport
from ocmt_management.tools.names import RESERVED_PREFIX
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.schemas import ServerView
from ocmt_management.tools.views import ToolViews
from ocmt_management.vault.service import KeyRing

LIST = f"{RESERVED_PREFIX}_list_tool_servers"
LINK = f"{RESERVED_PREFIX}_link_for_person"
RESULT = f"{RESERVED_PREFIX}_decision_result"
CONNECTIONS = f"{RESERVED_PREFIX}_list_connections"

_NONE: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_DEFINITIONS: tuple[dict[str, Any], ...] = (
    {
        "name": LIST,
        "description": "List the tool servers that your person has connected or could connect, "
        "what is wrong with each, and the calls that wait for their decision.",
        "inputSchema": _NONE,
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": LINK,
        "description": "Make a link to give to your person: to connect a tool server or mend its "
        "connection (`connect`), to connect an account such as Google or GitHub (`account`), or to "
        "decide on the calls that wait for them (`decide`). If your task lacks one, name it: a "
        "message tells you when it is connected, and you go on.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "to": {"type": "string", "enum": ["connect", "account", "decide"]},
                "provider": {
                    "type": "string",
                    "description": "For `account`: the provider, such as GitHub.",
                },
                "server": {
                    "type": "string",
                    "description": "For `connect`: the server's name, from ocmt_list_tool_servers.",
                },
            },
            "required": ["to"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": RESULT,
        "description": "Fetch what became of a call that your person had to decide on, by its "
        "number: its whole result once it ran.",
        "inputSchema": {
            "type": "object",
            "properties": {"number": {"type": "integer", "minimum": 1}},
            "required": ["number"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": CONNECTIONS,
        "description": "List the accounts that your person has connected, with their state, for "
        f"{api_tool.API}, and what they could connect; with the link for that.",
        "inputSchema": _NONE,
        "annotations": {"readOnlyHint": True},
    },
    api_tool.DEFINITION,
)


class BuiltInTools:
    """`page` is the address of the page's Tools view."""

    definitions = b",".join(msgspec.json.encode(one) for one in _DEFINITIONS)

    def __init__(
        self,
        approvals: Approvals,
        *,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        page: str,
        integrations: Integrations,
        links: ConnectionLinks,
    ) -> None:
        self._approvals = approvals
        self._database = database
        self._keys = keys
        self._clock = clock
        self._page = page
        self._integrations = integrations
        self._links = links

    def has(self, name: str) -> bool:
        return any(name == one["name"] for one in _DEFINITIONS)

    async def call(self, user_id: str, name: str, arguments: bytes) -> bytes:
        try:
            read = bounded_json.read(arguments)
        except NotJson as error:
            return text_result(f"The arguments are not JSON: {error}.", error=True)
        given = read if isinstance(read, dict) else {}
        try:
            if name == LIST:
                return await self._list(user_id)
            if name == LINK:
                return await self._link(user_id, given)
            if name == CONNECTIONS:
                return await self._connections(user_id)
            return await self._result(user_id, given.get("number"))
        except Problem as problem:
            return text_result(problem.detail, error=True)

    async def _list(self, user_id: str) -> bytes:
        async with self._database.read() as session:
            views = ToolViews(session, keys=self._keys, clock=self._clock, user_id=user_id)
            servers = (await views.all()).servers
        waiting = [one for one in await self._approvals.latest(user_id) if one["state"] in OPEN]
        servers = [server for server in servers if server.transport is not Transport.API]
        lines = [_line(server) for server in servers] or ["No tool server is there yet."]
        lines += [
            f"Call number {one['number']} ({one['tool']} of {one['server']}): {one['state']}."
            for one in reversed(waiting)
        ]
        return text_result("\n".join(lines))

    async def _link(self, user_id: str, given: dict[str, Any]) -> bytes:
        to = given.get("to")
        if to == "account":
            return await self._links.to_account(user_id, given.get("provider"))
        if to == "connect":
            return await self._links.to_server(user_id, given.get("server"))
        if to == "decide":
            return text_result(f"{self._page}?decisions")
        return text_result('Give `to`: "connect", "account" or "decide".', error=True)

    async def _connections(self, user_id: str) -> bytes:
        async with self._database.read() as session:
            servers = await ToolRepository(session).servers_for(user_id)
            connections = await self._integrations.list(session, user_id)
            ready = await self._integrations.clients(session).registered()
        names = {s.id: s.slug for s in servers if s.transport == Transport.API}
        lines = [_connection_line(one, names[one.id]) for one in connections if one.id in names]
        more = ", ".join(sorted(found.provider.name for found in ready.values()))
        return text_result(
            "\n".join(
                [
                    *(lines or ["No account is connected."]),
                    f"Your person can connect {more + ', or ' if more else ''}any API with a key, "
                    f"and mend connections, at {self._integrations.page} - if a task lacks one, "
                    f"get the link from {LINK}, and you are told when it is connected.",
                ]
            )
        )

    async def _result(self, user_id: str, number: object) -> bytes:
        # In Python, a bool is an int. The database's numbers have 32 bits.
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**31:
            return text_result("Give `number`, the number of the call.", error=True)
        found = await self._approvals.outcome(user_id, number)
        return found or text_result(f"There is no call number {number}.", error=True)


def _line(server: ServerView) -> str:
    if not server.enabled:
        return f"{server.name}: disabled."
    if not server.connected:
        return f"{server.name}: not connected."
    usable = [one for one in server.tools if _usable(one.state) and one.rule is not Rule.DENY]
    changed = sum(one.state is DefinitionState.CHANGED for one in server.tools)
    parts = [f"{server.name}: connected, {len(usable)} tools."]
    if server.credential_state not in (None, "ok"):
        parts.append(f"Its credential is {server.credential_state}.")
    if server.trouble:
        parts.append(server.trouble)
    if changed:
        parts.append(f"{changed} changed tools wait for your person to accept them.")
    return " ".join(parts)


def _connection_line(one: ConnectionView, name: str) -> str:
    what = "key" if one.kind is Kind.KEY else "account"
    parts = [
        f"{name}: {one.name}, {what} {one.account}, {one.state}. Hosts: {', '.join(one.hosts)}."
    ]
    if one.trouble:
        parts.append(one.trouble)
    if one.missing:
        parts.append(f"Not permitted: {', '.join(one.missing)}.")
    return " ".join(parts)


def _usable(state: DefinitionState) -> bool:
    return state not in (DefinitionState.CHANGED, DefinitionState.GONE)
