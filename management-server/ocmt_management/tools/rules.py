"""Decides which rule applies to a tool: the stricter of the admins' and the user's own. Pure.

On each side, the rule for the tool overrides the one for its server. Without any rule, a call needs
a decision. A user's `allow` for a tool applies to one definition only, by its pin.
"""

from dataclasses import dataclass

from ocmt_management.tools.models import DefinitionState, Rule

_STRICTNESS = {Rule.ALLOW: 0, Rule.ASK: 1, Rule.DENY: 2}


@dataclass(frozen=True, slots=True)
class Given:
    """A rule that a user or an admin set."""

    rule: Rule
    pin: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The admins' or the user's rules for a tool: for the tool itself, and for its server."""

    tool: Given | None = None
    server: Given | None = None


def effective(*, admin: Rules, own: Rules, state: DefinitionState, pin: bytes | None) -> Rule:
    """The rule for a tool whose usable definition has this pin."""
    given = [
        rule
        for rule in (_of_side(admin, state=state, pin=pin), _of_side(own, state=state, pin=pin))
        if rule is not None
    ]
    return max(given, key=_STRICTNESS.__getitem__, default=Rule.ASK)


def _of_side(rules: Rules, *, state: DefinitionState, pin: bytes | None) -> Rule | None:
    if rules.tool is not None and rules.tool.pin in (None, pin):
        return rules.tool.rule
    if rules.server is None:
        return None
    # The user has not seen a new tool yet, so a rule for the whole server does not allow it.
    if rules.server.rule is Rule.ALLOW and state is DefinitionState.NEW:
        return Rule.ASK
    return rules.server.rule


def version_of(*, admin: Rules, own: Rules) -> int:
    """A number that changes with the rules; compare it for equality only."""
    parts = []
    for given in (admin.tool, admin.server, own.tool, own.server):
        if given is None:
            parts.append(0)
        else:
            pin = int.from_bytes((given.pin or b"")[:3], "big")
            parts.append((pin << 2) | (_STRICTNESS[given.rule] + 1))
    version = 0
    for part in parts:
        version = (version * 1_000_003 + part) % (2**53)
    return version
