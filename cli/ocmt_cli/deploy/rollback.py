"""Rolls back to an earlier release on every host that the last deploy changed.

A rollback is recorded on all its hosts before any of them changes. So an interrupted rollback is
resumed by the next rollback or deploy, and is never mistaken for a deploy to undo.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.plan import may_run_on, unfinished_restore
from ocmt_cli.deploy.rollback_plan import Facts, Move, Stay, choose
from ocmt_cli.deploy.session import Session, deployer_name
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
    with deployer.sessions() as sessions:
        for role, name in deployer.targets():
            sessions[name].lock(role, what="rollback")
        facts = deployer.each(lambda role, name: sessions[name].ask("facts", role))
        _require_no_restore(facts)
        chosen = choose(facts, to)
        moves = [one for one in reversed(chosen) if isinstance(one, Move)]
        metas = {
            (one.role, one.host): {
                listed["release"]: listed["meta"]
                for listed in sessions[one.host].ask("releases", one.role)
            }
            for one in moves
        }
        _require_runnable(facts, moves, metas)
        _report_same_code(deployer, facts, moves, metas)
        reason = record_rollback(sessions, facts, moves, why)
        for role in dict.fromkeys(one.role for one in moves):
            for one in (move for move in moves if move.role == role):
                deployer.report(f"{one.host}: {role}: roll back to {one.release}")
                sessions[one.host].ask("finish_rollback", role)
            tag(role, one.release, reason)
        confirm_rollback(deployer, sessions, moves)
    return chosen


def _require_no_restore(facts: Facts) -> None:
    restored = [
        f"{name}: {role}: {unfinished_restore(known['restore'])}."
        for (role, name), known in facts.items()
        if known["restore"]
    ]
    if restored:
        raise CommandFailed("\n".join(restored))


def _report_same_code(
    deployer: Deployer, facts: Facts, moves: Iterable[Move], metas: Metas
) -> None:
    for one in moves:
        here = facts[one.role, one.host]["meta"].get("content")
        there = metas[one.role, one.host].get(one.release, {}).get("content")
        if here is not None and here == there:
            deployer.report(
                f"{one.host}: {one.role}: {one.release} has the same code: the deploy changed only "
                "settings (.env). A rollback keeps them; change them, then deploy."
            )


def record_rollback(
    sessions: Mapping[str, Session], facts: Facts, moves: Iterable[Move], why: str
) -> str:
    """Record a rollback on its hosts. Returns its reason.

    If `why` is empty, a resumed rollback keeps its reason.
    """
    reasons = [str(known["rollback"]["why"]) for known in facts.values() if known["rollback"]]
    said = why or next((reason for reason in reasons if reason), "")
    for one in moves:
        sessions[one.host].ask("intend_rollback", one.role, one.release, said, deployer_name())
    return said


def confirm_rollback(
    deployer: Deployer, sessions: Mapping[str, Session], moves: Iterable[Move]
) -> None:
    """Remove the records of a rollback that is done on all hosts.

    An unreachable host keeps its record until the next rollback or deploy removes it.
    """
    for one in moves:
        try:
            sessions[one.host].ask("confirm_rollback", one.role)
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
