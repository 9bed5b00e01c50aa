"""Folders, files and other deployers that a deploy does not expect on its hosts."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.deploy import build, orchestration
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.plan import problems
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.failure import CommandFailed, interruptible
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "u": ("ui",)}
FUTURE = f"20990101T000000Z-{'a' * 12}"


class Operator:
    def __init__(self, world: World) -> None:
        self.world = world
        self.mgmt = world.component("mgmt", "m")

    def source(self, number: int, *, later: tuple[int, ...] = ()) -> StubSource:
        contents: tuple[tuple[Role, str], ...] = (
            ("mgmt", f"mgmt-{number}"), ("ui", f"ui-{number}"),
        )  # fmt: skip
        after = tuple(f"{one:012d}" for one in later)
        return StubSource(self.world.folder, f"{number:012d}", contents, later=after)

    def deploy(self, number: int, *, later: tuple[int, ...] = ()) -> None:
        source = self.source(number, later=later)
        deploy(self.world.deployer("mgmt", "ui"), source, builds=self.world.folder)

    def serves(self) -> list[str | None]:
        return [self.world.content(role, host) for host, (role,) in HOSTS.items()]


@pytest.fixture
def operator() -> Iterator[Operator]:
    with stub_world(HOSTS) as world:
        made = Operator(world)
        made.deploy(1)
        yield made


def _a_folder(place: Path) -> None:
    place.mkdir()


def _a_copy_that_broke_off(place: Path) -> None:
    place.mkdir()
    (place / "release.json").write_text("{")


def _a_file(place: Path) -> None:
    place.write_text("x")


def _a_link(place: Path) -> None:
    place.symlink_to("/usr")


@pytest.mark.parametrize("make", [_a_folder, _a_copy_that_broke_off, _a_file, _a_link])
def test_what_is_dated_2099_among_the_releases_names_no_release(
    operator: Operator, make: Callable[[Path], None]
) -> None:
    make(operator.mgmt.release(FUTURE))
    operator.deploy(2)
    assert operator.serves() == ["mgmt-2", "ui-2"]
    assert str(operator.mgmt.current) < "2090"
    rollback(operator.world.deployer("mgmt", "ui"), to=None, why="", tag=lambda *_: None)
    assert operator.serves() == ["mgmt-1", "ui-1"]
    assert Path("/usr/bin").is_dir()


def test_a_release_that_served_with_a_clock_of_2099_is_followed_by_later_names(
    operator: Operator,
) -> None:
    current = str(operator.mgmt.current)
    ahead = f"20990101T000000Z-{current[-12:]}"
    operator.mgmt.release(current).rename(operator.mgmt.release(ahead))
    state = operator.mgmt.state()
    operator.mgmt.save({**state, "healthy": [ahead], "env": {}})
    operator.mgmt.point(ahead)
    states = operator.world.processes[operator.mgmt.path].states
    states.clear()
    states[ahead] = "serving"
    operator.deploy(2)
    assert str(operator.mgmt.current) > ahead
    rollback(operator.world.deployer("mgmt"), to=None, why="", tag=lambda *_: None)
    assert operator.mgmt.current == ahead


@pytest.mark.parametrize("name", ["README", "20260101T000000Z", "old", "20260101T000000Z-xyz"])
def test_strays_among_the_releases_are_no_releases(operator: Operator, name: str) -> None:
    (operator.mgmt.path / "releases" / name).mkdir()
    assert operator.mgmt.releases() == [operator.mgmt.current]
    operator.deploy(2)
    assert (operator.mgmt.path / "releases" / name).is_dir()  # nor is it removed


@pytest.mark.parametrize("name", ["releases", "wheels", "log", "run", "tools", "cache"])
@pytest.mark.parametrize("make", [_a_file, lambda place: place.symlink_to("/no/such")])
def test_a_file_or_broken_link_for_a_folder_is_found_before_anything_is_changed(
    operator: Operator, name: str, make: Callable[[Path], None]
) -> None:
    place = operator.mgmt.path / name
    shutil.rmtree(place, ignore_errors=True)
    make(place)
    assert operator.mgmt.obstacles() == [str(place)]


@pytest.mark.parametrize("name", [".env", "state.json", "journal.jsonl"])
def test_a_folder_for_a_file_is_found_before_anything_is_changed(
    operator: Operator, name: str
) -> None:
    (operator.mgmt.path / name).unlink(missing_ok=True)
    (operator.mgmt.path / name).mkdir()
    with operator.world.deployer("mgmt").connections() as connections:
        facts = connections["m"].ask("facts", "mgmt")
    inventory = operator.world.inventory
    found = problems(inventory, inventory.host("m"), "mgmt", facts, facts["time"])
    assert any(f"/{name} is a file, folder or broken link where the other is" in one
               for one in found)  # fmt: skip


def test_folders_behind_links_are_fine(operator: Operator) -> None:
    elsewhere = operator.world.folder / "elsewhere"
    (operator.mgmt.path / "releases").rename(elsewhere)
    (operator.mgmt.path / "releases").symlink_to(elsewhere)
    assert operator.mgmt.obstacles() == []
    operator.deploy(2)
    assert operator.serves() == ["mgmt-2", "ui-2"]


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '{"healthy"'])
def test_a_damaged_state_is_recovered_from(operator: Operator, text: str) -> None:
    (operator.mgmt.path / "state.json").write_text(text)
    operator.deploy(1)
    assert operator.mgmt.healthy() == [operator.mgmt.current]
    operator.deploy(2)
    assert operator.serves() == ["mgmt-2", "ui-2"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"file": "another"}', '{"../../x": "y"}'])
def test_an_edited_manifest_of_a_release_is_refused_and_the_old_one_serves(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    real = orchestration._describe

    def edited(folder: Path, *words: Any, **more: Any) -> None:
        real(folder, *words, **more)
        (folder / "manifest.json").write_text(text)

    with monkeypatch.context() as patch:
        patch.setattr(orchestration, "_describe", edited)
        with pytest.raises(CommandFailed, match=r"differs from the build\. Deploy again"):
            operator.deploy(2)
    assert operator.serves() == ["mgmt-1", "ui-1"]
    operator.deploy(2)
    assert operator.serves() == ["mgmt-2", "ui-2"]


@pytest.mark.parametrize("text", ["", "[1]", '{"assets/x.js": "y", "assets/../../x": "y"}'])
def test_an_edited_manifest_of_the_page_that_serves_stops_no_deploy(
    operator: Operator, text: str
) -> None:
    page = operator.world.component("ui", "u")
    current = page.release(str(page.current))
    (current / "assets").mkdir()
    (current / "manifest.json").write_text(text)
    operator.deploy(2)
    assert operator.serves() == ["mgmt-2", "ui-2"]


@pytest.mark.parametrize("name", ["manifest.json", "own/a.whl"])
def test_an_edited_build_is_built_again(tmp_path: Path, name: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.whl").write_bytes(b"wheel")
    build.write_manifest(tmp_path)
    assert build.is_whole(tmp_path)
    (tmp_path / name).write_text(json.dumps({"own/a.whl": "0"}))
    assert not build.is_whole(tmp_path)


@pytest.mark.parametrize(
    ("mine", "later", "serves"),
    [(2, (3,), ["mgmt-3", "ui-3"]), (4, (), ["mgmt-4", "ui-4"]), (3, (), ["mgmt-3", "ui-3"])],
)
def test_of_two_deployers_of_different_commits_the_later_one_sees_what_the_first_did(
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    mine: int,
    later: tuple[int, ...],
    serves: list[str],
) -> None:
    """The other deployer is done between this one's plan and its lock."""
    real = orchestration._lock

    def lock(*words: object) -> None:
        monkeypatch.setattr(orchestration, "_lock", real)
        operator.deploy(3)
        real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(orchestration, "_lock", lock)
    if later:
        with pytest.raises(CommandFailed, match="this commit is OLDER than that of"):
            operator.deploy(mine, later=later)
    else:
        operator.deploy(mine)
    assert operator.serves() == serves
    assert len({operator.mgmt.meta(one)["commit"] for one in operator.mgmt.releases()}) == len(
        operator.mgmt.releases()
    )


def test_ctrl_c_says_what_became_of_it_and_what_to_run(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(orchestration, "send_and_switch", interrupted)
    failed = pytest.raises(CommandFailed, match=r"^Interrupted\. All goes on\.$")
    with failed as told, interruptible("All goes on."):
        operator.deploy(2)
    assert told.value.exit_code == 130
