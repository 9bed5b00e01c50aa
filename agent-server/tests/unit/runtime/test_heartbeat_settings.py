"""The heartbeat in a gateway's configuration: off unless its user set it."""

import json
from functools import partial
from pathlib import Path

import pytest
from ocmt_agent.runtime.gateway_config_file import change_config, write_config
from ocmt_agent.runtime.spec import gateway_config, relay_urls, with_heartbeat, with_tools_version

CONFIG = gateway_config(relay_urls("127.0.0.1", 1), user_id="ada", bind="lan", port=2)


@pytest.mark.parametrize("minutes", [5, 30, 1440])
def test_a_heartbeat_runs_in_the_conversation_and_is_turned_off_again(minutes: int) -> None:
    on = with_heartbeat(CONFIG, minutes)
    assert on["agents"]["defaults"]["heartbeat"] == {"every": f"{minutes}m", "target": "none"}
    assert with_heartbeat(on, None) == CONFIG
    assert CONFIG["agents"]["defaults"]["heartbeat"] == {"every": "0m"}


def test_in_use_it_changes_beside_the_tools_version(tmp_path: Path) -> None:
    file = tmp_path / "openclaw.json"
    write_config(file, with_tools_version(CONFIG, 4), mode=0o644, durable=False)
    change_config(file, partial(with_heartbeat, minutes=60), mode=0o644, durable=False)
    written = json.loads(file.read_text())
    assert written == with_tools_version(with_heartbeat(CONFIG, 60), 4)


@pytest.mark.parametrize("damaged", ["", "[]", '{"agents": {}}', '{"agents": {"defaults": 3}}'])
def test_a_damaged_file_is_left_for_the_next_start(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "openclaw.json"
    file.write_text(damaged)
    change_config(file, partial(with_heartbeat, minutes=60), mode=0o644, durable=False)
    assert file.read_text() == damaged
