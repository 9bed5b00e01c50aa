"""The built-in tool `ocmt_api`: which connection a call is for, and the rows behind its rules.

Each connection with an HTTP API has two tools, `read` and `change`, which are not listed by
themselves: rules, decisions and last uses are for them, as for any server's.
"""

from typing import Any

from ocmt_management.tools import trouble
from ocmt_management.tools.api_request import CHANGE, READ, ApiRefused, named_connection
from ocmt_management.tools.names import RESERVED_PREFIX
from ocmt_management.tools.pins import Definition, read_definition
from ocmt_management.tools.snapshot import Tool, UserTools

API = f"{RESERVED_PREFIX}_api"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "connection": {
            "type": "string",
            "description": "The connection's short name, as ocmt_list_connections tells it.",
        },
        "method": {
            "type": "string",
            "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            "default": "GET",
        },
        "url": {
            "type": "string",
            "description": "A path below the API's address, or a whole https:// address of one of "
            "its hosts.",
        },
        "query": {"type": "object", "description": "Parameters to add to the address."},
        "headers": {"type": "object", "description": "Such as Accept. The credential is added."},
        "body": {"description": "Sent as JSON; a text is sent as it is."},
    },
    "required": ["connection", "url"],
    "additionalProperties": False,
}
DEFINITION: dict[str, Any] = {
    "name": API,
    "description": "Call the HTTP API of an account that your person has connected, such as "
    "GitHub or Google. The credential is added on the way. Reading (GET) is mostly allowed; "
    "anything else waits for your person's decision.",
    "inputSchema": _SCHEMA,
}
OF_CONNECTION: dict[str, dict[str, Any]] = {
    READ: {
        "name": READ,
        "title": "Read",
        "description": "Read from the API (GET).",
        "inputSchema": _SCHEMA,
        "annotations": {"readOnlyHint": True},
    },
    CHANGE: {
        "name": CHANGE,
        "title": "Change",
        "description": "Change something by the API (POST, PUT, PATCH, DELETE).",
        "inputSchema": _SCHEMA,
    },
}
"""The tools of each connection, by name."""


def definition_of(name: str) -> Definition:
    return read_definition(OF_CONNECTION[name])


def tool_called(caller: UserTools, arguments: bytes) -> Tool | bytes:
    """The tool whose rule holds for a call of `ocmt_api`; or a result that refuses it."""
    try:
        named, tool_name = named_connection(arguments)
    except ApiRefused as refused:
        return trouble.error_result(str(refused))
    found = caller.apis.get(named.lower())
    if found is None:
        have = ", ".join(sorted(caller.apis)) or "none"
        return trouble.error_result(
            f"There is no connection {named[:100]}. There are: {have}. To have another connected, "
            f"call {RESERVED_PREFIX}_link_for_person and give your person the link."
        )
    return caller.by_server[found.server_id, tool_name]
