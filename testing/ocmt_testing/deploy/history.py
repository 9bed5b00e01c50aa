"""Histories of deploys, rollbacks, restores and cuts, beside a model of what serves.

The model is a stack of releases for each component on each host: its top serves, and the rest is
the way back. A cut operation leaves something in between; what is run next must end where the model
says.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pytest
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.source import Source
from ocmt_cli.failure import CommandFailed

Target = tuple[Role, str]
"""A component and its host."""


class Cut(BaseException):
    """The fuse has blown, which ends the deployer and the step."""


class Installation(Protocol):
    """Where a history takes place: hosts, a checkout, and the operator's commands."""

    fuse: int | None
    """The number of effects after which `Cut` is raised; `None` for never."""

    @property
    def targets(self) -> Sequence[Target]:
        """In the order of a deploy."""

    def commit(self, *roles: Role, broken: bool = False) -> None:
        """Commit a change of these components. Management cannot start if it is `broken`."""

    def source(self) -> Source:
        """The last commit."""

    def deploy(self) -> None:
        """Deploy the last commit. Raises `Cut` or `CommandFailed`, like the other commands."""

    def roll_back(self) -> None:
        """Roll back the last deploy."""

    def restore(self) -> None:
        """Restore a backup of the first release."""

    def change_settings(self, role: Role, host: str) -> None:
        """Change a server's `.env`."""

    def restart(self) -> None:
        """End the processes of all servers, as if their machines restarted."""

    def lose(self, host: str) -> AbstractContextManager[None]:
        """Let a host not answer during the block."""

    def component(self, role: Role, host: str) -> Component:
        """A component's folder."""

    def serving(self, role: Role, host: str) -> list[str]:
        """The releases that answer requests."""

    def has_current_settings(self, role: Role, host: str) -> bool:
        """Whether the server was started with the settings that its `.env` has."""

    def tables(self) -> Collection[str]:
        """The migrations that management's database has."""

    def moments(self) -> set[str]:
        """Names of the moments that the servers' data is of. More than one is a mixture."""


class History:
    """An installation and its model. Each method is an event, after which both must agree.

    `fuse` is the number of effects after which the event is cut; `None` for never.
    """

    def __init__(self, installation: Installation) -> None:
        """Deploy for the first time."""
        self.on = installation
        self.targets = list(installation.targets)
        self.roles = tuple(dict.fromkeys(role for role, _ in self.targets))
        self.servers = [target for target in self.targets if target[0] != "ui"]
        self.stacks: dict[Target, list[str]] = {target: [] for target in self.targets}
        self.contents: dict[str, str] = {}
        """Component/release → its content."""
        self.regretted: dict[Role, set[str]] = {role: set() for role in self.roles}
        self.unfinished: dict[Target, str] = {}
        """A rollback that was cut: where it goes."""
        self.crashed = False
        """Whether servers ended that no complete deploy has started again."""
        self._deploy(None)

    def deploy_a_new_commit(self, roles: Collection[Role], fuse: int | None) -> None:
        self.on.commit(*roles)
        self._deploy(fuse)

    def deploy_again(self, fuse: int | None) -> None:
        self._deploy(fuse)

    def deploy_changed_settings(self, server: Target, fuse: int | None) -> None:
        self.on.change_settings(*server)
        self._deploy(fuse)

    def deploy_what_does_not_start(self, fuse: int | None) -> None:
        self.on.commit("mgmt", broken=True)
        self._deploy(fuse, broken=True)
        self.on.commit("mgmt")

    def restore(self, fuse: int | None) -> None:
        self.crashed = True
        self._is_done(self.on.restore, fuse)

    def roll_back(self, fuse: int | None) -> None:
        plan = self.unfinished or self._undoing()
        before = self._currents()
        try:
            done = self._is_done(self.on.roll_back, fuse)
        except CommandFailed:
            if plan:
                raise
            return
        if done:
            assert plan
            self._rolled_back(plan)
        elif self._is_recorded():
            self.unfinished = plan
        elif self._currents() != before:
            self._rolled_back(plan)

    def restart_the_machines(self) -> None:
        self.on.restart()
        self.crashed = True

    def lose_a_host_for_a_while(self, host: str) -> None:
        before = self._currents()
        with self.on.lose(host):
            for command in (self.on.deploy, self.on.roll_back):
                with pytest.raises(CommandFailed, match=f"^{host}: "):
                    command()
        assert self._currents() == before

    def _is_done(self, command: Callable[[], None], fuse: int | None) -> bool:
        """Run a command. Returns `False` if it was cut."""
        self.on.fuse = fuse
        try:
            command()
        except Cut:
            return False
        finally:
            self.on.fuse = None
        return True

    def _currents(self) -> dict[Target, str | None]:
        return {target: self.on.component(*target).current for target in self.targets}

    def _content(self, target: Target, release: str) -> str:
        return self.contents[f"{target[0]}/{release}"]

    def _is_recorded(self) -> bool:
        """Whether any host has a rollback on record."""
        states = [self.on.component(*target).state() for target in self.targets]
        return any(state["rollback"] for state in states)

    def _deploy(self, fuse: int | None, *, broken: bool = False) -> None:
        plan, self.unfinished = self.unfinished, {}
        try:
            done = self._is_done(self.on.deploy, fuse)
        except CommandFailed:
            if not broken:
                raise
            done = False
        if plan and self._is_recorded():
            self.unfinished = plan
            return
        self._regret(plan)
        for target, release in plan.items():
            self.stacks[target] = self._back_to(target, release)
        for target, current in self._currents().items():
            if current is not None and current not in self.stacks[target][-1:]:
                self._pushed(target, current)
        if done:
            assert not broken
            self.crashed = False
            for target in self.targets:
                self._check_deployed(target)

    def _pushed(self, target: Target, release: str) -> None:
        content = self.on.component(*target).meta(release)["content"]
        assert release not in self.stacks[target], "a deploy went back"
        assert self.contents.setdefault(f"{target[0]}/{release}", content) == content
        self.stacks[target].append(release)

    def _check_deployed(self, target: Target) -> None:
        role, _ = target
        top = self.stacks[target][-1]
        wanted = self.on.source().content(role)
        self._check_serves(target, top)
        # Changed settings come into force, unless the commit to deploy was rolled back.
        if wanted in self.regretted[role]:
            assert self._content(target, top) != wanted
        else:
            assert self._content(target, top) == wanted
            self._check_settings(target)

    def _check_settings(self, target: Target) -> None:
        assert target[0] == "ui" or self.on.has_current_settings(*target)

    def _check_serves(self, target: Target, release: str) -> None:
        component = self.on.component(*target)
        assert self.crashed or self.on.serving(*target) == [release]
        assert component.state()["rollback"] is None
        assert component.healthy()[-1] == release
        if target[0] == "mgmt":
            assert set(component.meta(release)["revisions"]) <= set(self.on.tables())
        assert len(self.on.moments()) == 1

    def _undoing(self) -> dict[Target, str]:
        """Where a rollback should go: each host to the release before the newest of all."""
        currents = self._currents()
        newest = max(current for current in currents.values() if current)
        plan: dict[Target, str] = {}
        for role in self.roles:
            hosts = [target for target in self.targets if target[0] == role]
            leaving = [target for target in hosts if currents[target] == newest]
            back = [[one for one in self.stacks[target] if one != newest] for target in leaving]
            common = [one for one in back[0] if all(one in names for names in back)] if back else []
            if common:
                there = {currents[target] for target in hosts if target not in leaving}
                to = ([one for one in common if one in there] or common)[-1]
                plan |= dict.fromkeys(leaving, to)
        return plan

    def _rolled_back(self, plan: dict[Target, str]) -> None:
        self.unfinished = {}
        self._regret(plan)
        for target, release in plan.items():
            self.stacks[target] = self._back_to(target, release)
            self._check_serves(target, release)
            self._check_settings(target)
        tops = {target: stack[-1] for target, stack in self.stacks.items()}
        assert self._currents() == tops

    def _regret(self, plan: dict[Target, str]) -> None:
        for target, release in plan.items():
            left = self.stacks[target][-1]
            if left != release and self._content(target, left) != self._content(target, release):
                self.regretted[target[0]].add(self._content(target, left))

    def _back_to(self, target: Target, release: str) -> list[str]:
        return self.stacks[target][: self.stacks[target].index(release) + 1]
