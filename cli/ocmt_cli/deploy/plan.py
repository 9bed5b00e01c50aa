"""Computes the steps of a deploy from the hosts' facts and the commit. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role

Action = Literal["deploy", "restart", "unchanged", "refused"]
Age = Literal["newer", "older", "unknown"]
"""The commit's age relative to the deployed one; unknown if the checkout lacks the latter."""


@dataclass(frozen=True, slots=True)
class Step:
    """The action for one component on one host."""

    role: Role
    host: str
    action: Action
    why: str
    current: str | None
    content: str
    migrations: tuple[str, ...] = ()
    """Management's migrations to run, in order."""

    def to_json(self) -> dict[str, Any]:
        return {
            "component": self.role,
            "host": self.host,
            "action": self.action,
            "why": self.why,
            "current": self.current,
            "migrations": list(self.migrations),
        }


def decide(
    role: Role,
    host: str,
    facts: dict[str, Any],
    content: str,
    revisions: Sequence[str] = (),
    *,
    age: Age = "newer",
    force: bool = False,
) -> Step:
    """The step for a component: `unchanged` if it is healthy with the same content and settings.

    `revisions` are the commit's migrations, in order. Without `force`, content that was rolled back
    and older commits are refused.
    """
    current = facts["current"]
    action: Action = "deploy"
    if facts["restore"]:
        action, why = "refused", unfinished_restore(facts["restore"])
    elif current is None:
        why = "nothing is deployed yet"
    elif facts["meta"].get("content") != content:
        action, why = _of_other_content(facts, content, age, force=force)
    elif facts["settings_changed"]:
        why = "its settings (.env) changed"
    elif facts["rollback"]:
        action, why = "restart", _pending(facts)
    elif not facts["settled"]:
        action, why = "restart", f"{current} is not running or not healthy"
    else:
        action, why = "unchanged", f"{current} runs and is healthy"
    known = set(facts["meta"].get("revisions", []))
    new = tuple(one for one in revisions if action == "deploy" and one not in known)
    return Step(role, host, action, why, current, content, new)


def _of_other_content(
    facts: dict[str, Any], content: str, age: Age, *, force: bool
) -> tuple[Action, str]:
    current = facts["current"]
    if not force and content == _content_being_left(facts):
        return "restart", _pending(facts)
    if not force and content in facts["regretted"].values():
        said = (facts["rolled_back"] or {}).get("why")
        why = f"rolled back to {current}{f' ({said})' if said else ''}; {_NEWER_OR_FORCE}"
        if facts["settled"] and facts["settings_changed"]:
            commit = current.rpartition("-")[2]
            why += f"; to apply the changed settings (.env), check out {commit} and deploy that"
        if facts["settled"]:
            return "unchanged", why
        return "restart", f"{current} is not running or not healthy, and this commit was {why}"
    if age == "older":
        why = f"this commit is OLDER than that of {current}"
        if force:
            return "deploy", why
        back = f"`{command('rollback')}` goes back; or deploy this one with --force"
        return "refused", f"{why}; {back}"
    unknown = ", whose commit is not in this checkout" if age == "unknown" else ""
    return "deploy", f"the commit differs from {current}{unknown}"


def unfinished_restore(record: dict[str, Any]) -> str:
    """Why a host with an unfinished restore refuses deploys, and what to do."""
    return (
        f"the restore of the backup of {record['backup']} is unfinished (by {record['who']}, "
        f"{record['at']}), so its data may be from two points in time; run "
        f"`{command('restore')}` again"
    )


_NEWER_OR_FORCE = "deploy a newer commit, or this one with --force"


def _pending(facts: dict[str, Any]) -> str:
    pending = facts["rollback"]
    return f"a rollback from {pending['from']} to {pending['to']} is unfinished"


def _content_being_left(facts: dict[str, Any]) -> str | None:
    """The content of the release that an unfinished rollback replaces; `None` if there is none."""
    pending = facts["rollback"]
    return pending["content"] if pending else None


def problems(
    inventory: Inventory, host: HostEntry, role: Role, facts: dict[str, Any], now: float
) -> list[str]:
    """The reasons not to start a deploy, each with the cure; empty if there are none.

    `now` is this machine's time in seconds since the epoch.
    """
    policy = inventory.deploy
    path = inventory.component_path(host, role)
    found: list[str] = []
    if not facts["writable"]:
        found.append(f"{host.user} may not write below {path}; deploy as root or give it sudo")
    if not facts["rsync"]:
        found.append("rsync is not installed; apt-get install rsync")
    if facts["free_mb"] < policy.min_free_mb:
        found.append(
            f"only {facts['free_mb']} MB are free below {path}, but {policy.min_free_mb} are "
            "needed; free some space or lower keep_releases"
        )
    if abs(facts["time"] - now) > policy.max_clock_skew_s:
        found.append(
            f"its clock and this machine's differ by {facts['time'] - now:+.0f} s; turn on time "
            "synchronisation where it is wrong (timedatectl set-ntp true)"
        )
    if facts["current_is_folder"]:
        found.append(f"{path}/current is not a link to a release; move it away, then deploy")
    if role != "ui":
        if not facts["env_file"]:
            found.append(
                f"{path}/.env is missing; `./ocmt setup {host.name}` writes one to fill in"
            )
        if host.supervisor == "systemd" and not facts["systemd"]:
            found.append(
                f'systemd does not run there; set hosts.{host.name}.supervisor = "pidfile"'
            )
    return [f"{host.name}: {role}: {problem}." for problem in found]


def may_run_on(target: dict[str, Any], contracted: Sequence[str]) -> str | None:
    """Why the release `target` cannot run after the migrations `contracted`; `None` if it can.

    Most migrations only add, so older releases work with the result. A contracting migration
    (`contract = True` in its file) removes parts that older releases need.
    """
    known = set(target.get("revisions", []))
    lost = [one for one in contracted if one not in known]
    if not lost:
        return None
    return (
        f"migration {lost[0]} removed tables or columns that it needs. Deploy a newer release "
        "instead, or restore a backup from before it (`./ocmt restore`)"
    )
