"""The steps of a deploy on one host. Each can be repeated after an interruption."""

import json
import os
import platform
import shutil
import sys
import time
from typing import Any

from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.hostside.health import ask, pass_gate
from ocmt_cli.deploy.hostside.supervisor import Supervisor, supervisor_of

_STOP_NOW_S = 5.0
# In addition to the drain, before a server is killed: it finishes connections that it has just
# accepted, and closes its database.
_DRAIN_GRACE_S = 15.0


def facts(component: Component) -> dict[str, Any]:
    """The facts for preflight and plan; changes nothing."""
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
        "env_file": component.env_file.exists(),
        "env_readable": os.access(component.env_file, os.R_OK),
    }
    return {**known, **status(component)}


def status(component: Component) -> dict[str, Any]:
    """The running and the desired release, and their health."""
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
        "running": [],
        "answer": "",
        "degraded": False,
        "ok": current is not None and component.is_complete(current),
        "settings_changed": bool(current)
        and state["env"].get(current, component.env_digest()) != component.env_digest(),
        "certificate": component.certificate(),
        "wheels": sorted(one.name for one in (component.path / "wheels").glob("*.whl")),
    }
    if component.role != "ui" and (component.path / "releases").is_dir():
        supervisor = supervisor_of(component)
        said["running"] = supervisor.running()
        answer = ask(supervisor.gate(current)) if current else None
        said["answer"] = answer.text if answer else "nothing is deployed"
        said["degraded"] = bool(answer and answer.degraded)
        said["ok"] = bool(answer and answer.status == 200 and answer.version == current)
    said["settled"] = (
        said["ok"]
        and said["last_good"] == current
        and said["running"] == ([] if component.role == "ui" else [current])
    )
    return said


def health(component: Component) -> dict[str, Any] | None:
    """What the current release says at `/health`; `None` when it is stopped.

    Raises `StepFailed` when it runs and does not answer.
    """
    current, supervisor = component.current, supervisor_of(component)
    if not current:
        return None
    answer = ask(supervisor.gate(current))
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
    """Make the folders that rsync copies into."""
    component.release(release).mkdir(parents=True, exist_ok=True)
    if component.role != "ui":
        (component.path / "wheels").mkdir(exist_ok=True)


def migrate(component: Component, release: str) -> None:
    """Run the expanding migrations of `release`, with which the serving one still works.

    Contracting ones (`contract = True`) wait for `settle`, unless no release serves.
    """
    try:
        supervisor_of(component).migrate(release, expand=component.current is not None)
    except StepFailed as failure:
        raise StepFailed(f"the migration failed; nothing was switched. {failure}") from failure


def _contract(component: Component, supervisor: Supervisor, release: str) -> None:
    """Run contracting migrations; recorded first, so that no rollback goes before them."""
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


def start(component: Component, release: str) -> None:
    """Start `release` in standby, and wait for its health check. Raises `StepFailed`."""
    if component.role == "ui":
        return
    supervisor = supervisor_of(component)
    supervisor.start(release)
    try:
        pass_gate(component, supervisor, release, serving=False)
    except StepFailed:
        if component.current != release:
            supervisor.stop(release, within_s=_STOP_NOW_S)
        raise


def switch(component: Component, release: str) -> None:
    """Make `release` serve; if its health check fails, switch back to the one before."""
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
        pass_gate(component, supervisor, release, serving=True)
    except StepFailed as failure:
        _return(component, supervisor, release, before)
        raise StepFailed(f"{failure}\n{_serves_again(before)}") from failure


def _admit(component: Component, supervisor: Supervisor, release: str) -> None:
    """Make the release that `current` points at serve, starting it if needed.

    Only a release in standby is signalled: the signal would end one that is still starting.
    """
    if supervisor.is_alive(release):
        try:
            pass_gate(component, supervisor, release, serving=False)
        except StepFailed:
            supervisor.stop(
                release, within_s=_STOP_NOW_S
            )  # it was stopping, or does not become healthy
        else:
            supervisor.admit(release)
            return
    supervisor.start(release)


def _serves_again(before: str | None) -> str:
    return f"Release {before} serves again." if before else "No release served before."


def _return(component: Component, supervisor: Supervisor, release: str, before: str | None) -> None:
    if before is None or before == release:
        supervisor.stop(release, within_s=_STOP_NOW_S)
        component.point(None)
        return
    component.point(before)
    supervisor.stop(release, within_s=_STOP_NOW_S)
    # The old release is draining: let that process end, then start it again.
    supervisor.stop(before, within_s=component.drain_s + _DRAIN_GRACE_S)
    supervisor.start(before)
    supervisor.at_boot(before)
    pass_gate(component, supervisor, before, serving=True)


def settle(component: Component, release: str) -> list[str]:
    """Drain the release before, record this one as healthy, prune; returns the names pruned."""
    if component.role != "ui":
        supervisor = supervisor_of(component)
        for other in supervisor.running():
            if other != release:
                supervisor.stop(other, within_s=component.drain_s + _DRAIN_GRACE_S)
        if component.role == "mgmt":
            _contract(component, supervisor, release)
    component.mark_healthy(release)
    return component.prune()


def regret(component: Component, release: str) -> None:
    component.regret(release)


def converge(component: Component) -> list[str]:
    """Recover from a killed deployer or a crash; returns lines for the operator.

    A current release that passes its health check is kept and recorded as healthy; otherwise the
    last healthy release replaces it.
    """
    done: list[str] = []
    current = component.current
    if status(component)["settled"] or not component.releases():
        return done
    healthy = [name for name in component.healthy() if name != current]
    if component.role == "ui":
        if current is not None and component.is_complete(current):
            settle(component, current)
            return [f"{current} serves"]
        if healthy:
            component.point(healthy[-1])
            return [f"switched back to {healthy[-1]}"]
        component.point(None)
        return done
    supervisor = supervisor_of(component)
    for candidate in ([current] if current else []) + healthy[-1:]:
        try:
            if not component.is_complete(candidate):
                raise StepFailed(f"release {candidate} is not complete")
            component.point(candidate)
            _admit(component, supervisor, candidate)
            supervisor.at_boot(candidate)
            for other in supervisor.running():
                if other != candidate:
                    supervisor.ask_to_stop(other)
            pass_gate(component, supervisor, candidate, serving=True)
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
