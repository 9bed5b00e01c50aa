from pathlib import Path

import pytest
from ocmt_common.settings import Settings, SettingsError, load
from pydantic import Field


class Example(Settings):
    auth_token: str = Field(min_length=8, description="What callers present.")
    pause_after_ms: int = Field(default=1000, gt=0, description="Idle time before a pause.")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AUTH_TOKEN=from-the-file\nPAUSE_AFTER_MS=5\n")

    loaded = load(Example, env_file=env_file, environ={"PAUSE_AFTER_MS": "7"})

    assert loaded.auth_token == "from-the-file"
    assert loaded.pause_after_ms == 7


def test_a_missing_file_is_no_error_when_the_environment_suffices(tmp_path: Path) -> None:
    loaded = load(Example, env_file=tmp_path / "none", environ={"AUTH_TOKEN": "long enough"})

    assert loaded.pause_after_ms == 1000


def test_a_missing_setting_is_named_with_its_meaning_and_cure() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Example, environ={})

    assert "AUTH_TOKEN is not set (What callers present.)" in str(caught.value)
    assert "Set it in the environment" in str(caught.value)


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_setting(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AUTH_TOKEN=long enough\nPAUSE_AFTER=5\n")

    with pytest.raises(SettingsError, match=r"PAUSE_AFTER in .*did you mean PAUSE_AFTER_MS\?"):
        load(Example, env_file=env_file, environ={})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("PAUSE_AFTER_MS 5", r"Line 2 of .*\.env is not NAME=value"),
        ('PAUSE_AFTER_MS="5', r"Line 2 of .*\.env is not NAME=value, or has an unclosed quote"),
        ("PAUSE_AFTER_MS", r"Line 2 of .*\.env: PAUSE_AFTER_MS has no value"),
    ],
)
def test_a_line_that_sets_nothing_is_refused_rather_than_left_out(
    tmp_path: Path, line: str, says: str
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"AUTH_TOKEN=hunter2-hunter2\n{line}\n")

    with pytest.raises(SettingsError, match=says) as caught:
        load(Example, env_file=env_file, environ={})
    assert "hunter2" not in str(caught.value)


def test_a_value_is_taken_literally(tmp_path: Path) -> None:
    """Passwords contain dollars and braces; the shell's variables are not expanded."""
    env_file = tmp_path / ".env"
    env_file.write_text("\ufeff# from an editor on Windows\r\nAUTH_TOKEN=pa${HOME}$$word\r\n")

    assert load(Example, env_file=env_file, environ={}).auth_token == "pa${HOME}$$word"


def test_an_unreadable_file_is_reported_with_the_reason(tmp_path: Path) -> None:
    latin = tmp_path / "latin.env"
    latin.write_bytes("AUTH_TOKEN=für-immer".encode("latin-1"))

    with pytest.raises(SettingsError, match=r"latin\.env is not UTF-8"):
        load(Example, env_file=latin, environ={})
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        load(Example, env_file=tmp_path, environ={})


def test_a_file_that_does_not_exist_is_named_when_settings_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"typo\.env does not exist\.\nAUTH_TOKEN is not set"):
        load(Example, env_file=tmp_path / "typo.env", environ={})


def test_a_name_with_nothing_behind_it_is_not_set(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AUTH_TOKEN=long enough\nPAUSE_AFTER_MS=\n")
    assert load(Example, env_file=env_file, environ={}).pause_after_ms == 1000

    env_file.write_text("AUTH_TOKEN=\n")
    with pytest.raises(SettingsError, match="AUTH_TOKEN is not set"):
        load(Example, env_file=env_file, environ={})


def test_a_near_miss_in_the_environment_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"PAUSE_AFTER_M .*did you mean PAUSE_AFTER_MS\?"):
        load(Example, environ={"AUTH_TOKEN": "long enough", "PAUSE_AFTER_M": "5"})


def test_other_programs_variables_in_the_environment_are_ignored() -> None:
    loaded = load(Example, environ={"AUTH_TOKEN": "long enough", "PATH": "/bin", "LANG": "C"})

    assert loaded.auth_token == "long enough"


def test_every_problem_is_listed_at_once_and_no_value_is_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Example, environ={"AUTH_TOKEN": "hunter2", "PAUSE_AFTER_MS": "soon-ish"})

    message = str(caught.value)
    assert "AUTH_TOKEN" in message
    assert "PAUSE_AFTER_MS" in message
    assert "hunter2" not in message
    assert "soon-ish" not in message


def test_systemds_credential_stands_for_the_env_file(tmp_path: Path) -> None:
    """`LoadCredential=env:…`: only root may read the file itself."""

    class Small(Settings):
        word: str = Field("default", description="a word")

    (tmp_path / "env").write_text("WORD=from-the-credential\n")
    hidden = tmp_path / "unreadable" / ".env"
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(Small, env_file=hidden, environ=given).word == "from-the-credential"
    given["CREDENTIALS_DIRECTORY"] = str(tmp_path / "none")
    assert load(Small, env_file=hidden, environ=given).word == "default"
