from pathlib import Path

import pytest
from ocmt_agent.settings import AgentSettings
from ocmt_common.settings import SettingsError, load

GOOD = {"AUTH_TOKEN": "0123456789abcdefghijklmnopqrstuv", "DATA_DIR": "/srv/ocmt"}


def test_the_hibernation_times_are_the_specifications() -> None:
    settings = load(AgentSettings, environ=GOOD)
    assert settings.pause_after_ms == 30 * 60 * 1000
    assert settings.stop_after_ms == 4 * 60 * 60 * 1000
    assert settings.stop_by_need  # the four hours are for agents that are not in swap
    assert settings.hibernation_check_interval == 60_000
    assert settings.port == 4000
    assert settings.data_dir == Path("/srv/ocmt")


@pytest.mark.parametrize("value", ["14400000", "1000", "86400000"])
def test_a_time_until_the_stop_that_is_set_is_kept_to(value: str) -> None:
    settings = load(AgentSettings, environ={**GOOD, "STOP_AFTER_MS": value})
    assert settings.stop_after_ms == int(value)
    assert not settings.stop_by_need
    assert load(AgentSettings, environ={**GOOD, "STOP_AFTER_MS": ""}).stop_by_need


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("AUTH_TOKEN", "", "AUTH_TOKEN is not set"),
        ("AUTH_TOKEN", "too-short", "openssl rand -hex 32"),
        ("AUTH_TOKEN", "a" * 64, "openssl rand -hex 32"),
        ("AUTH_TOKEN", "0123456789 with spaces in it 0123", "printable ASCII"),
        ("DATA_DIR", "", "DATA_DIR is not set"),
        ("PORT", "0", "PORT"),
        ("PORT", "70000", "PORT"),
        ("PORT", "4001", "must differ"),
        ("RUNTIME", "podman", "'auto', 'docker' or 'process'"),
        ("PAUSE_AFTER_MS", "0", "greater than or equal to 1"),
        ("STOP_AFTER_MS", "-1", "greater than or equal to 1"),
        ("HIBERNATION_CHECK_INTERVAL", "1m", "HIBERNATION_CHECK_INTERVAL"),
        ("WAKE_TIMEOUT_MS", "0", "WAKE_TIMEOUT_MS"),
        ("MANAGEMENT_URL", "localhost:3000", "MANAGEMENT_URL"),
        ("MANAGEMENT_URL", "http://u:p@localhost:3000", "must contain only"),
        ("MANAGEMENT_URL", "http://front.example:3000", "must be https:// unless"),
        ("MANAGEMENT_URL", "http://10.0.0.4:3000", "must be https:// unless"),
        ("MANAGEMENT_URL", "http://[fd00::1]:3000", "must be https:// unless"),
        ("HOST", "0.0.0.0", "HOST: must be 127.0.0.1 or ::1"),
        ("HOST", "::", "HOST: must be 127.0.0.1 or ::1"),
        ("HOST", "10.0.0.5", "TLS_PORT, which `./ocmt setup` prepares"),
        ("HOST", "agents-1", "HOST: must be 127.0.0.1 or ::1"),
        ("AGENT_CPUS", "0", "AGENT_CPUS"),
        ("AGENT_CPUS", "inf", "AGENT_CPUS"),
        ("PAUSE_AFTER_MS", "9" * 25, "PAUSE_AFTER_MS"),
        ("AGENT_PIDS", "9" * 25, "AGENT_PIDS"),
        ("STOP_AGENTS_ON_EXIT", "perhaps", "STOP_AGENTS_ON_EXIT"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_the_cure(
    name: str, value: str, cure: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(AgentSettings, environ={**GOOD, name: value})
    assert cure in str(refused.value)
    assert value not in str(refused.value) or len(value) < 9


@pytest.mark.parametrize("port", ["4000", "4001"])
def test_the_tls_port_is_another_one_where_it_is_used(port: str) -> None:
    assert load(AgentSettings, environ={**GOOD, "TLS_PORT": port}).tls_port == int(port)
    with pytest.raises(SettingsError, match="TLS_PORT must differ"):
        load(AgentSettings, environ={**GOOD, "TLS_PORT": port, "TLS_DIR": "/etc/tls"})


@pytest.mark.parametrize(
    "given",
    [
        {"MANAGEMENT_URL": "https://10.0.0.4:3443"},
        {"MANAGEMENT_URL": "http://localhost:3000", "HOST": "localhost"},
        {"MANAGEMENT_URL": "http://[::1]:3000", "HOST": "::1"},
        {"HOST": "127.0.0.9"},
    ],
)
def test_loopback_and_https_are_accepted(given: dict[str, str]) -> None:
    load(AgentSettings, environ={**GOOD, **given})


def test_a_folder_is_the_same_wherever_it_is_asked_for() -> None:
    folders = {"DATA_DIR": "data", "OPENCLAW_DIR": "data/openclaw", "NODE_BINARY": "node"}
    settings = load(AgentSettings, environ={**GOOD, **folders})

    assert settings.data_dir == Path.cwd() / "data"
    assert settings.openclaw_dir == Path.cwd() / "data/openclaw"
    assert settings.node_binary == Path.cwd() / "node"


def test_every_setting_has_a_description() -> None:
    assert [n for n, f in AgentSettings.model_fields.items() if not f.description] == []
