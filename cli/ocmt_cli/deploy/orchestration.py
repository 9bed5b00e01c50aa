"""A deploy, from the preflight to the tag. The steps on a host are in `hostside`."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.build import Artefact, Platform, build
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import ORDER, Inventory, Role
from ocmt_cli.deploy.plan import Step, decide, problems
from ocmt_cli.deploy.release_tags import deploy_tags, tag_release, tag_what_runs
from ocmt_cli.deploy.remote import open_host
from ocmt_cli.deploy.session import Session
from ocmt_cli.deploy.source import Source
from ocmt_cli.failure import CommandFailed

_STAMP = re.compile(r"\d{8}T\d{6}Z(?=-)")
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
Report = Callable[[str], None]
"""Called with a line for the operator before each step."""
Facts = Mapping[tuple[Role, str], dict[str, Any]]
"""Target → its host's answer to `facts`."""


@dataclass(frozen=True, slots=True)
class Deployer:
    """The hosts and components of a deploy or rollback, and connections to them."""

    inventory: Inventory
    roles: Sequence[Role]
    report: Report
    local: str | None = None
    """This machine's host (`--pull`), or `None` for all hosts over ssh."""

    def targets(self) -> list[tuple[Role, str]]:
        """(Component, host) pairs in the order of a deploy."""
        found = [
            (role, host.name)
            for role in ORDER
            if role in self.roles
            for host in self.inventory.with_role(role)
            if self.local in (None, host.name)
        ]
        if not found:
            raise CommandFailed(
                f"{self.inventory.file} has no host for {', '.join(self.roles)}. Add the role to a "
                "host's roles.",
                exit_code=2,
            )
        return found

    @contextmanager
    def sessions(self) -> Iterator[dict[str, Session]]:
        """A session with each host needed, by name."""
        made: dict[str, Session] = {}
        try:
            for name in dict.fromkeys(name for _, name in self.targets()):
                entry = self.inventory.host(name)
                host = open_host(entry, self.inventory.deploy, local=self.local is not None)
                made[name] = Session(host, entry, self.inventory)
            yield made
        finally:
            # In parallel, since each takes a round trip.
            with ThreadPoolExecutor(max(1, len(made))) as pool:
                list(pool.map(lambda session: session.close(), made.values()))

    def each(self, ask: Callable[[Role, str], Any]) -> dict[tuple[Role, str], Any]:
        """The answers of all targets, hosts in parallel. Raises all failures as one."""
        answers, failures = self.each_that_answers(ask)
        if failures:
            raise CommandFailed("\n".join(str(failure) for failure in failures.values()))
        return answers

    def each_that_answers(
        self, ask: Callable[[Role, str], Any]
    ) -> tuple[dict[tuple[Role, str], Any], dict[str, HostFailed]]:
        """The answers of all targets, and host → failure of the unreachable ones."""
        by_host: dict[str, list[Role]] = {}
        for role, name in self.targets():
            by_host.setdefault(name, []).append(role)

        def one(name: str) -> list[tuple[tuple[Role, str], Any]]:
            return [((role, name), ask(role, name)) for role in by_host[name]]

        failures: dict[str, HostFailed] = {}
        answers: dict[tuple[Role, str], Any] = {}
        with ThreadPoolExecutor(len(by_host)) as pool:
            for name, future in [(name, pool.submit(one, name)) for name in by_host]:
                try:
                    answers.update(future.result())
                except HostFailed as failure:
                    failures[name] = failure
        return answers, failures


def plan(deployer: Deployer, source: Source, sessions: dict[str, Session]) -> list[Step]:
    """The steps to do. Raises `CommandFailed` with all problems of the preflight."""
    return _plan(deployer, source, _facts(deployer, sessions))


def _plan(deployer: Deployer, source: Source, facts: Facts) -> list[Step]:
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
            facts[role, name],
            contents[role],
            revisions.get(role, ()),
            # A timer must not undo a rollback; an operator may.
            spare_regretted=deployer.local is not None,
        )
        for role, name in deployer.targets()
    ]


def deploy(deployer: Deployer, source: Source, *, builds: Path) -> list[Step]:
    """Deploy `source` to all targets and return the steps done.

    Raises `CommandFailed` at the first failure; the remaining hosts keep their releases.
    """
    with deployer.sessions() as sessions:
        facts = _facts(deployer, sessions)
        steps = _plan(deployer, source, facts)
        if all(step.action == "unchanged" for step in steps):
            tag_what_runs(deployer.report, source, steps)
            return steps
        _lock(sessions, steps, source)
        _finish_interrupted(deployer, sessions, steps, facts)
        # Another deploy may have ended before the lock was taken.
        facts = _facts(deployer, sessions)
        steps = _plan(deployer, source, facts)
        release = _release_for(source, facts)
        rollout = _Rollout(deployer, source, sessions, facts, steps, release, builds)
        done = [step for role in ORDER for step in rollout.deploy_role(role)]
        unchanged = [step for step in done if step.action == "unchanged"]
        tag_what_runs(deployer.report, source, unchanged)
        return done


def _facts(deployer: Deployer, sessions: Mapping[str, Session]) -> Facts:
    return deployer.each(lambda role, name: sessions[name].ask("facts", role))


def _lock(sessions: Mapping[str, Session], steps: Iterable[Step], source: Source) -> None:
    """Take or keep the lock of every target: without requests, a session times out."""
    for step in steps:
        sessions[step.host].lock(step.role, what=f"deploy of {source.commit[:12]}")


def _finish_interrupted(
    deployer: Deployer, sessions: Mapping[str, Session], steps: Iterable[Step], facts: Facts
) -> None:
    """Recover from a killed deployer."""
    for step in steps:
        if not facts[step.role, step.host]["settled"] and step.current:
            deployer.report(f"{step.host}: {step.role}: recover from an interrupted deploy")
            for line in sessions[step.host].ask("converge", step.role):
                deployer.report(f"{step.host}: {step.role}: {line}")


def _release_for(source: Source, facts: Facts) -> str:
    on_hosts = [name for known in facts.values() for name in known["releases"]]
    in_tags = [tag.rpartition("/")[2] for tag in deploy_tags(source)]
    return new_release(source.commit, now=datetime.now(UTC), taken=[*on_hosts, *in_tags])


@dataclass(frozen=True, slots=True)
class _Rollout:
    """Deploys a release to the hosts, whose locks are held."""

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
        done = [step if step.action == "unchanged" else self._deploy_to(step) for step in steps]
        if any(step.action != "unchanged" for step in steps):
            tag_release(self.deployer.report, self.source, role, self.release, self.source.commit)
        return done

    def _deploy_to(self, step: Step) -> Step:
        _lock(self.sessions, self.steps, self.source)
        platform = Platform.of(self.facts[step.role, step.host])
        self.deployer.report(f"build {step.role}")
        artefact = build(self.source, step.role, platform, self.builds)
        send_and_switch(
            self.deployer,
            self.sessions[step.host],
            role=step.role,
            release=self.release,
            artefact=artefact,
            source=self.source,
        )
        return replace(step, action="deploy", current=self.release)


def new_release(commit: str, *, now: datetime, taken: Iterable[str]) -> str:
    """A new release name, later than those of all releases and tags: names sort by time."""
    stamps = [found[0] for name in taken if (found := _STAMP.match(name))]
    if stamps:
        newest = datetime.strptime(max(stamps), _STAMP_FORMAT).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return f"{now.strftime(_STAMP_FORMAT)}-{commit[:12]}"


def send_and_switch(
    deployer: Deployer,
    session: Session,
    *,
    role: Role,
    release: str,
    artefact: Artefact,
    source: Source,
) -> None:
    """Deploy one component to one host: copy, install, migrate, start, switch, settle."""
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
        _describe(staged, role, release, artefact, source)
        session.host.rsync(staged, path / "releases" / release, step=f"{role}: copy")
    report("install")
    session.ask("install", role, release)
    if role == "mgmt":
        report("migrate")
        session.ask("migrate", role, release)
    report("start it beside the old release")
    session.ask("start", role, release)
    report("switch")
    session.ask("switch", role, release)
    report("settle")
    session.ask("settle", role, release)
    report(f"{release} serves")


def _describe(folder: Path, role: Role, release: str, artefact: Artefact, source: Source) -> None:
    known, contracts = source.revisions() if role == "mgmt" else ([], [])
    meta = {
        "release": release,
        "commit": source.commit,
        "content": artefact.content,
        "revisions": known,
        "contracts": contracts,
    }
    (folder / "release.json").write_text(json.dumps(meta), encoding="utf-8")
    # With an extension, since the web servers only serve files that have one.
    name = "version.txt" if role == "ui" else "VERSION"
    (folder / name).write_text(release + "\n", encoding="utf-8")
    if role == "ui":
        (folder / "VERSION").write_text(release + "\n", encoding="utf-8")
