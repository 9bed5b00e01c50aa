"""`down` finds the containers of its own data folder by their label, also paused ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_cli.engine import Engine
from ocmt_cli.orphans import end_orphans
from ocmt_common.container_names import instance_label
from ocmt_common.openclaw import default_image


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def start(engine: Engine, label: str) -> str:
    name, _, value = label.partition("=")
    made = engine.request(
        "POST",
        "/containers/create",
        json={
            "Image": default_image(),
            "Cmd": ["sleep", "600"],
            "Labels": {name: value},
            "HostConfig": {"Init": True, "NetworkMode": "none"},
        },
    )
    made.raise_for_status()
    container: str = made.json()["Id"]
    engine.request("POST", f"/containers/{container}/start").raise_for_status()
    return container


def state(engine: Engine, container: str) -> str:
    return str(engine.request("GET", f"/containers/{container}/json").json()["State"]["Status"])


def test_running_and_paused_containers_of_this_folder_are_stopped_and_no_others(
    engine: Engine, tmp_path: Path
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    running, paused = (
        start(engine, instance_label(mine / "agent" / "agents")),
        start(engine, instance_label(mine / "agent" / "agents")),
    )
    foreign = start(engine, instance_label(other / "agent" / "agents"))
    try:
        engine.request("POST", f"/containers/{paused}/pause").raise_for_status()
        ended = end_orphans(mine)
        assert (ended.found, ended.left) == (2, [])
        assert state(engine, running) == state(engine, paused) == "exited"
        assert state(engine, foreign) == "running"
    finally:
        for container in (running, paused, foreign):
            engine.request("DELETE", f"/containers/{container}", params={"force": "true"})


def test_the_engine_reports_its_version_and_whether_it_has_an_image(engine: Engine) -> None:
    assert engine.version()
    assert engine.has_image(default_image())
    assert not engine.has_image("ocmt/openclaw:never-made")


def test_no_engine_behind_the_address_is_no_error(tmp_path: Path) -> None:
    nobody = Engine(f"unix://{tmp_path}/docker.sock")
    assert nobody.version() is None
    assert not nobody.has_image(default_image())
    nobody.close()
