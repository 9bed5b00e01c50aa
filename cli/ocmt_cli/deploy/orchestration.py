"""Runs a deploy, from the preflight to the tag. The steps on a host are in `hostside`."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocmt_cli.checkout import command
from ocmt_cli.deploy.build import Artefact, Platform, build
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.inventory import ORDER, Role
from ocmt_cli.deploy.plan import Age, Step, decide, problems
from ocmt_cli.deploy.release_tags import (
    names_in,
    release_for,
    release_tags,
    tag_release,
    tag_rollbacks,
    tag_what_runs,
    was_there,
)
from ocmt_cli.deploy.rollback import confirm_rollback, record_rollback
from ocmt_cli.deploy.rollback_plan import Facts, unfinished
from ocmt_cli.deploy.session import Session
from ocmt_cli.deploy.source import Source
from ocmt_cli.failure import CommandFailed


def plan(
    deployer: Deployer, source: Source, sessions: Mapping[str, Session], *, force: bool = False
) -> list[Step]:
    """The steps of a deploy. Raises `CommandFailed` with all problems found in the preflight."""
    return _plan(deployer, source, _facts(deployer, sessions), force=force)


def _plan(deployer: Deployer, source: Source, facts: Facts, *, force: bool) -> list[Step]:
    inventory = deployer.inventory
    now = time.time()
    found = [
        problem
        for (role, name), known in facts.items()
        for problem in problems(inventory, inventory.host(name), role, known, now)
    ]
    if found:
        raise CommandFailed("The preflight found:\n" + "\n".join(found))
    contents = {role: source.content(role) for role in deployer.roles}
    changes = any(
        known["meta"].get("content") != contents["mgmt"]
        for (role, _), known in facts.items()
        if role == "mgmt"
    )
    revisions = {"mgmt": source.revisions()[0] if changes else []}
    return [
        decide(
            role,
            name,
            {**facts[role, name], "regretted": _regretted(role, facts)},
            contents[role],
            revisions.get(role, ()),
            age=_age(source, facts[role, name]["meta"], contents[role]),
            force=force,
        )
        for role, name in deployer.targets()
    ]


def _regretted(role: Role, facts: Facts) -> dict[str, str]:
    """Release → content, of releases that were rolled back on any host of the component."""
    hosts = [known for (named, _), known in facts.items() if named == role]
    return {name: content for known in hosts for name, content in known["regretted"].items()}


def _age(source: Source, running: dict[str, Any], content: str) -> Age:
    commit = running.get("commit")
    if commit is None or running.get("content") == content:
        return "newer"
    if not source.has(commit):
        return "unknown"
    return "older" if source.is_before(commit) else "newer"


def deploy(deployer: Deployer, source: Source, *, builds: Path, force: bool = False) -> list[Step]:
    """Deploy `source` to all targets and return the steps done.

    `force` also deploys a commit that is older or was rolled back. Raises `CommandFailed` at the
    first failure; the remaining hosts keep their releases.
    """
    with deployer.sessions() as sessions:
        facts = _facts(deployer, sessions)
        steps = _plan(deployer, source, facts, force=force)
        _refuse(steps)
        if all(step.action == "unchanged" for step in steps):
            tag_what_runs(deployer.report, source, steps)
            tag_rollbacks(deployer.report, source, steps, facts)
            return steps
        _lock(sessions, steps, source)
        _finish_interrupted(deployer, sessions, steps, facts)
        # Another deploy may have finished before the lock was taken.
        facts = _facts(deployer, sessions)
        steps = _plan(deployer, source, facts, force=force)
        _refuse(steps)
        changing = [facts[step.role, step.host] for step in steps if step.action != "unchanged"]
        taken = names_in(release_tags(source.checkout))
        taken += [name for known in facts.values() for name in known["releases"]]
        release = release_for(source.commit, changing, now=datetime.now(UTC), taken=taken)
        rollout = _Rollout(deployer, source, sessions, facts, steps, release, builds)
        done = [step for role in ORDER for step in rollout.deploy_role(role)]
        unchanged = [step for step in done if step.action == "unchanged"]
        tag_what_runs(deployer.report, source, unchanged)
        tag_rollbacks(deployer.report, source, done, facts)
        return done


def _refuse(steps: Sequence[Step]) -> None:
    refused = [
        f"{step.host}: {step.role}: {step.why}." for step in steps if step.action == "refused"
    ]
    if refused:
        raise CommandFailed("Nothing was deployed:\n" + "\n".join(refused))


def _facts(deployer: Deployer, sessions: Mapping[str, Session]) -> Facts:
    return deployer.each(lambda role, name: sessions[name].ask("facts", role))


def _lock(sessions: Mapping[str, Session], steps: Iterable[Step], source: Source) -> None:
    """Take the lock of every target. Repeating it keeps the host connections alive."""
    for step in steps:
        sessions[step.host].lock(step.role, what=f"deploy of {source.commit[:12]}")


def _finish_interrupted(
    deployer: Deployer, sessions: Mapping[str, Session], steps: Iterable[Step], facts: Facts
) -> None:
    """Recover from a killed deployer, and finish an interrupted rollback on all hosts."""
    resumed = unfinished(facts)
    record_rollback(sessions, facts, resumed, "")
    moving = {(move.role, move.host) for move in resumed}
    for step in steps:
        target = step.role, step.host
        if target in moving or (not facts[target]["settled"] and step.current):
            deployer.report(f"{step.host}: {step.role}: recover from an interruption")
            for line in sessions[step.host].ask("converge", step.role):
                deployer.report(f"{step.host}: {step.role}: {line}")
    confirm_rollback(deployer, sessions, resumed)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """Deploys a release to hosts whose locks are held."""

    deployer: Deployer
    source: Source
    sessions: Mapping[str, Session]
    facts: Facts
    steps: Sequence[Step]
    release: str
    builds: Path

    def deploy_role(self, role: Role) -> list[Step]:
        """Deploy a component to its hosts in order, then tag it."""
        steps = [step for step in self.steps if step.role == role]
        release, commit = self._release_of(steps)
        done: list[Step] = []
        try:
            for step in steps:
                unchanged = step.action == "unchanged"
                done.append(step if unchanged else self._deploy_to(step, release, commit))
        except CommandFailed:
            self._report_difference(role, release, steps, done)
            raise
        if any(step.action != "unchanged" for step in steps):
            tag_release(self.deployer.report, self.source, role, release, commit)
        return done

    def _report_difference(
        self, role: Role, release: str, steps: Sequence[Step], done: Sequence[Step]
    ) -> None:
        """After a failure at one of several hosts, report which of them serve the new release."""
        new = [step.host for step in done if step.current == release]
        if new:
            old = [f"{step.host} ({step.current})" for step in steps if step.host not in new]
            self.deployer.report(
                f"{role}: the hosts differ: {', '.join(new)} serve {release}, and {', '.join(old)} "
                f"not. `{command('deploy')}` continues, `{command('rollback')}` goes back."
            )

    def _release_of(self, steps: Sequence[Step]) -> tuple[str, str]:
        """The name and commit of a component's release.

        If other hosts already serve the content, its release is reused, so that one rollback undoes
        the deploy on all.
        """
        lacking = [self.facts[step.role, step.host] for step in steps if step.action != "unchanged"]
        there = max(
            (
                (str(step.current), str(self.facts[step.role, step.host]["meta"]["commit"]))
                for step in steps
                if step.action == "unchanged"
                and self.facts[step.role, step.host]["meta"].get("content") == step.content
            ),
            default=None,
        )
        if there is not None and not any(was_there(there[0], known) for known in lacking):
            return there
        return self.release, self.source.commit

    def _deploy_to(self, step: Step, release: str, commit: str) -> Step:
        running = self.facts[step.role, step.host]["meta"].get("content")
        if step.action == "restart" and running != step.content:
            raise CommandFailed(f"{step.host}: {step.role}: {step.why}.")
        _lock(self.sessions, self.steps, self.source)
        platform = Platform.of(self.facts[step.role, step.host])
        self.deployer.report(f"build {step.role}")
        artefact = build(self.source, step.role, platform, self.builds)
        send_and_switch(
            self.deployer,
            self.sessions[step.host],
            role=step.role,
            release=release,
            artefact=artefact,
            source=self.source,
            commit=commit,
        )
        return replace(step, action="deploy", current=release)


def send_and_switch(
    deployer: Deployer,
    session: Session,
    *,
    role: Role,
    release: str,
    artefact: Artefact,
    source: Source,
    commit: str,
) -> None:
    """Deploy one component to one host: copy, install, migrate, start, switch, settle.

    `commit` is the commit of the release, which has the same content as `source`.
    """
    name = session.host.name

    def report(text: str) -> None:
        deployer.report(f"{name}: {role}: {text}")

    path = deployer.inventory.component_path(session.entry, role)
    report(f"copy {release}")
    session.ask("prepare", role, release)
    if artefact.wheels is not None:
        session.host.rsync(
            artefact.wheels, path / "wheels", step=f"{role}: copy", options=("--ignore-existing",)
        )
    with tempfile.TemporaryDirectory() as working:
        staged = Path(working) / "release"
        shutil.copytree(artefact.files, staged)
        _describe(staged, role, release, artefact, source=source, commit=commit)
        session.host.rsync(staged, path / "releases" / release, step=f"{role}: copy")
    report("install")
    session.ask("install", role, release)
    if role == "mgmt":
        report("migrate")
        session.ask("migrate", role, release)
    if role != "ui":
        report("start it in standby")
        session.ask("start", role, release)
    report("switch")
    session.ask("switch", role, release)
    report("settle")
    session.ask("settle", role, release)
    report(f"{release} serves")


def _describe(
    folder: Path, role: Role, release: str, artefact: Artefact, *, source: Source, commit: str
) -> None:
    known, contracts = source.revisions() if role == "mgmt" else ([], [])
    meta = {
        "release": release,
        "commit": commit,
        "content": artefact.content,
        "revisions": known,
        "contracts": contracts,
    }
    (folder / "release.json").write_text(json.dumps(meta), encoding="utf-8")
    # The name has an extension, since the web servers serve only files with one.
    name = "version.txt" if role == "ui" else "VERSION"
    (folder / name).write_text(release + "\n", encoding="utf-8")
    if role == "ui":
        (folder / "VERSION").write_text(release + "\n", encoding="utf-8")
