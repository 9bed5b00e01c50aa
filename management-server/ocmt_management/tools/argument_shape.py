"""Describes a call's arguments for the log and the page, without their values. Pure."""

from ocmt_common import bounded_json

from ocmt_management.tools.models import SHAPE_CHARACTERS

_KINDS = {
    ord('"'): "text", ord("{"): "object", ord("["): "list", ord("t"): "true/false",
    ord("f"): "true/false", ord("n"): "null",
}  # fmt: skip
_SHOWN = 12


def shape_of(arguments: bytes, definition: bytes) -> str:
    """Names, types and sizes, such as `path: text 23, limit: number`.

    Shows only names from the tool's definition, since any other could itself be a value.
    """
    try:
        members = bounded_json.members(arguments)
    except bounded_json.NotJson:
        return "not an object"
    shown: list[str] = []
    others = 0
    for name, raw in members.items():
        value = bytes(raw)
        if len(shown) == _SHOWN or f'"{name}":'.encode() not in definition:
            others += 1
            continue
        kind = _KINDS.get(value[0], "number")
        size = f" {len(value)}" if kind in ("text", "object", "list") else ""
        shown.append(f"{name}: {kind}{size}")
    if others:
        shown.append(f"{others} more")
    return ", ".join(shown)[:SHAPE_CHARACTERS]
