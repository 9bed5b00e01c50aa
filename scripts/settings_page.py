"""Writes docs/settings.md from the settings classes: `.venv/bin/python scripts/settings_page.py`.

A test compares the page with what this makes, so a setting cannot be added without its line.
"""

from pathlib import Path
from typing import Any

from ocmt_agent.settings import AgentSettings
from ocmt_common.settings import Settings
from ocmt_management.settings import ManagementSettings
from pydantic import SecretStr
from pydantic.fields import FieldInfo

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

_EXAMPLES = {
    "AGENT_AUTH_TOKEN": "the value of AUTH_TOKEN",
    "AGENT_CPUS": "1.5",
    "AGENT_DISK_MB": "20480",
    "AGENT_MEMORY_MB": "1536",
    "AGENT_PIDS": "256",
    "AGENT_SERVER_URL": "https://10.0.0.5:4443",
    "ALLOWED_DOMAINS": "acme.io",
    "ALLOWED_EMAILS": "ada@acme.io,bob@acme.io",
    "ANTHROPIC_BASE_URL": "https://llm.acme.io/anthropic",
    "AUTH_TOKEN": "`openssl rand -hex 32`",
    "BASE_URL": "https://ocmt.acme.io",
    "DATABASE_URL": "postgresql://ocmt:…@db.acme.io/ocmt",
    "DATA_DIR": "/var/lib/ocmt",
    "HIBERNATION_CHECK_INTERVAL": "30000",
    "HOST": "::1",
    "JWT_SECRET": "`openssl rand -base64 48`",
    "MANAGEMENT_URL": "https://10.0.0.4:3443",
    "MAX_BODY_BYTES": "10485760",
    "MAX_FRAME_BYTES": "1048576",
    "NODE_BINARY": "/usr/bin/node",
    "OPENAI_BASE_URL": "https://llm.acme.io/v1",
    "OPENCLAW_DIR": "/opt/openclaw",
    "OPENCLAW_IMAGE": "ocmt/openclaw:2026.9.6",
    "OPENROUTER_BASE_URL": "https://llm.acme.io/openrouter",
    "PAUSE_AFTER_MS": "600000",
    "PORT": "8080",
    "RELAY_HOST": "10.213.0.1",
    "RELAY_PORT": "8081",
    "RUNTIME": "docker",
    "SMTP_EHLO_NAME": "ocmt.acme.io",
    "SMTP_FROM": "OCMT <agent@acme.io>",
    "SMTP_HOST": "smtp.acme.io",
    "SMTP_PASS": "the mail server's password",
    "SMTP_PORT": "465",
    "SMTP_TLS": "tls",
    "SMTP_USER": "agent@acme.io",
    "STOP_AFTER_MS": "3600000",
    "STOP_AGENTS_ON_EXIT": "true",
    "TLS_DIR": "/opt/ocmt/agent-server/tls",
    "TLS_HOST": "10.0.0.5",
    "TLS_PORT": "5443",
    "UI_DIR": "/srv/ocmt/user-ui/dist",
    "UI_ORIGIN": "https://app.acme.io",
    "VAULT_KEY": "`echo k1:$(openssl rand -base64 32)`",
    "WAKE_TIMEOUT_MS": "60000",
}

_INTRODUCTION = """\
# Settings

Each server reads its settings from the file given with `--env-file` and from the environment (which
wins), checks them once at start, and refuses to start when one is unknown or wrong, naming it and
the cure. A file has `NAME=value` a line, taken as it stands; a value with ` #` in it needs quotes.

With `./ocmt up` the files are `management.env` and `agent.env` in the data folder: write a setting
there and start again. The servers get nothing from your shell. What follows from the command's
options (ports, folders, where the servers find each other) is computed, and refused in the files.

This page is made by `scripts/settings_page.py`; a test holds it true.
"""


def page() -> str:
    return "\n".join(
        [
            _INTRODUCTION,
            *_table("Management server", "management.env", ManagementSettings),
            "",
            *_table("Agent server", "agent.env", AgentSettings),
            "",
        ]
    )


def _table(title: str, file: str, settings: type[Settings]) -> list[str]:
    rows = [
        f"| `{name}` | {_default(settings.model_fields[field])} | {_meaning(settings, field)} "
        f"| {_as_code(_EXAMPLES[name])} |"
        for name, field in settings.names().items()
    ]
    return [
        f"## {title} (`{file}`)",
        "",
        "| name | default | meaning | example |",
        "|---|---|---|---|",
        *rows,
    ]


def _meaning(settings: type[Settings], field: str) -> str:
    text = settings.model_fields[field].description
    if not text:
        raise ValueError(f"{settings.__name__}.{field} has no description")
    if text.split()[0].isalpha():  # not a literal such as `id:base64`
        text = text[0].upper() + text[1:]
    return text.replace("|", "\\|")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    value: Any = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "–"
    return _as_code(str(value).lower() if isinstance(value, bool) else str(value).rstrip("/"))


def _as_code(text: str) -> str:
    return text if text.startswith(("`", "the ")) else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
