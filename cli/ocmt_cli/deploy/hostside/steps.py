"""The steps of a deploy on a host. Each can be repeated after an interruption."""

import json
import os
import platform
import shutil
import sys
import time
from typing import Any

from ocmt_cli.deploy.hostside.component import Component, StepFailed, utc_now
from ocmt_cli.deploy.hostside.health import ask, pass_health_check
from ocmt_cli.deploy.hostside.settings_history import (
    changed_settings,
    return_settings,
    take_settings_back,
)
from ocmt_cli.deploy.hostside.supervisor import Supervisor, supervisor_of

_STOP_NOW_S = 5.0
_SHOWN_LINES = 8
# Time in addition to the drain before a server is killed: it serves connections that it has just
# accepted, and closes its database.
_DRAIN_GRACE_S = 15.0


def facts(component: Component) -> dict[str, Any]:
    """The host's facts for the preflight and the plan. Changes nothing."""
    place = component.path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    known = {
        "time": time.time(),
        "python": list(sys.version_info[:2]),
        "machine": platform.machine(),
        "libc": "-".join(platform.libc_ver()),
        "free_mb": free // 1_000_000,
        "writable": os.access(place, os.W_OK),
        "rsync": shutil.which("rsync") is not None,
        "systemd": os.path.isdir("/run/systemd/system"),  # noqa: PTH112
        "releases": component.releases(),
        "current_is_folder": component.has_folder_as_current,
        "obstacles": component.obstacles(),
        "env_file": component.env_file.exists(),
        "env_readable": os.access(component.env_file, os.R_OK),
    }
    return {**known, **status(component)}


def status(component: Component) -> dict[str, Any]:
    """The current release and its health, the running releases, and the recorded state.

    `settled` is whether nothing is left to do: it is healthy and alone, and nothing is unfinished.
    """
    current = component.current
    healthy = component.healthy()
    state = component.state()
    said: dict[str, Any] = {
        "current": current,
        "last_good": healthy[-1] if healthy else None,
        "healthy": healthy,
        "meta": component.meta(current) if current else {},
        "contracted": component.contracted(),
        "regretted": state["regretted"],
        "rollback": state["rollback"],
        "rolled_back": state["rolled_back"],
        "restore": state["restore"],
        "restored": state["restored"],
        "unmigrated": state["unmigrated"],
        "frozen": state["frozen"],
        "running": [],
        "answer": "",
        "degraded": False,
        "ok": current is not None and component.is_complete(current),
        "settings_changed": current is not None and component.has_other_settings(current),
        "changed_settings": changed_settings(component),
        "certificate": component.certificate(),
        "wheels": sorted(one.name for one in (component.path / "wheels").glob("*.whl")),
    }
    if component.role != "ui" and (component.path / "releases").is_dir():
        supervisor = supervisor_of(component)
        said["running"] = supervisor.running()
        answer = ask(supervisor.readiness_socket(current)) if current else None
        said["answer"] = answer.text if answer else "nothing is deployed"
        said["degraded"] = bool(answer and answer.degraded)
        said["ok"] = bool(answer and answer.status == 200 and answer.version == current)
    said["settled"] = (
        said["ok"]
        and said["rollback"] is None
        and said["restore"] is None
        and not state["unmigrated"]
        and said["last_good"] == current
        and said["running"] == ([] if component.role == "ui" else [current])
    )
    return said


def health(component: Component) -> dict[str, Any] | None:
    """The current release's answer at `/health`; `None` if it is stopped.

    Raises `StepFailed` if it runs but does not answer.
    """
    current, supervisor = component.current, supervisor_of(component)
    if not current:
        return None
    answer = ask(supervisor.readiness_socket(current))
    if not answer.state:
        if supervisor.is_alive(current):
            raise StepFailed(
                f"release {current} runs but does not answer ({answer.text}). Try again in a "
                f"minute; if that fails too, see its log:\n{supervisor.log(current, 5)}"
            )
        return None
    said: dict[str, Any] = json.loads(answer.body)
    return said


def releases(component: Component) -> list[dict[str, Any]]:
    healthy = set(component.healthy())
    return [
        {
            "release": name,
            "meta": component.meta(name),
            "healthy": name in healthy,
            "current": name == component.current,
        }
        for name in component.releases()
    ]


def prepare(component: Component, release: str) -> None:
    """Create the folders into which rsync copies."""
    component.release(release).mkdir(parents=True, exist_ok=True)
    if component.role != "ui":
        (component.path / "wheels").mkdir(exist_ok=True)


def migrate(component: Component, release: str) -> None:
    """Run the expanding migrations of `release`, with which the serving release still works.

    Contracting ones (`contract = True`) are run by `settle`, or here if no release serves. Raises
    `StepFailed`.
    """
    try:
        supervisor_of(component).migrate(release, expand=component.current is not None)
    except StepFailed as failure:
        raise StepFailed(_migration_failed(str(failure), component.current)) from failure


def _migration_failed(output: str, current: str | None) -> str:
    """The message for a failed migration: its cause (the last line), and the end of its output."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()] or ["no output"]
    shown = "".join(f"\n  | {line}" for line in lines[-_SHOWN_LINES:]) if len(lines) > 1 else ""
    output_ends = f"\nIts output ends with:{shown}" if shown else ""
    serves = f"{current} still serves" if current else "nothing serves yet"
    return (
        f"the migration failed; nothing was switched, and {serves}: {lines[-1].strip()}"
        f"{output_ends}\nCorrect the migration or the database, then deploy again."
    )


def _contract(component: Component, supervisor: Supervisor, release: str) -> None:
    """Run contracting migrations, recording them first, so that no rollback goes behind them."""
    wanted = component.meta(release).get("contracts", [])
    if set(wanted) <= set(component.contracted()):
        return
    state = component.state()
    component.save({**state, "contracted": sorted({*state["contracted"], *wanted})})
    try:
        supervisor.migrate(release, expand=False)
    except StepFailed as failure:
        component.save(state)
        raise StepFailed(
            f"{release} serves, but a contracting migration failed: {failure}"
        ) from failure


def _migrate_restored(component: Component, release: str) -> None:
    """Migrate a restored database of management on which no release has been healthy yet."""
    if component.role == "mgmt" and component.state()["unmigrated"]:
        migrate(component, release)


def start(component: Component, release: str) -> None:
    """Start `release` in standby, and wait for its health check. Does nothing for a page.

    Raises `StepFailed`.
    """
    if component.role == "ui":
        return
    _migrate_restored(component, release)
    supervisor = supervisor_of(component)
    if supervisor.is_alive(release) and _must_start_again(component, supervisor, release):
        supervisor.stop(release, within_s=component.drain_s + _DRAIN_GRACE_S)
    _launch(component, supervisor, release)
    try:
        pass_health_check(component, supervisor, release, serving=False)
    except StepFailed:
        if component.current != release:
            supervisor.stop(release, within_s=_STOP_NOW_S)
        raise


def _must_start_again(component: Component, supervisor: Supervisor, release: str) -> bool:
    """Whether the running `release` is of no use: an interrupted deploy or rollback left it.

    It is ending, or it was started with settings that have changed since.
    """
    if component.current != release and component.has_other_settings(release):
        return True
    return not ask(supervisor.readiness_socket(release)).status


def _launch(component: Component, supervisor: Supervisor, release: str) -> None:
    """Start the release; if it has no process yet, record its settings first."""
    if not supervisor.is_alive(release):
        component.record_settings(release)
    supervisor.start(release)


def switch(component: Component, release: str) -> None:
    """Make `release` serve. If its health check fails, switch back and raise `StepFailed`.

    A page has no health check.
    """
    before = component.current
    component.point(release)
    if component.role == "ui":
        return
    supervisor = supervisor_of(component)
    _admit(component, supervisor, release)
    supervisor.at_boot(release)
    for other in supervisor.running():
        if other != release:
            supervisor.ask_to_stop(other)
    try:
        pass_health_check(component, supervisor, release, serving=True)
    except StepFailed as failure:
        _return(component, supervisor, release, before)
        raise StepFailed(f"{failure}\n{_serves_again(before)}") from failure


def _admit(component: Component, supervisor: Supervisor, release: str) -> None:
    """Make the release serve to which `current` points, starting it if necessary.

    Only a release in standby is signalled, since the signal would end one that is still starting.
    """
    if supervisor.is_alive(release):
        try:
            pass_health_check(component, supervisor, release, serving=False)
        except StepFailed:
            # It was stopping, or does not become healthy.
            supervisor.stop(release, within_s=_STOP_NOW_S)
        else:
            supervisor.admit(release)
            return
    _launch(component, supervisor, release)


def _serves_again(before: str | None) -> str:
    return f"Release {before} serves again." if before else "No release served before."


def _return(component: Component, supervisor: Supervisor, release: str, before: str | None) -> None:
    if before is None or before == release:
        supervisor.stop(release, within_s=_STOP_NOW_S)
        component.point(None)
        return
    component.point(before)
    supervisor.stop(release, within_s=_STOP_NOW_S)
    # The old release is draining: wait for its process to end, then start it again.
    supervisor.stop(before, within_s=component.drain_s + _DRAIN_GRACE_S)
    _launch(component, supervisor, before)
    supervisor.at_boot(before)
    pass_health_check(component, supervisor, before, serving=True)


def settle(component: Component, release: str) -> list[str]:
    """Drain the other releases, record this one as healthy, and prune. Returns pruned releases.

    Runs management's contracting migrations in between. Raises `StepFailed` if one fails.
    """
    if component.role != "ui":
        supervisor = supervisor_of(component)
        for other in supervisor.running():
            if other != release:
                supervisor.stop(other, within_s=component.drain_s + _DRAIN_GRACE_S)
        if component.role == "mgmt":
            _contract(component, supervisor, release)
    component.mark_healthy(release)
    return component.prune()


def intend_rollback(component: Component, release: str, why: str, who: str) -> None:
    """Record a rollback to `release`, for `finish_rollback` to do. Raises `StepFailed`."""
    if release not in component.healthy():
        raise StepFailed(f"{release} is not a healthy release of this host")
    component.intend_rollback(release, why=why, who=who)


def finish_rollback(component: Component) -> list[str]:
    """Carry out the recorded rollback, or the rest of it; returns lines for the operator.

    If the release does not become healthy, withdraws the rollback and raises `StepFailed`.
    """
    pending = component.state()["rollback"]
    if pending is None:
        return []
    to: str = pending["to"]
    told = take_settings_back(component)
    try:
        start(component, to)
        switch(component, to)
    except StepFailed:
        return_settings(component)
        component.end_rollback()
        raise
    settle(component, to)
    return told


def freeze(component: Component, why: str, who: str) -> None:
    """Refuse deploys from now on."""
    component.save({**component.state(), "frozen": {"why": why, "who": who, "at": utc_now()}})


def unfreeze(component: Component) -> None:
    component.save({**component.state(), "frozen": None})


def confirm_rollback(component: Component) -> None:
    """Remove a rollback's record, once all hosts have rolled back.

    Until then, repeating the command resumes the rollback; afterwards it goes back one more
    release.
    """
    component.end_rollback()


def converge(component: Component) -> list[str]:
    """Recover from a killed deployer or a crash. Returns lines for the operator.

    Finishes a recorded rollback first. If the current release passes its health check, it is
    recorded as healthy; otherwise the last healthy release replaces it. If there is none, nothing
    serves.
    """
    done: list[str] = []
    if component.state()["rollback"] is not None:
        try:
            to = component.state()["rollback"]["to"]
            return [*finish_rollback(component), f"rolled back to {to}"]
        except StepFailed as failure:
            done.append(str(failure).splitlines()[0])
    if status(component)["settled"] or not component.releases():
        return done
    recover = _recover_page if component.role == "ui" else _recover_server
    return done + recover(component, [n for n in component.healthy() if n != component.current])


def _recover_page(component: Component, healthy: list[str]) -> list[str]:
    current = component.current
    if current is not None and component.is_complete(current):
        settle(component, current)
        return [f"{current} serves"]
    component.point(healthy[-1] if healthy else None)
    return [f"switched back to {healthy[-1]}"] if healthy else []


def _recover_server(component: Component, healthy: list[str]) -> list[str]:
    done: list[str] = []
    current = component.current
    supervisor = supervisor_of(component)
    for candidate in ([current] if current else []) + healthy[-1:]:
        try:
            if not component.is_complete(candidate):
                raise StepFailed(f"release {candidate} is not complete")
            _migrate_restored(component, candidate)
            component.point(candidate)
            _admit(component, supervisor, candidate)
            supervisor.at_boot(candidate)
            for other in supervisor.running():
                if other != candidate:
                    supervisor.ask_to_stop(other)
            pass_health_check(component, supervisor, candidate, serving=True)
            settle(component, candidate)
            done.append(f"{candidate} serves")
            return done
        except StepFailed as failure:
            done.append(str(failure).splitlines()[0])
    if not healthy:
        for name in supervisor.running():
            supervisor.stop(name, within_s=_STOP_NOW_S)
        component.point(None)
    return done
