import json
import logging

import pytest
import structlog
from ocmt_common.logs import MASK, configure_logging, mask_secrets


@pytest.mark.parametrize(
    "key", ["token", "agent_token", "authorization", "Cookie", "password", "api_key", "vault_key"]
)
def test_the_value_of_a_key_that_names_a_secret_is_masked(key: str) -> None:
    assert mask_secrets(None, "", {key: "s3cret"})[key] == MASK


@pytest.mark.parametrize(
    "text",
    [
        "sent Authorization: Bearer s3cret to it",
        "GET /x?token=s3cret",
        "postgresql://ocmt:s3cret@db/ocmt",
        "see /sign-in#token=s3cret",
        "postgresql://ocmt:s3cret@db:5432/ocmt",
    ],
)
def test_a_credential_inside_a_text_is_masked(text: str) -> None:
    assert "s3cret" not in mask_secrets(None, "", {"event": text})["event"]


def test_ordinary_fields_are_kept() -> None:
    event = {"event": "woke", "url": "http://127.0.0.1:4000/health", "ms": 12, "keyboard": "qwerty"}

    assert mask_secrets(None, "", dict(event)) == event


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\n{}", "\x1b[2J", "\u2028", '"}\n{"event": "forged"}']
)
def test_no_text_ends_a_line_of_the_log_or_acts_on_a_terminal(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(form="json")
    try:
        structlog.get_logger("ours").info(text, path=text)
        logging.getLogger("somebody.else").warning("%s", text)
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == [text, text]
    assert not any("\x1b" in line for line in lines)


def test_a_library_s_log_line_is_masked_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json")
    try:
        logging.getLogger("somebody.else").warning("url was http://u:s3cret@host/")
        structlog.get_logger("ours").info("hello", token="s3cret")
    finally:
        logging.getLogger().handlers = []
        structlog.reset_defaults()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert "s3cret" not in json.dumps(lines)
    assert [line["level"] for line in lines] == ["warning", "info"]
