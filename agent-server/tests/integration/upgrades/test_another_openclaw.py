"""A host changes to another OpenClaw: each agent's state is copied first and can be reverted."""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.disk_limit import Room, Usage
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import AgentSpec, ContainerStatus
from ocmt_agent.upgrades import copies
from ocmt_agent.upgrades.copies import StateCopies
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host, open_host
from ocmt_testing.agent_server.migrating_runtime import MigratingRuntime, read_state, write_state

OLD, NEW, NEWEST = "2026.9.6", "2026.10.1", "2026.11.2"
SHORT = Room(10**12, 10**9, 10**7, 10**7)


class Installation:
    """One host's folder, served by successive releases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents = folder / "agents"
        self.agents.mkdir(parents=True)
        self.copies = StateCopies(self.agents)
        self.runtime = MigratingRuntime(self.agents, OLD)

    @property
    def state(self) -> Path:
        return self.agents / "ada" / "state"

    def says(self, words: str) -> None:
        write_state(self.state, version=self.runtime.openclaw, said=words)

    def copied(self) -> list[tuple[str, str]]:
        for copy in self.copies.of("ada"):
            assert read_state(copy.folder)[0] == copy.version
        return sorted(read_state(copy.folder) for copy in self.copies.of("ada"))

    def release(self, openclaw: str) -> None:
        """Start another release; no container runs then."""
        self.runtime = MigratingRuntime(self.agents, openclaw)


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "data")


class Cut(BaseException):
    """In place of a kill."""


async def wake(host: Host) -> Agent:
    await host.parts.hibernation.wakes.awake("ada", kind=ActivityKind.WAKE)
    return host.parts.registry.get("ada")


async def refused(host: Host) -> Problem:
    before = host.runtime.calls["start"]
    with pytest.raises(Problem) as problem:
        await wake(host)
    assert host.runtime.calls["start"] == before, "it was started all the same"
    agent = host.parts.registry.get("ada")
    assert host.state() is S.FAILED
    assert agent.failure == problem.value.detail
    return problem.value


async def upgraded(place: Installation) -> None:
    """An agent whose user chatted with the old OpenClaw, then with the new one."""
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.provision()
        place.says("before")
    place.release(NEW)
    async with open_host(place.folder, runtime=place.runtime) as host:
        await wake(host)
        place.says("after")


async def test_a_new_agent_and_one_on_the_same_openclaw_are_not_copied(
    place: Installation,
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert (await host.provision()).openclaw == OLD
        place.says("hello")
        await host.parts.hibernation.orders.restart("ada")
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        await wake(host)
    assert place.copied() == []
    assert read_state(place.state) == (OLD, "hello")


async def test_state_is_copied_before_the_first_start_on_a_newer_openclaw(
    place: Installation,
) -> None:
    await upgraded(place)
    assert place.copied() == [(OLD, "before")]
    assert read_state(place.state) == (NEW, "after")
    place.release(NEWEST)
    async with open_host(place.folder, runtime=place.runtime) as host:
        await wake(host)
    assert place.copied() == [(NEW, "after")], "one copy for each agent, the newest"


@pytest.mark.parametrize("then", [OLD, "2026.9.30", "2026.10.1-beta.3"])
async def test_an_older_openclaw_never_starts_on_newer_state(
    place: Installation, then: str
) -> None:
    await upgraded(place)
    place.release(then)
    async with open_host(place.folder, runtime=place.runtime) as host:
        problem = await refused(host)
        assert (problem.status, problem.code) == (503, "openclaw-too-old")
        assert NEW in (problem.detail or "")
        assert "ocmt upgrade revert ada" in (problem.detail or "")
        with pytest.raises(Problem, match="OpenClaw"):
            await host.parts.hibernation.orders.restart("ada")
    assert read_state(place.state) == (NEW, "after")


async def test_the_operator_goes_back_to_the_copy_and_forward_again(place: Installation) -> None:
    await upgraded(place)
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        await refused(host)
        answer = await host.client.post("/api/containers/ada/revert")
        assert (answer.status_code, answer.json()["hibernationState"]) == (200, "stopped")
        assert answer.json()["failure"] is None
        await wake(host)
        assert read_state(place.state) == (OLD, "before")
        assert place.copied() == [(NEW, "after")], "set aside, not lost"
        again = await host.client.post("/api/containers/ada/revert")
        assert (again.status_code, again.json()["code"]) == (409, "nothing-to-revert-to")
    place.release(NEW)
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert (await host.client.post("/api/containers/ada/revert")).status_code == 200
        await wake(host)
    assert read_state(place.state) == (NEW, "after")


async def test_a_gateway_that_runs_is_stopped_before_its_state_is_exchanged(
    place: Installation,
) -> None:
    await upgraded(place)
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.client.post("/api/containers/ada/revert")
        await wake(host)
        place.runtime.openclaw = NEW  # an image that came under a running container
        assert (await host.client.post("/api/containers/ada/revert")).status_code == 200
        assert "ada" not in place.runtime.containers
        assert host.state() is S.STOPPED
        await wake(host)
    assert read_state(place.state) == (NEW, "after")


@pytest.mark.needs("root")
@pytest.mark.parametrize("cut_at", ["set_aside", "set_openclaw", "put_back", ""])
async def test_a_state_set_aside_is_not_its_agents_wherever_the_exchange_was_cut(
    place: Installation, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    """Else it and the copy in its place both count for the agent's quota, which refuses a start."""
    await upgraded(place)
    for path in (place.state, *place.state.iterdir()):
        os.chown(path, 12345, 12345)
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        states, registry = host.parts.states, host.parts.registry
        agent = registry.get("ada")
        copy = await states.copy_to_revert_to(agent)

        def cut(*_: object, **__: object) -> None:
            raise Cut

        if cut_at in ("set_aside", "put_back"):
            monkeypatch.setattr(states._copies, cut_at, cut)
        elif cut_at == "set_openclaw":
            monkeypatch.setattr(registry, cut_at, cut)
            monkeypatch.setattr(states._copies, "put_back", cut)  # a kill undoes nothing
        with contextlib.suppress(Cut):
            await states.revert(agent, copy)
    asides = [one.folder for one in place.copies.of("ada") if one.version == NEW]
    assert len(asides) == (0 if cut_at == "set_aside" else 1)
    for folder in asides:
        assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {0}


async def test_without_a_copy_the_refusal_points_to_the_backup(place: Installation) -> None:
    await upgraded(place)
    place.copies.drop_all("ada")
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert "backup" in ((await refused(host)).detail or "")
        answer = await host.client.post("/api/containers/ada/revert")
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing-to-revert-to")
        assert "backup" in answer.json()["detail"]
    assert read_state(place.state) == (NEW, "after")


async def test_what_used_the_state_is_remembered_when_the_agent_is_removed_but_its_state_kept(
    place: Installation,
) -> None:
    await upgraded(place)
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert (await host.client.delete("/api/containers/ada")).status_code == 204
        with pytest.raises(Problem, match="OpenClaw"):
            await host.provision()
        assert host.runtime.calls["start"] == 0


async def test_the_copies_go_with_the_state(place: Installation) -> None:
    await upgraded(place)
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert (await host.client.delete("/api/containers/ada?state=delete")).status_code == 204
    assert place.copied() == []
    assert not (place.agents / ".state-copies" / "ada").exists()


async def test_a_copy_goes_after_two_weeks_and_what_a_kill_left_at_the_next_look(
    place: Installation,
) -> None:
    await upgraded(place)
    left = place.agents / ".state-copies" / "ada" / ".unfinished-1"
    left.mkdir()
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.parts.states.tidy()
        assert not left.exists()
        assert place.copied() == [(OLD, "before")]
        host.clock.advance(minutes=15 * 24 * 60)
        await host.parts.states.tidy()
    assert place.copied() == []


@pytest.mark.parametrize(
    ("usage", "room", "word"),
    [
        (Usage(10**9, 5), SHORT, "free space"),
        (None, None, "more files than can be counted"),
        (Usage(10**12, 5), None, "AGENT_DISK_MB"),
    ],
)
async def test_a_copy_that_does_not_fit_keeps_the_agent_as_it_is_until_it_does(
    place: Installation, usage: Usage | None, room: Room | None, word: str
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.provision()
        place.says("before")
    place.release(NEW)
    async with open_host(place.folder, runtime=place.runtime) as host:
        states = host.parts.states
        measure, room_on = states._measure, states._room_on

        async def measured(*_: object) -> Usage | None:
            return usage

        states._measure = measured
        if room is not None:
            states._room_on = lambda _: room
        problem = await refused(host)
        assert (problem.status, problem.code) == (507, "no-room-for-copy")
        assert word in (problem.detail or "")
        assert read_state(place.state) == (OLD, "before")
        assert place.copied() == []
        states._measure, states._room_on = measure, room_on
        await wake(host)
    assert place.copied() == [(OLD, "before")]


async def test_an_agent_of_a_release_that_recorded_nothing_is_copied_for_a_newer_openclaw(
    place: Installation,
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        agent = await host.provision()
        place.says("before")
        async with host.parts.registry._store._transaction():
            await host.parts.registry._store._db.execute("UPDATE numbers SET openclaw = NULL")
        agent.openclaw = None
        await host.parts.hibernation.orders.restart("ada")
        assert place.copied() == []
        assert host.parts.registry.get("ada").openclaw == OLD
        agent.openclaw = None
        place.runtime.openclaw = NEW
        await host.parts.hibernation.orders.restart("ada")
    assert place.copied() == [(OLD, "before")]


async def test_a_container_that_still_runs_is_stopped_before_its_state_is_copied(
    place: Installation,
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        agent = await host.provision()
        place.says("before")
        place.runtime.openclaw = NEW
        stopped: list[str] = []
        take = place.runtime.stop

        async def stop(user_id: str, *, grace_s: float) -> None:
            stopped.append(user_id)
            await take(user_id, grace_s=grace_s)

        place.runtime.stop = stop  # type: ignore[method-assign]
        await host.parts.states.prepare(agent)
        assert stopped == ["ada"]
        assert place.runtime.containers["ada"].status is ContainerStatus.EXITED
    assert place.copied() == [(OLD, "before")]


@pytest.mark.parametrize("came", [NEW, NEWEST, "2026.8.1"])
@pytest.mark.parametrize("how", ["wake", "restart", "provision"])
async def test_an_openclaw_that_comes_while_an_agent_waits_to_start_is_not_started(
    place: Installation, came: str, how: str
) -> None:
    """The state was prepared for the OpenClaw that was there before the wait."""
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.provision()
        place.says("before")
        if how == "wake":
            await place.runtime.stop("ada", grace_s=0)
            await host.parts.hibernation.reconciler.settle(host.parts.registry.get("ada"))
        if how == "provision":
            await host.client.delete("/api/containers/ada")
        create = place.runtime.create

        async def late(spec: AgentSpec) -> None:
            place.runtime.openclaw = came
            await create(spec)

        place.runtime.create = late  # type: ignore[method-assign]
        starts: dict[str, Callable[[], Awaitable[object]]] = {
            "wake": lambda: wake(host),
            "restart": lambda: host.parts.hibernation.orders.restart("ada"),
            "provision": host.provision,
        }
        with pytest.raises(Problem, match="OpenClaw was replaced on this host"):
            await starts[how]()
        assert read_state(place.state) == (OLD, "before")
        assert place.copied() == []
        place.runtime.create = create  # type: ignore[method-assign]
        if came == "2026.8.1":
            place.runtime.openclaw = OLD
        if how == "provision":
            await host.provision()
        else:
            await wake(host)
    assert place.copied() == ([] if came == "2026.8.1" else [(OLD, "before")])


@pytest.mark.parametrize("removed", [False, True])
async def test_no_copy_goes_while_one_has_to_take_the_states_place(
    place: Installation, removed: bool
) -> None:
    """Going back was cut short, and the agent was perhaps removed, without its state."""
    await upgraded(place)
    place.release(OLD)
    async with open_host(place.folder, runtime=place.runtime) as host:
        agent = host.parts.registry.get("ada")
        await host.parts.registry.set_openclaw(agent, OLD)
        place.copies.set_aside(place.state, "ada", version=NEW, at=host.clock.now())
        if removed:
            assert (await host.client.delete("/api/containers/ada")).status_code == 204
        await host.parts.states.tidy()
        assert place.copied() == [(NEW, "after"), (OLD, "before")]
        await (host.provision() if removed else wake(host))
        assert read_state(place.state) == (OLD, "before")
        await host.parts.states.tidy()
    assert place.copied() == [(NEW, "after")]


async def test_what_an_unknown_users_copies_leave_is_not_removed_during_a_copy(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgraded(place)
    place.release(NEWEST)
    async with open_host(place.folder, runtime=place.runtime) as host:
        assert (await host.client.delete("/api/containers/ada")).status_code == 204
        run, begun, go_on = copies._run, asyncio.Event(), asyncio.Event()

        async def slow(*command: str) -> None:
            await run(*command)
            if command[0] == "cp":
                begun.set()
                await go_on.wait()

        monkeypatch.setattr(copies, "_run", slow)
        find = host.parts.registry.find
        provisioning = asyncio.create_task(host.provision())
        await begun.wait()
        # As read just before the agent was registered.
        monkeypatch.setattr(host.parts.registry, "find", lambda _: None)
        tidying = asyncio.create_task(host.parts.states.tidy())
        await asyncio.wait({tidying}, timeout=0.2)
        go_on.set()
        await tidying
        monkeypatch.setattr(host.parts.registry, "find", find)
        await provisioning
    assert (NEW, "after") in place.copied()


# A tenant's files


def plant_links(state: Path, secret: Path) -> None:
    (state / "to-a-file").symlink_to(secret)
    (state / "to-a-folder").symlink_to(secret.parent)
    (state / "nowhere").symlink_to("/nonexistent/\x1b[31m")


def plant_kinds(state: Path, _: Path) -> None:
    os.mkfifo(state / "pipe")
    os.link(state / "first", state / "same")
    (state / "empty").mkdir(mode=0o500)


def plant_modes(state: Path, _: Path) -> None:
    (state / "set-uid").write_text("#!/bin/sh\n")
    (state / "set-uid").chmod(0o6755)
    (state / "folder").mkdir()
    (state / "folder").chmod(0o3777)
    (state / "unreadable").write_text("x")
    (state / "unreadable").chmod(0)


def plant_names(state: Path, _: Path) -> None:
    for name in ("--help", "-rf", "new\nline", "\x1b]0;x\x07", "a: No such file", "ü" * 100):
        (state / name).write_text("x")


def plant_gaps(state: Path, _: Path) -> None:
    with (state / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 42)


@pytest.mark.parametrize("plant", [plant_links, plant_kinds, plant_modes, plant_names, plant_gaps])
async def test_a_tenants_files_are_copied_as_what_they_are_and_nothing_of_the_host(
    place: Installation, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "host" / "secret"
    secret.parent.mkdir()
    secret.write_text("the host's")
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.provision()
        place.says("before")
        plant(place.state, secret)
        names = {path.name for path in place.state.iterdir()}
        place.runtime.openclaw = NEW
        await host.parts.hibernation.orders.restart("ada")
    (copy,) = place.copies.of("ada")
    found = {path.name: path.lstat() for path in copy.folder.iterdir()}
    assert found.keys() == names
    for name, seen in found.items():
        original = (place.state / name).lstat().st_mode
        assert stat.S_IFMT(seen.st_mode) == stat.S_IFMT(original)
        assert seen.st_mode & 0o777 == original & 0o777, name
        assert not seen.st_mode & 0o6000, name
        assert seen.st_blocks * 512 < 10**6, name
    assert secret.read_text() == "the host's"
    root = place.agents / ".state-copies"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


# What systemd's RestrictSUIDSGID refuses: a call with one of these bits in its mode.
_SET_ID = re.compile(r"(chmod|mkdir|mknod|creat|O_CREAT)\w*.*\b0\d*[2-7]\d{3}\b")


@pytest.mark.needs("strace")
async def test_it_is_copied_by_a_service_that_may_set_no_set_id_bits(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    run = copies._run

    async def traced(*command: str) -> None:
        await run("strace", "-f", "-A", "-o", str(calls), "-e", "trace=%file,fchmod", *command)

    monkeypatch.setattr(copies, "_run", traced)
    write_state(place.state, version=OLD, said="before")
    plant_modes(place.state, tmp_path)
    await place.copies.take(place.state, "ada", version=OLD, at=datetime.now(UTC))
    assert "mkdir" in calls.read_text()
    assert [line for line in calls.read_text().splitlines() if _SET_ID.search(line)] == []


async def test_state_that_cannot_be_copied_is_not_started_and_the_reason_names_no_file(
    place: Installation,
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        await host.provision()
        place.says("before")
        # Deeper than a path may be long.
        here = os.open(place.state, os.O_RDONLY)
        for _ in range(40):
            os.mkdir("\x1b[31mred" * 20, dir_fd=here)
            below = os.open("\x1b[31mred" * 20, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
    place.release(NEW)
    async with open_host(place.folder, runtime=place.runtime) as host:
        problem = await refused(host)
        assert problem.code == "copy-failed"
        assert "File name too long" in (problem.detail or "")
        assert "red" not in (problem.detail or "")
        assert place.copied() == []
        assert [*(place.agents / ".state-copies" / "ada").iterdir()] == []


async def test_a_link_in_the_place_of_the_state_is_not_followed(
    place: Installation, tmp_path: Path
) -> None:
    async with open_host(place.folder, runtime=place.runtime) as host:
        agent = await host.provision()
        place.says("before")
    host_folder = tmp_path / "host"
    place.state.rename(host_folder)
    place.state.symlink_to(host_folder)
    place.release(NEW)
    async with open_host(place.folder, runtime=place.runtime) as host:
        agent = host.parts.registry.get("ada")
        await host.parts.states.prepare(agent)
    assert place.copied() == []
