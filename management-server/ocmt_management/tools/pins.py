"""Tool definitions: checked for size, pinned by hash, compared with the accepted ones. Pure.

A server can change a tool's description after it was trusted, and thereby instruct the model. So
the definition that a user accepted is kept, and one that differs from it needs the user's consent.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ocmt_management.tools.messages import HEADER_TOKEN
from ocmt_management.tools.models import TOOL_CHARACTERS, DefinitionState

MAX_TOOLS = 500
MAX_DEFINITION_BYTES = 64 * 1024
MAX_DEPTH = 32
_MEMBERS = (
    "name", "title", "description", "inputSchema", "outputSchema", "annotations", "execution",
)  # fmt: skip
"""The members of a definition to store: those that a model or client acts on."""
_HEADER_TYPES = ("string", "integer", "boolean")


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    text: bytes
    """Canonical JSON."""

    @property
    def pin(self) -> bytes:
        return hashlib.sha256(self.text).digest()


class UnusableDefinition(ValueError):
    """A definition is malformed or too large; the text has the reason and the name, if any."""


def read_definition(tool: Any) -> Definition:
    """Parse a tool as its server listed it. Raises `UnusableDefinition`."""
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= TOOL_CHARACTERS or not name.isprintable():
        raise UnusableDefinition(f"a tool without a name of 1 to {TOOL_CHARACTERS} characters")
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise UnusableDefinition(f"{name}: its inputSchema is not of an object")
    if not isinstance(tool.get("description", ""), str):
        raise UnusableDefinition(f"{name}: its description is not a text")
    kept = {member: tool[member] for member in _MEMBERS if tool.get(member) is not None}
    if _depth(kept) > MAX_DEPTH:
        raise UnusableDefinition(f"{name}: its definition is nested deeper than {MAX_DEPTH} levels")
    if not _headers_are_usable(schema):
        raise UnusableDefinition(f"{name}: it marks a parameter as a header that cannot be one")
    text = _canonical(kept)
    if len(text) > MAX_DEFINITION_BYTES:
        raise UnusableDefinition(f"{name}: its definition is over {MAX_DEFINITION_BYTES} bytes")
    return Definition(name, text)


def read_definitions(tools: Iterable[Any]) -> tuple[dict[str, Definition], list[str]]:
    """The usable definitions by name, and the reasons why others are not used.

    Of several definitions with one name, the first is used; of all, the first `MAX_TOOLS`.
    """
    found: dict[str, Definition] = {}
    wrong: list[str] = []
    for tool in tools:
        try:
            definition = read_definition(tool)
        except UnusableDefinition as reason:
            wrong.append(str(reason))
            continue
        if definition.name in found:
            wrong.append(f"{definition.name}: listed twice; the first is used")
        elif len(found) >= MAX_TOOLS:
            wrong.append(f"more than {MAX_TOOLS} tools; the first {MAX_TOOLS} are used")
            break
        else:
            found[definition.name] = definition
    return found, wrong


def state_after(
    accepted: bytes | None, definition: Definition, *, first_list: bool
) -> DefinitionState:
    """The state of a listed definition, compared with the accepted one, if any.

    In the first list after the user connected the server, definitions without one are accepted.
    """
    if accepted is None:
        return DefinitionState.OK if first_list else DefinitionState.NEW
    if accepted == definition.text:
        return DefinitionState.OK
    before, after = json.loads(accepted), json.loads(definition.text)
    return DefinitionState.EXTENDED if _only_adds(before, after) else DefinitionState.CHANGED


def difference(before: bytes | None, after: bytes) -> list[str]:
    """The lines of a unified diff between two definitions; `before` is `None` for a new tool."""
    old = [] if before is None else _pretty(before)
    lines = difflib.unified_diff(old, _pretty(after), "accepted", "now", lineterm="", n=3)
    return list(lines)


def _only_adds(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether `after` at most adds optional parameters, at the schema's top level."""
    if _without_parameters(before) != _without_parameters(after):
        return False
    old = before["inputSchema"].get("properties", {})
    new = after["inputSchema"].get("properties", {})
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return all(name in new and new[name] == schema for name, schema in old.items())


def _without_parameters(definition: dict[str, Any]) -> dict[str, Any]:
    schema = {k: v for k, v in definition["inputSchema"].items() if k != "properties"}
    return {**definition, "inputSchema": schema}


def _pretty(text: bytes) -> list[str]:
    lines = json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    return [piece for line in lines for piece in _wrapped(line)]


def _wrapped(line: str) -> Iterator[str]:
    """Split a line of JSON at escaped line breaks: a description would be one long line."""
    yield from line.replace("\\n", "\\n\n").splitlines()


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="replace")


def _headers_are_usable(schema: dict[str, Any]) -> bool:
    """Whether all marks `x-mcp-header` can be obeyed; a client must not use the tool otherwise.

    They are header names, each once without regard to case, on texts, integers and booleans
    (2026-07-28, SEP-2243).
    """
    seen: set[str] = set()
    level: list[Any] = [schema]
    while level:
        properties = level.pop().get("properties")
        for one in properties.values() if isinstance(properties, dict) else ():
            if not isinstance(one, dict):
                continue
            level.append(one)
            if "x-mcp-header" not in one:
                continue
            mark = one["x-mcp-header"]
            named = isinstance(mark, str) and HEADER_TOKEN.fullmatch(mark) is not None
            if not named or mark.lower() in seen or one.get("type") not in _HEADER_TYPES:
                return False
            seen.add(mark.lower())
    return True


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > MAX_DEPTH:
            return deepest
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return deepest
