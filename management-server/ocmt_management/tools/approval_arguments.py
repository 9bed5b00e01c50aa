"""The canonical form of a call's arguments, which is sealed, compared, shown and run. Pure.

The person must see exactly what runs. So the arguments are parsed and serialised again: of a
duplicate member one value is left, and that value is both shown and run.
"""

import json
import re

import msgspec
from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

MAX_BYTES = 32 * 1024

# Control characters, and those that hide, join or reorder the text around them.
_MISLEADING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U000e0000-\U000e0fff]"
)


class ArgumentsRefused(ValueError):
    """The arguments cannot be shown to a person; `str()` says why."""


def canonical(arguments: bytes) -> bytes:
    """The arguments in canonical JSON. Raises `ArgumentsRefused`."""
    if len(arguments) > MAX_BYTES:
        raise ArgumentsRefused(
            f"they have {len(arguments)} bytes; a person is asked for at most {MAX_BYTES}"
        )
    try:
        value = bounded_json.read(arguments)
    except NotJson as error:
        raise ArgumentsRefused(str(error)) from error
    if not isinstance(value, dict):
        raise ArgumentsRefused("they are not an object")
    return msgspec.json.encode(value, order="sorted")


def shown(arguments: bytes) -> str:
    """Canonical arguments as indented text in which no character hides or reorders another."""
    text = json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    return _MISLEADING.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"
