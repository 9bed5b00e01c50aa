"""Computes what a rollback changes from the hosts' facts. Pure.

A rollback undoes the last deploy: it replaces the newest release that serves on any host, on every
host where it serves. All hosts of a component go back to the same, previous release. An interrupted
rollback is resumed instead, from its records on the hosts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.failure import CommandFailed

Facts = Mapping[tuple[Role, str], dict[str, Any]]
"""Target → its host's answer to `facts`."""


@dataclass(frozen=True, slots=True)
class Move:
    """A host's component goes back to `release`."""

    role: Role
    host: str
    release: str


@dataclass(frozen=True, slots=True)
class Stay:
    """A host's component is left as it is."""

    role: Role
    host: str
    why: str


def choose(facts: Facts, wanted: str | None) -> list[Move | Stay]:
    """The decision for each target: back to the release `wanted`, or to before the last deploy.

    Raises `CommandFailed` if no target can go back, or if any lacks the release `wanted`.
    """
    if wanted is not None:
        return [_to(wanted, role, host, known) for (role, host), known in facts.items()]
    chosen = _decisions(facts)
    if not any(isinstance(decision, Move) for decision in chosen):
        reasons = [f"{one.host}: {one.role}: {one.why}." for one in chosen if isinstance(one, Stay)]
        raise CommandFailed("\n".join(["There is nothing to roll back:", *reasons, _SEE]))
    return chosen


def unfinished(facts: Facts) -> list[Move]:
    """The remaining moves of an interrupted rollback; empty if there is none."""
    if not any(known["rollback"] for known in facts.values()):
        return []
    return [decision for decision in _decisions(facts) if isinstance(decision, Move)]


def _decisions(facts: Facts) -> list[Move | Stay]:
    undone = _undone(facts.values())
    return [
        decision
        for role in dict.fromkeys(role for role, _ in facts)
        for decision in _of_role(role, facts, undone)
    ]


_SEE = f"See `{command('releases')}`."


def _to(wanted: str, role: Role, host: str, known: dict[str, Any]) -> Move | Stay:
    if wanted not in known["healthy"]:
        others = ", ".join(known["healthy"]) or "none"
        raise CommandFailed(
            f"{host}: {role}: there is no healthy release {wanted}. Healthy are: {others}. {_SEE}"
        )
    if known["current"] == wanted and known["settled"]:
        return Stay(role, host, f"{wanted} serves already")
    return Move(role, host, wanted)


def _undone(known: Iterable[dict[str, Any]]) -> frozenset[str]:
    """The releases to replace: those of unfinished rollbacks, else the newest that serves."""
    known = list(known)
    pending = frozenset(one["rollback"]["from"] for one in known if one["rollback"])
    newest = max((one["current"] for one in known if one["current"]), default=None)
    return pending or frozenset([newest] if newest else [])


def _of_role(role: Role, facts: Facts, undone: frozenset[str]) -> list[Move | Stay]:
    known = {host: one for (named, host), one in facts.items() if named == role}
    leaving = {
        host: one for host, one in known.items() if one["rollback"] or one["current"] in undone
    }
    ruled_out = {name for one in known.values() for name in one["regretted"]}
    back = {
        host: [name for name in one["healthy"] if _is_before(name, one) and name not in ruled_out]
        for host, one in leaving.items()
    }
    release = _one_release(role, known, leaving, back)
    decisions: list[Move | Stay] = []
    for host, one in known.items():
        if host not in leaving:
            decisions.append(Stay(role, host, _not_undone(one["current"], undone)))
        elif release is None or release not in one["healthy"]:
            healthy = ", ".join(one["healthy"]) or "none"
            why = f"there is no healthy release before {one['current']} (healthy: {healthy})"
            decisions.append(Stay(role, host, why))
        else:
            decisions.append(Move(role, host, release))
    return decisions


def _is_before(name: str, known: dict[str, Any]) -> bool:
    left = known["rollback"]["from"] if known["rollback"] else known["current"]
    return bool(name < left)


def _one_release(
    role: Role,
    known: dict[str, dict[str, Any]],
    leaving: dict[str, dict[str, Any]],
    back: dict[str, list[str]],
) -> str | None:
    """The release to which all `leaving` hosts of a component go back; `None` if there is none.

    Raises `CommandFailed` if they have none in common.
    """
    recorded = [one["rollback"]["to"] for one in leaving.values() if one["rollback"]]
    if recorded:
        return str(max(recorded))
    possible = [names for names in back.values() if names]
    if not possible:
        return None
    common = [name for name in possible[0] if all(name in names for names in possible)]
    if not common:
        raise CommandFailed(
            f"{role}: the hosts {', '.join(back)} have no healthy release in common from before "
            f"this one. Choose one for each with --to. {_SEE}"
        )
    elsewhere = {one["current"] for host, one in known.items() if host not in leaving}
    return ([name for name in common if name in elsewhere] or common)[-1]


def _not_undone(current: str | None, undone: frozenset[str]) -> str:
    if current is None:
        return "nothing is deployed"
    return f"the last deploy ({', '.join(sorted(undone))}) did not change it; {current} serves"
