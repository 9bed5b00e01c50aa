"""A deploy, from the preflight to the tag. What each step does on a host is in `hostside`."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.build import Artefact, Platform, build
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import ORDER, Inventory, Role
from ocmt_cli.deploy.plan import Step, choose_rollback, decide, may_run_on, problems
from ocmt_cli.deploy.remote import open_host
from ocmt_cli.deploy.session import Session
from ocmt_cli.deploy.source import Source, git
from ocmt_cli.failure import CommandFailed

_STAMP = re.compile(r"\d{8}T\d{6}Z(?=-)")
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
Report = Callable[[str], None]
"""Told each step before it is made, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Deployer:
    """What all that touches the hosts has in common."""

    inventory: Inventory
    roles: Sequence[Role]
    report: Report
    local: str | None = None
    """The one host this is (`--pull`); `None`: all of them, by ssh."""

    def targets(self) -> list[tuple[Role, str]]:
        """Components on hosts in the order of a deploy."""
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
        """A connection to every host that is needed."""
        made: dict[str, Session] = {}
        try:
            for name in dict.fromkeys(name for _, name in self.targets()):
                entry = self.inventory.host(name)
                host = open_host(entry, self.inventory.deploy, local=self.local is not None)
                made[name] = Session(host, entry, self.inventory)
            yield made
        finally:
            # Side by side: each is a farewell over its own connection.
            with ThreadPoolExecutor(max(1, len(made))) as pool:
                list(pool.map(lambda session: session.close(), made.values()))

    def each(self, ask: Callable[[Role, str], Any]) -> dict[tuple[Role, str], Any]:
        """The answers of all targets; hosts side by side. Raises all failures as one."""
        answers, failures = self.each_that_answers(ask)
        if failures:
            raise CommandFailed("\n".join(str(failure) for failure in failures.values()))
        return answers

    def each_that_answers(
        self, ask: Callable[[Role, str], Any]
    ) -> tuple[dict[tuple[Role, str], Any], dict[str, HostFailed]]:
        """The answers of all targets, and host → failure of those that could not be asked."""
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
    """What would be done now. Raises `CommandFailed` with everything the preflight found."""
    facts = deployer.each(lambda role, name: sessions[name].ask("facts", role))
    return _plan(deployer, source, facts)


def _plan(
    deployer: Deployer, source: Source, facts: dict[tuple[Role, str], dict[str, Any]]
) -> list[Step]:
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
            # A person who deploys means it; a timer must not undo a rollback.
            spare_regretted=deployer.local is not None,
        )
        for role, name in deployer.targets()
    ]


def deploy(deployer: Deployer, source: Source, *, builds: Path) -> list[Step]:
    """Bring every target to `source`; what was done. Raises `CommandFailed` at the first failure,
    with the releases before serving on every host that was not reached."""
    with deployer.sessions() as sessions:
        what = f"deploy of {source.commit[:12]}"

        def begin(role: Role, name: str) -> dict[str, Any]:
            facts: dict[str, Any] = sessions[name].ask("facts", role)
            return facts

        facts = deployer.each(begin)
        steps = _plan(deployer, source, facts)
        if all(step.action == "unchanged" for step in steps):
            _tag_what_runs(deployer, source, steps)
            return steps
        for step in steps:
            sessions[step.host].lock(step.role, what=what)
        # Somebody else's deploy may have ended in between; and what a killed one left is put right.
        for step in steps:
            if not facts[step.role, step.host]["settled"] and step.current:
                deployer.report(f"{step.host}: {step.role}: put right what was left")
                for line in sessions[step.host].ask("converge", step.role):
                    deployer.report(f"{step.host}: {step.role}: {line}")
        facts = deployer.each(begin)
        steps = _plan(deployer, source, facts)
        release = new_release(
            source.commit,
            now=datetime.now(UTC),
            taken=[
                *(name for known in facts.values() for name in known["releases"]),
                *(tag.rpartition("/")[2] for tag in _tags(source)),
            ],
        )
        done: list[Step] = []
        for role in ORDER:
            of_role = [step for step in steps if step.role == role]
            for step in of_role:
                if step.action == "unchanged":
                    done.append(step)
                    continue
                # The other hosts have not heard from us meanwhile: asked again, they keep the lock.
                for other in steps:
                    sessions[other.host].lock(other.role, what=what)
                platform = Platform.of(facts[role, step.host])
                deployer.report(f"build {role}")
                artefact = build(source, role, platform, builds)
                send_and_switch(
                    deployer,
                    sessions[step.host],
                    role=role,
                    release=release,
                    artefact=artefact,
                    source=source,
                )
                done.append(replace(step, action="deploy", current=release))
            if any(step.action != "unchanged" for step in of_role):
                _tag(deployer, source, role, release, source.commit)
        _tag_what_runs(deployer, source, [step for step in done if step.action == "unchanged"])
        return done


def new_release(commit: str, *, now: datetime, taken: Iterable[str]) -> str:
    """A name that no release and no tag has, later than all of them: names are sorted by time."""
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
    """One component on one host: copy, install, migrate, start, switch, settle."""
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
    report("start beside the old one")
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
    # A page's file needs an ending, or no web server of ours hands it out.
    name = "version.txt" if role == "ui" else "VERSION"
    (folder / name).write_text(release + "\n", encoding="utf-8")
    if role == "ui":
        (folder / "VERSION").write_text(release + "\n", encoding="utf-8")


def _tags(source: Source) -> list[str]:
    return git(source.checkout, "tag", "--list", "deploy/*").split()


def _tag_what_runs(deployer: Deployer, source: Source, steps: Sequence[Step]) -> None:
    """Make the tags that a deployer which was killed at its very end did not."""
    known = set(_tags(source))
    for role, release in dict.fromkeys((step.role, str(step.current)) for step in steps):
        if f"deploy/{role}/{release}" not in known:
            # The commit may be somebody else's, and not here; then the tag is theirs too.
            try:
                commit = git(
                    source.checkout, "rev-parse", "--verify", f"{release[-12:]}^{{commit}}"
                )
            except CommandFailed:
                continue
            _tag(deployer, source, role, release, commit.strip())


def _tag(deployer: Deployer, source: Source, role: Role, release: str, commit: str) -> None:
    """Write down in git what was deployed, and push that one tag where there is an origin."""
    tag = f"deploy/{role}/{release}"
    try:
        git(source.checkout, "tag", tag, commit)
    except CommandFailed as failure:
        deployer.report(f"{release} serves, but its tag could not be made: {failure}")
        return
    if "origin" in git(source.checkout, "remote").split():
        try:
            git(source.checkout, "push", "--quiet", "origin", f"refs/tags/{tag}")
        except CommandFailed as failure:
            deployer.report(f"the tag {tag} is only here: {failure}")


def rollback(deployer: Deployer, *, to: str | None) -> list[tuple[Role, str, str]]:
    """Go back to `to`, or to the last healthy release before; component, host and release.

    All targets are checked before the first is touched. The page goes first and management last,
    the opposite of a deploy.
    """
    with deployer.sessions() as sessions:
        for role, name in deployer.targets():
            sessions[name].lock(role, what="rollback")
        known = deployer.each(lambda role, name: sessions[name].ask("facts", role))
        chosen: list[tuple[Role, str, str]] = []
        for role, name in reversed(deployer.targets()):
            facts = known[role, name]
            release = choose_rollback(facts, to)
            if release is None:
                others = ", ".join(facts["healthy"]) or "none"
                raise CommandFailed(
                    f"{name}: {role}: there is no healthy release "
                    f"{to or 'before the current one'}. `ocmt releases` lists them; healthy are: "
                    f"{others}."
                )
            metas = {one["release"]: one["meta"] for one in sessions[name].ask("releases", role)}
            reason = may_run_on(metas.get(release, {}), facts["contracted"])
            if reason is not None:
                raise CommandFailed(f"{name}: {role}: {release} cannot run any more: {reason}.")
            chosen.append((role, name, release))
        for role, name, release in chosen:
            if known[role, name]["current"] == release and known[role, name]["settled"]:
                continue
            deployer.report(f"{name}: {role}: back to {release}")
            for step in ("start", "switch", "settle"):
                sessions[name].ask(step, role, release)
            if (left := known[role, name]["current"]) not in (None, release):
                sessions[name].ask("regret", role, left)
        return chosen
