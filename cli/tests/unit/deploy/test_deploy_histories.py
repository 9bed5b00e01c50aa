"""Histories of deploys, rollbacks, failures and cuts, against a model of what serves.

The model is a stack of releases for each component on each host: its top serves, and the rest is
the way back. A cut operation leaves something in between; what is run next must end where the model
says.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.restores import facts_after_restores, switch_data
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.rollback_plan import Facts
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.stub_hosts import Cut, StubSource, stub_world

Target = tuple[Role, str]
FUSES = st.one_of(st.none(), st.integers(0, 60))


def migrations(content: str) -> tuple[str, ...]:
    """Those of management's release with this content: each adds one."""
    return tuple(f"{number:04d}" for number in range(int(content.rpartition("-")[2]) + 1))


class Histories(RuleBasedStateMachine):
    """Management, and a page on two hosts."""

    hosts: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "u1": ("ui",), "u2": ("ui",)}

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[Target] = [(role, name) for name, (role,) in self.hosts.items()]
        self.roles = tuple(dict.fromkeys(role for role, _ in self.targets))
        self.stack = ExitStack()
        self.world = self.stack.enter_context(stub_world(self.hosts))
        self.deployer = self.world.deployer(*self.roles)
        self.stacks: dict[Target, list[str]] = {target: [] for target in self.targets}
        self.contents: dict[str, str] = {}
        """Component/release → its content."""
        self.regretted: dict[Role, set[str]] = {role: set() for role in self.roles}
        self.unfinished: dict[Target, str] = {}
        """A rollback that was cut: where it goes."""
        self.crashed = False
        """Whether servers ended that no complete deploy has started again."""
        self.commits = 0
        self.restores = 0
        self.head: dict[Role, str] = {role: f"{role}-0" for role in self.roles}

    def teardown(self) -> None:
        self.stack.close()

    # What the operator does.

    @initialize()
    def deploy_first(self) -> None:
        self._deploy(None)

    @rule(data=st.data(), fuse=FUSES)
    def deploy_a_new_commit(self, data: st.DataObject, fuse: int | None) -> None:
        self._commit(*data.draw(st.sets(st.sampled_from(self.roles), min_size=1)))
        self._deploy(fuse)

    @rule(fuse=FUSES)
    def deploy_again(self, fuse: int | None) -> None:
        self._deploy(fuse)

    @rule(data=st.data(), fuse=FUSES)
    def deploy_changed_settings(self, data: st.DataObject, fuse: int | None) -> None:
        server = data.draw(st.sampled_from([one for one in self.targets if one[0] != "ui"]))
        with self.world.component(*server).env_file.open("a") as file:
            file.write("# more\n")
        self._deploy(fuse)

    @rule(fuse=FUSES)
    def deploy_what_does_not_start(self, fuse: int | None) -> None:
        self._commit("mgmt")
        self.world.broken.add(self.head["mgmt"])
        self._deploy(fuse)
        self._commit("mgmt")

    @rule(fuse=st.one_of(st.none(), st.integers(0, 20)))
    def restore(self, fuse: int | None) -> None:
        """Put back the database of the first release, after completing an earlier restore."""
        servers = [target for target in self.targets if target[0] != "ui"]
        self.restores += 1
        record = {
            "id": str(self.restores), "backup": "2026-11-01", "who": "ada", "at": "now",
            "targets": [list(one) for one in servers], "data": "/nowhere", "moves": [],
            "lacking": [],
        }  # fmt: skip
        self.crashed = True
        self.world.fuse = fuse
        try:
            with self.world.deployer("mgmt", "agent").connections() as connections:

                def read() -> Facts:
                    return {(role, host): connections[host].ask("facts", role)
                            for role, host in servers}  # fmt: skip

                for role, host in servers:
                    connections[host].lock(role, what="restore")
                facts_after_restores(connections, read, lambda text: None)
                switch_data(connections, dict.fromkeys(servers, record), lambda text: None)
        except Cut:
            pass
        finally:
            self.world.fuse = None

    @rule(fuse=FUSES)
    def roll_back(self, fuse: int | None) -> None:
        plan = self.unfinished or self._undoing()
        before = self._currents()
        self.world.fuse = fuse
        try:
            self._roll_back_now()
        except Cut:
            if self._is_recorded():
                self.unfinished = plan
            elif self._currents() != before:
                self._rolled_back(plan)
            return
        except CommandFailed:
            if plan:
                raise
            return
        finally:
            self.world.fuse = None
        assert plan
        self._rolled_back(plan)

    @rule()
    def the_machines_restart(self) -> None:
        for processes in self.world.processes.values():
            processes.states.clear()
        self.crashed = True

    @rule(data=st.data())
    def a_host_is_lost_for_a_while(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(sorted(self.hosts)))
        before = self._currents()
        self.world.lost = {lost}
        with pytest.raises(CommandFailed, match=f"^{lost}: "):
            deploy(self.deployer, self._source(), builds=self.world.folder)
        with pytest.raises(CommandFailed, match=f"^{lost}: "):
            self._roll_back_now()
        self.world.lost = set()
        assert self._currents() == before

    def _roll_back_now(self) -> None:
        rollback(self.deployer, to=None, why="", tag=lambda *_: None)

    # What the model expects.

    def _commit(self, *changed: Role) -> None:
        self.commits += 1
        self.head |= {role: f"{role}-{self.commits}" for role in changed}

    def _source(self) -> StubSource:
        commit = f"{self.commits:012d}" + "0" * 28
        contents = tuple(self.head.items())
        return StubSource(
            self.world.folder, commit, contents=contents, migrations=migrations(self.head["mgmt"])
        )

    def _currents(self) -> dict[Target, str | None]:
        return {target: self.world.component(*target).current for target in self.targets}

    def _content(self, target: Target, release: str) -> str:
        return self.contents[f"{target[0]}/{release}"]

    def _is_recorded(self) -> bool:
        states = [self.world.component(*target).state() for target in self.targets]
        return any(state["rollback"] for state in states)

    def _deploy(self, fuse: int | None) -> None:
        if self.unfinished:
            plan, self.unfinished = self.unfinished, {}
            self._deploy_over(fuse, plan)
        else:
            self._deploy_over(fuse, {})

    def _deploy_over(self, fuse: int | None, plan: dict[Target, str]) -> None:
        broken = [role for role in self.roles if self.head[role] in self.world.broken]
        self.world.fuse = fuse
        try:
            deploy(self.deployer, self._source(), builds=self.world.folder)
            done = True
        except Cut:
            done = False
        except CommandFailed:
            if not broken:
                raise
            done = False
        finally:
            self.world.fuse = None
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
        meta = self.world.component(*target).meta(release)
        assert release not in self.stacks[target], "a deploy went back"
        assert (
            self.contents.setdefault(f"{target[0]}/{release}", meta["content"]) == meta["content"]
        )
        self.stacks[target].append(release)

    def _check_deployed(self, target: Target) -> None:
        role, _ = target
        top = self.stacks[target][-1]
        self._check_serves(target, top)
        # Changed settings come into force, unless the commit to deploy was rolled back.
        if self.head[role] in self.regretted[role]:
            assert self._content(target, top) != self.head[role]
        else:
            assert self._content(target, top) == self.head[role]
            self._check_settings(target, top)

    def _check_settings(self, target: Target, release: str) -> None:
        """The server was started with the settings that its `.env` has."""
        component = self.world.component(*target)
        if target[0] != "ui":
            settings = self.world.processes[component.path].settings[release]
            assert settings == component.env_digest()

    def _check_serves(self, target: Target, release: str) -> None:
        assert self.world.serving(*target) == [release] or self.crashed
        component = self.world.component(*target)
        assert component.state()["rollback"] is None
        assert component.healthy()[-1] == release
        if target[0] == "mgmt":
            assert set(migrations(self._content(target, release))) <= set(self.world.tables)

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
            self._check_settings(target, release)
        tops = {target: stack[-1] for target, stack in self.stacks.items()}
        assert self._currents() == tops

    def _regret(self, plan: dict[Target, str]) -> None:
        for target, release in plan.items():
            left = self.stacks[target][-1]
            if left != release and self._content(target, left) != self._content(target, release):
                self.regretted[target[0]].add(self._content(target, left))

    def _back_to(self, target: Target, release: str) -> list[str]:
        return self.stacks[target][: self.stacks[target].index(release) + 1]


class LongHistories(Histories):
    """All components, and a page on three hosts."""

    hosts: Mapping[str, tuple[Role, ...]] = {
        "m": ("mgmt",), "a": ("agent",), "u1": ("ui",), "u2": ("ui",), "u3": ("ui",),
    }  # fmt: skip


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=100, stateful_step_count=8)
TestLongHistories = pytest.mark.nightly(LongHistories.TestCase)
TestLongHistories.settings = settings(max_examples=600, stateful_step_count=20)
