import errno
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values
from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.up.data_folder import open_data_folder
from ocmt_cli.up.servers import (
    agent_environment,
    management_environment,
    refuse_ineffective_settings,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private_and_has_its_secrets(tmp_path: Path) -> None:
    data = open_data_folder(tmp_path / "data")
    assert mode(data.root) == 0o700
    assert mode(data.management_env) == mode(data.agent_env) == 0o600
    assert len(data.auth_token) >= 32
    assert data.setting(data.management_env, "JWT_SECRET")
    assert data.setting(data.management_env, "VAULT_KEY").startswith("k1:")


def test_opening_it_again_changes_no_secret(tmp_path: Path) -> None:
    data = open_data_folder(tmp_path)
    before = data.management_env.read_bytes(), data.agent_env.read_bytes()
    open_data_folder(tmp_path)
    assert (data.management_env.read_bytes(), data.agent_env.read_bytes()) == before


def test_two_folders_share_no_secret(tmp_path: Path) -> None:
    one, other = open_data_folder(tmp_path / "one"), open_data_folder(tmp_path / "other")
    values = [{*dotenv_values(d.management_env).values(), d.auth_token} for d in (one, other)]
    assert values[0].isdisjoint(values[1])


def test_what_the_operator_wrote_stays_and_only_missing_secrets_are_added(tmp_path: Path) -> None:
    mine = "# mail\nSMTP_HOST=smtp.acme.io"
    (tmp_path / "management.env").write_text(mine)
    data = open_data_folder(tmp_path)
    assert data.management_env.read_text().startswith(mine + "\n")
    assert data.setting(data.management_env, "VAULT_KEY")


def test_a_lost_vault_key_is_not_replaced_by_one_that_opens_nothing(tmp_path: Path) -> None:
    data = open_data_folder(tmp_path)
    (data.management / "management.db").touch()
    data.management_env.unlink()
    with pytest.raises(CommandFailed, match="VAULT_KEY is missing"):
        open_data_folder(tmp_path)
    assert not data.management_env.exists()


@pytest.mark.parametrize(
    ("file", "name"), [("agent.env", "PORT"), ("management.env", "AGENT_AUTH_TOKEN")]
)
def test_a_setting_that_would_have_no_effect_is_refused(
    tmp_path: Path, file: str, name: str
) -> None:
    data = open_data_folder(tmp_path)
    refuse_ineffective_settings(data)
    with (tmp_path / file).open("a") as out:
        out.write(f"{name}=4100\n")
    with pytest.raises(CommandFailed, match=rf"{name} in .*{file} would have no effect"):
        refuse_ineffective_settings(data)


def test_a_folder_below_a_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="--data"):
        open_data_folder(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written")]
)
def test_what_the_disk_refuses_is_explained(tmp_path: Path, number: int, says: str) -> None:
    with pytest.raises(CommandFailed, match=says), explained(tmp_path):
        raise OSError(number, "no", str(tmp_path / "x"))


def test_the_shell_of_the_operator_sets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://another/project")
    monkeypatch.setenv("HOST", "0.0.0.0")
    data = open_data_folder(tmp_path)
    for environment in (
        management_environment(data, port=3000),
        agent_environment(data, port=3000, runtime="process"),
    ):
        assert "DATABASE_URL" not in environment
        assert "HOST" not in environment


def test_a_public_address_in_the_file_is_left_to_the_file(tmp_path: Path) -> None:
    data = open_data_folder(tmp_path)
    assert management_environment(data, port=3100)["BASE_URL"] == "http://127.0.0.1:3100"
    with data.management_env.open("a") as file:
        file.write("BASE_URL=https://ocmt.acme.io\n")
    assert "BASE_URL" not in management_environment(data, port=3100)
