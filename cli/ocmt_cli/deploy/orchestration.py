"""Runs a deploy, from the preflight to the tag. The steps on a host are in `hostside`."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocmt_cli.checkout import command
from ocmt_cli.deploy.build import Artefact, Platform, build
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.hooks import hooks
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.inventory import ORDER, Role
from ocmt_cli.deploy.plan import Age, Step, decide, problems
from ocmt_cli.deploy.release_tags import (
    is_in_future,
    names_in,
    release_for,
    release_tags,
    tag_release,
    tag_rollbacks,
    tag_what_runs,
    was_there,
)
from ocmt_cli.deploy.restores import facts_after_restores
from ocmt_cli.deploy.rollback import confirm_rollback, record_rollback
from ocmt_cli.deploy.rollback_plan import Facts, unfinished
from ocmt_cli.deploy.source import Source
from ocmt_cli.failure import CommandFailed


def plan(
    deployer: Deployer,
    source: Source,
    connections: Mapping[str, HostConnection],
    *,
    force: bool = False,
) -> list[Step]:
    """The step of each target in a deploy.

    Raises `CommandFailed` with all problems found in the preflight.
    """
    return _plan(deployer, source, _facts(deployer, connections), force=force)


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
    steps = [
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
    return [_with_commits(source, step, facts) for step in steps]


def _with_commits(source: Source, step: Step, facts: Facts) -> Step:
    before = facts[step.role, step.host]["meta"].get("commit")
    if step.action != "deploy" or before is None:
        return step
    return replace(step, commits=tuple(source.commits_since(before, step.role)))


def _regretted(role: Role, facts: Facts) -> dict[str, str | None]:
    """Release → content, of releases that were rolled back on any host of the component.

    The content is `None` once it has been healthy again.
    """
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
    """Deploy `source` to all targets, and return the step done at each.

    `force` also deploys a commit that is older or was rolled back. Raises `CommandFailed` if a
    target fails; those that were not begun keep their releases.
    """
    with deployer.connections() as connections:
        facts = facts_after_restores(
            connections, lambda: _facts(deployer, connections), deployer.report
        )
        steps = _plan(deployer, source, facts, force=force)
        _refuse(steps)
        if all(step.action == "unchanged" for step in steps):
            _tag(deployer, source, steps, facts)
            return steps
        _lock(connections, steps, source)
        _finish_interrupted(deployer, connections, steps, facts)
        # Another deploy may have finished before the lock was taken.
        facts = _facts(deployer, connections)
        steps = _plan(deployer, source, facts, force=force)
        _refuse(steps)
        changing = [facts[step.role, step.host] for step in steps if step.action != "unchanged"]
        taken = names_in(release_tags(source.checkout))
        now = datetime.now(UTC)
        taken += [
            name
            for known in facts.values()
            for name in known["releases"]
            if was_there(name, known) or not is_in_future(name, now)
        ]
        release = release_for(source.commit, changing, now=now, taken=taken)
        rollout = _Rollout(deployer, source, connections, facts, steps, release, builds)
        targets = [(step.role, step.host) for step in steps if step.action != "unchanged"]
        with hooks(deployer, "deploy", targets, {"OCMT_COMMIT": source.commit}):
            done = [step for role in ORDER for step in rollout.deploy_role(role)]
            _tag(deployer, source, done, facts)
        return done


def _tag(deployer: Deployer, source: Source, steps: Sequence[Step], facts: Facts) -> None:
    """Make the missing tags of what was left unchanged, if no host of its component is left out."""
    whole = [step for step in steps if not deployer.hosts_left_out(step.role)]
    unchanged = [step for step in whole if step.action == "unchanged"]
    tag_what_runs(deployer.report, source, unchanged)
    tag_rollbacks(deployer.report, source, whole, facts)


def _refuse(steps: Sequence[Step]) -> None:
    refused = [
        f"{step.host}: {step.role}: {step.why}." for step in steps if step.action == "refused"
    ]
    if refused:
        raise CommandFailed("Nothing was deployed:\n" + "\n".join(refused))


def _facts(deployer: Deployer, connections: Mapping[str, HostConnection]) -> Facts:
    return deployer.each(lambda role, name: connections[name].ask("facts", role))


def _lock(connections: Mapping[str, HostConnection], steps: Iterable[Step], source: Source) -> None:
    """Take the lock of every target. Raises `HostFailed`."""
    for step in steps:
        connections[step.host].lock(step.role, what=f"deploy of {source.commit[:12]}")


def _finish_interrupted(
    deployer: Deployer,
    connections: Mapping[str, HostConnection],
    steps: Iterable[Step],
    facts: Facts,
) -> None:
    """Recover from a killed deployer, and finish an interrupted rollback on all its hosts."""
    resumed = unfinished(facts)
    record_rollback(connections, facts, resumed, "")
    moving = {(move.role, move.host) for move in resumed}
    for step in steps:
        target = step.role, step.host
        if target in moving or (not facts[target]["settled"] and step.current):
            deployer.report(f"{step.host}: {step.role}: recover from an interruption")
            for line in connections[step.host].ask("converge", step.role):
                deployer.report(f"{step.host}: {step.role}: {line}")
    confirm_rollback(deployer, connections, resumed)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """Deploys a release to hosts whose locks are held."""

    deployer: Deployer
    source: Source
    connections: Mapping[str, HostConnection]
    facts: Facts
    steps: Sequence[Step]
    release: str
    builds: Path

    def deploy_role(self, role: Role) -> list[Step]:
        """Deploy a component to its hosts, then tag it.

        The first host is the canary: only when it serves the others follow, several at once. After
        a failure, those that have begun continue to their end, and no other begins. Raises
        `CommandFailed` with the failures.
        """
        steps = [step for step in self.steps if step.role == role]
        changing = [step for step in steps if step.action != "unchanged"]
        if not changing:
            return steps
        release, commit = self._release_of(steps)
        artefacts = {step.host: self._build(step) for step in changing}

        def deploy_to(step: Step) -> Step:
            return self._deploy_to(step, release, commit, artefacts[step.host])

        done = {step.host: step for step in steps if step.action == "unchanged"}
        failures: list[CommandFailed] = []
        for batch in _batches(changing, self.deployer.inventory.deploy.hosts_at_once):
            for step, outcome in _together(batch, deploy_to):
                if isinstance(outcome, CommandFailed):
                    failures.append(outcome)
                else:
                    done[step.host] = outcome
            if failures:
                self._report_difference(role, release, steps, list(done.values()))
                raise _first_or_all(failures)
        if left_out := self.deployer.hosts_left_out(role):
            self.deployer.report(
                f"{role}: no tag was made, since {', '.join(left_out)} may not serve {release}"
            )
        else:
            tag_release(self.deployer.report, self.source, role, release, commit)
        return [done[step.host] for step in steps]

    def _report_difference(
        self, role: Role, release: str, steps: Sequence[Step], done: Sequence[Step]
    ) -> None:
        """After a failure at one of several hosts, report which of them serve the new release."""
        new = [step.host for step in done if step.current == release]
        if new:
            old = [
                f"{step.host} ({step.current or 'nothing'})"
                for step in steps
                if step.host not in new
            ]
            self.deployer.report(
                f"{role}: the hosts differ: {', '.join(new)} serve {release}, and {', '.join(old)} "
                f"do not. `{command('deploy')}` continues, `{command('rollback')}` goes back."
            )

    def _release_of(self, steps: Sequence[Step]) -> tuple[str, str]:
        """The name and commit of a component's release.

        If other hosts already serve the content, their release is reused, so that one rollback
        undoes the deploy on all; not if a host that lacks it has served it before.
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

    def _build(self, step: Step) -> Artefact:
        running = self.facts[step.role, step.host]["meta"].get("content")
        if step.action == "restart" and running != step.content:
            raise CommandFailed(f"{step.host}: {step.role}: {step.why}.")
        platform = Platform.of(self.facts[step.role, step.host])
        self.deployer.report(f"build {step.role}")
        return build(self.source, step.role, platform, self.builds)

    def _deploy_to(self, step: Step, release: str, commit: str, artefact: Artefact) -> Step:
        send_and_switch(
            self.deployer,
            self.connections[step.host],
            role=step.role,
            release=release,
            artefact=artefact,
            source=self.source,
            commit=commit,
        )
        return replace(step, action="deploy", current=release)


def _batches(steps: Sequence[Step], at_once: int) -> Iterator[Sequence[Step]]:
    """The canary, then batches of `at_once` steps."""
    yield steps[:1]
    for start in range(1, len(steps), at_once):
        yield steps[start : start + at_once]


def _together(
    batch: Sequence[Step], deploy_to: Callable[[Step], Step]
) -> list[tuple[Step, Step | CommandFailed]]:
    """Deploy a batch at once. Returns each step with the step done, or with its failure."""

    def outcome(step: Step) -> Step | CommandFailed:
        try:
            return deploy_to(step)
        except CommandFailed as failure:
            return failure

    if len(batch) == 1:
        return [(batch[0], outcome(batch[0]))]
    with ThreadPoolExecutor(len(batch)) as pool:
        return list(zip(batch, pool.map(outcome, batch), strict=True))


def _first_or_all(failures: Sequence[CommandFailed]) -> CommandFailed:
    if len(failures) == 1:
        return failures[0]
    return CommandFailed("\n".join(str(failure) for failure in failures))


def send_and_switch(
    deployer: Deployer,
    connection: HostConnection,
    *,
    role: Role,
    release: str,
    artefact: Artefact,
    source: Source,
    commit: str,
) -> None:
    """Deploy one component to one host: copy, install, migrate, start, switch, settle.

    Only management is migrated, and a page is not started. `commit` is the commit of the release,
    which has the same content as `source`. Raises `HostFailed`.
    """
    name = connection.host.name
    times: list[str] = []
    began = time.monotonic()

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        deployer.report(f"{name}: {role}: {what}")
        since = time.monotonic()
        yield
        times.append(f"{what.split(maxsplit=1)[0]} {time.monotonic() - since:.1f}")

    path = deployer.inventory.component_path(connection.entry, role)
    with timed(f"copy {release}"):
        connection.ask("prepare", role, release)
        if artefact.wheels is not None:
            wheels = path / "wheels"
            only_new = ("--ignore-existing",)
            connection.host.rsync(artefact.wheels, wheels, step=f"{role}: copy", options=only_new)
        with tempfile.TemporaryDirectory() as working:
            staged = Path(working) / "release"
            shutil.copytree(artefact.files, staged)
            _describe(staged, role, release, artefact, source=source, commit=commit)
            connection.host.rsync(staged, path / "releases" / release, step=f"{role}: copy")
    with timed("install"):
        connection.ask("install", role, release)
    if role == "mgmt":
        with timed("migrate"):
            connection.ask("migrate", role, release)
    if role != "ui":
        with timed("start it in standby"):
            connection.ask("start", role, release)
    with timed("switch"):
        connection.ask("switch", role, release)
    with timed("settle"):
        connection.ask("settle", role, release)
    total = time.monotonic() - began
    deployer.report(f"{name}: {role}: {release} serves, after {total:.1f} s ({', '.join(times)})")


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
