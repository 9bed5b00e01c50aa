"""Rolls back: every host that the last deploy changed, or chosen ones to a named release.

A rollback is recorded on all its hosts before any of them changes. So an interrupted rollback is
resumed by the next rollback or deploy, and is never mistaken for a deploy to undo.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.hooks import hooks
from ocmt_cli.deploy.host_connection import HostConnection, deployer_name
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.plan import may_run_on
from ocmt_cli.deploy.restores import facts_after_restores
from ocmt_cli.deploy.rollback_plan import Facts, Move, Stay, choose
from ocmt_cli.failure import CommandFailed

Tag = Callable[[Role, str, str], None]
"""Tags a rollback: called with the component, the release that serves again, and the reason."""

Metas = Mapping[tuple[Role, str], Mapping[str, dict[str, Any]]]
"""Target → its releases' descriptions, by name."""


def rollback(deployer: Deployer, *, to: str | None, why: str, tag: Tag) -> list[Move | Stay]:
    """Roll back to `to`, or to before the last deploy. Returns the decision for each target.

    All targets are checked before the first is changed. The order is the reverse of a deploy: the
    page is first and management last. Raises `CommandFailed`.
    """
    with deployer.connections() as connections:
        for role, name in deployer.targets():
            connections[name].lock(role, what="rollback")
        facts = facts_after_restores(
            connections,
            lambda: deployer.each(lambda role, name: connections[name].ask("facts", role)),
            deployer.report,
        )
        chosen = choose(facts, to)
        moves = [one for one in reversed(chosen) if isinstance(one, Move)]
        metas = {
            (one.role, one.host): {
                listed["release"]: listed["meta"]
                for listed in connections[one.host].ask("releases", one.role)
            }
            for one in moves
        }
        _require_runnable(facts, moves, metas)
        targets = [(one.role, one.host) for one in moves]
        with hooks(deployer, "rollback", targets, {"OCMT_MESSAGE": why}):
            reason = record_rollback(connections, facts, moves, why)
            for role in dict.fromkeys(one.role for one in moves):
                for one in (move for move in moves if move.role == role):
                    deployer.report(f"{one.host}: {role}: roll back to {one.release}")
                    for line in connections[one.host].ask("finish_rollback", role):
                        deployer.report(f"{one.host}: {role}: {line}")
                if not deployer.hosts_left_out(role):
                    tag(role, one.release, reason)
            confirm_rollback(deployer, connections, moves)
    return chosen


def record_rollback(
    connections: Mapping[str, HostConnection], facts: Facts, moves: Iterable[Move], why: str
) -> str:
    """Record a rollback on its hosts. Returns its reason, which may be empty.

    If `why` is empty, a resumed rollback keeps its reason. Raises `HostFailed`.
    """
    reasons = [str(known["rollback"]["why"]) for known in facts.values() if known["rollback"]]
    said = why or next((reason for reason in reasons if reason), "")
    for one in moves:
        connections[one.host].ask("intend_rollback", one.role, one.release, said, deployer_name())
    return said


def confirm_rollback(
    deployer: Deployer, connections: Mapping[str, HostConnection], moves: Iterable[Move]
) -> None:
    """Remove the records of a rollback that is done on all hosts.

    A host that fails is reported, and keeps its record until the next rollback or deploy.
    """
    for one in moves:
        try:
            connections[one.host].ask("confirm_rollback", one.role)
        except HostFailed as failure:
            deployer.report(f"rolled back, but the record of it was not removed: {failure}")


def _require_runnable(facts: Facts, moves: Iterable[Move], metas: Metas) -> None:
    for one in moves:
        target = one.role, one.host
        reason = may_run_on(metas[target].get(one.release, {}), facts[target]["contracted"])
        if reason is not None:
            raise CommandFailed(
                f"{one.host}: {one.role}: {one.release} can no longer run: {reason}."
            )
