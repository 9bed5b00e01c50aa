"""Every setting of the management server, validated at start.

If a setting is missing, malformed or weak, the server says what to do and does not start: running
with a guessable vault key is worse than not running.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from ocmt_common.loopback import is_loopback
from ocmt_common.settings import Settings
from pydantic import Field, SecretStr, field_validator, model_validator
from sqlalchemy import URL

from ocmt_management.database_url import parse_database_url
from ocmt_management.email_addresses import ascii_domain, normalise

_DOMAIN = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
# A name, an IPv4 or a bracketed IPv6 address, optionally with a user and a port.
_HOST = re.compile(r"[^\s/@]*@?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")
_MAIL_HOST = re.compile(r"[a-z0-9_.-]+|\[?[0-9a-f:.]+(?:%\w+)?\]?")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_WRAPPED = re.compile(r"vault:v\d{1,9}:[A-Za-z0-9+/=]{20,1000}")
_OAUTH_PROVIDERS = (
    "dropbox", "github", "gitlab", "google", "linear", "microsoft", "notion", "slack", "todoist",
)  # fmt: skip
_PLACEHOLDER = re.compile(r"change.?me|your.?(secret|key)|example|^(.)\1*$", re.I)


class ManagementSettings(Settings):
    data_dir: Path = Field(description="Folder for the embedded database; made if missing")
    database_url: SecretStr = Field(
        SecretStr(""),
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; "
        "default: management.db in DATA_DIR",
    )
    jwt_secret: SecretStr = Field(
        description="At least 32 random characters (`openssl rand -base64 48`); keys the hashes "
        "of sign-in links and codes"
    )
    vault_key: SecretStr = Field(
        description="id:base64 of 32 random bytes (`echo k1:$(openssl rand -base64 32)`), or "
        "id:vault:… of one that TRANSIT_URL opens; several comma-separated: the first encrypts, "
        "the others still decrypt"
    )
    transit_url: str = Field(
        "", description="Address of an OpenBao or Vault server that opens keys of VAULT_KEY"
    )
    transit_key: str = Field(
        "transit/ocmt",
        description="Its transit key, as MOUNT/NAME",
        pattern=r"^[\w.-]+(/[\w.-]+)+\z",
    )
    transit_token: SecretStr = Field(
        SecretStr(""), description="Token for it; empty with a proxy that signs in itself"
    )

    smtp_host: str = Field("", description="Mail server; empty: no mail, links by `sign-in-link`")
    smtp_port: int = Field(587, ge=1, le=65535, description="Port of the mail server")
    smtp_user: str = Field("", description="User at the mail server; empty: no log-in")
    smtp_pass: SecretStr = Field(SecretStr(""), description="Password at the mail server")
    smtp_from: str = Field("", description="Sender of mails; required with SMTP_HOST")
    smtp_ehlo_name: str = Field(
        "",
        description="Name this server greets the mail server with (EHLO); empty: the machine's own",
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls, tls (from the first byte) or none"
    )

    agent_server_url: str = Field(
        "http://127.0.0.1:4000",
        description="Where the agent server answers; https:// unless it is this machine",
    )
    agent_auth_token: SecretStr = Field(
        SecretStr(""),
        description="The agent server's AUTH_TOKEN (≥ 32 chars); required without TLS_DIR",
    )
    tls_dir: Path | None = Field(
        None,
        description="Folder of this host's certificate, CA and tokens, made by `./ocmt setup`; "
        "needed when the agent server is on another host",
    )
    tls_host: str = Field(
        "0.0.0.0",  # noqa: S104 (only certificates of the installation's CA get in)
        description="Address to listen on for an agent server on another host, with TLS_DIR",
    )
    tls_port: int = Field(
        3443,
        ge=1,
        le=65535,
        description="Port for an agent server on another host: /llm and /mcp, nothing else",
    )

    base_url: str = Field(
        "http://127.0.0.1:3000",
        description="Address people open; https:// unless it is this machine itself",
    )
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(3000, ge=1, le=65535, description="Port to listen on")
    ui_dir: Path | None = Field(None, description="Folder of the built page; unset: not served")
    ui_origin: str = Field(
        "",
        description="Origin of the page when it is served elsewhere, such as https://app.acme.io",
    )

    allowed_emails: str = Field(
        "", description="Comma-separated addresses that may sign in without an invitation"
    )
    allowed_domains: str = Field(
        "", description="Comma-separated domains whose addresses may sign in without an invitation"
    )

    openai_base_url: str = Field("https://api.openai.com/v1", description="OpenAI's API")
    anthropic_base_url: str = Field("https://api.anthropic.com", description="Anthropic's API")
    openrouter_base_url: str = Field("https://openrouter.ai/api/v1", description="OpenRouter's API")
    google_base_url: str = Field(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        description="Google's API in OpenAI's shape",
    )
    mistral_base_url: str = Field("https://api.mistral.ai/v1", description="Mistral's API")
    deepseek_base_url: str = Field("https://api.deepseek.com/v1", description="DeepSeek's API")
    xai_base_url: str = Field("https://api.x.ai/v1", description="xAI's API")
    groq_base_url: str = Field("https://api.groq.com/openai/v1", description="Groq's API")

    private_hosts: str = Field(
        "",
        description="Comma-separated hosts of private networks, by name or address, that tool "
        "servers, model servers, connection providers and push services may be on; all "
        "others must have public addresses. Holds on all ports and for all users: a loopback "
        "name opens every local service",
    )

    own_idle_minutes_max: int = Field(
        120,
        ge=0,
        le=525_600,
        description="Longest idle time, in minutes, that people may set for their own agent before "
        "it is paused; 0: they cannot set it",
    )
    own_awake_hours_max: int = Field(
        60,
        ge=0,
        le=168,
        description="Most hours a week in which people may keep their own agent awake; 0: none",
    )
    own_heartbeat_minutes_min: int = Field(
        30,
        ge=0,
        le=1440,
        description="Shortest interval, in minutes, of the heartbeat that people may turn on for "
        "their own agent; each one wakes it and costs a model call; 0: no heartbeat",
    )
    oauth_clients: SecretStr = Field(
        SecretStr(""),
        description="comma-separated PROVIDER=CLIENT_ID:CLIENT_SECRET of OAuth clients; admins can "
        "enter them on the page, too",
    )

    @field_validator("jwt_secret", "agent_auth_token")
    @classmethod
    def _strong(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if 0 < len(text) < 32:
            raise ValueError("is shorter than 32 characters; make one with openssl rand -base64 48")
        if (text and len(set(text)) < 8) or _PLACEHOLDER.search(text):
            raise ValueError("is guessable; make one with openssl rand -base64 48")
        return value

    @field_validator("agent_auth_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        if not all("!" <= character <= "~" for character in value.get_secret_value()):
            raise ValueError(
                "has a character that tokens never have; use the agent server's AUTH_TOKEN"
            )
        return value

    @field_validator("data_dir", "ui_dir", "tls_dir")
    @classmethod
    def _wherever_started(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @field_validator("allowed_emails")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for item in _items(value):
            try:
                normalise(item)
            except ValueError as error:
                raise ValueError(f"{item} {error}; separate several by commas") from error
        return value

    @field_validator("allowed_domains")
    @classmethod
    def _domains(cls, value: str) -> str:
        for item in _items(value):
            try:
                known = _DOMAIN.fullmatch(ascii_domain(item.removeprefix("@")))
            except ValueError:
                known = None
            if known is None:
                raise ValueError(
                    f"{item} is not a domain, such as example.com; separate several by commas"
                )
        return value

    @field_validator("private_hosts")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for item in _items(value):
            if _MAIL_HOST.fullmatch(item) is None or item.strip("[]").isdigit():
                raise ValueError(
                    f"{item} is not a host, such as notes.lan or 10.0.0.7; separate several by "
                    "commas, without ports or paths"
                )
        return value

    @field_validator("oauth_clients")
    @classmethod
    def _clients(cls, value: SecretStr) -> SecretStr:
        parse_oauth_clients(value.get_secret_value())
        return value

    @field_validator("smtp_host", "smtp_ehlo_name")
    @classmethod
    def _a_host(cls, value: str) -> str:
        try:
            value = ascii_domain(value)
        except ValueError as error:
            raise ValueError("is not a host name, such as mail.example.com") from error
        if value and not _MAIL_HOST.fullmatch(value):
            raise ValueError("is not a host name, such as mail.example.com")
        return value

    @field_validator("smtp_from")
    @classmethod
    def _a_sender(cls, value: str) -> str:
        wrong = ValueError("is not a sender, such as ocmt@example.com or OCMT <ocmt@example.com>")
        if not value:
            return value
        if not value.isprintable():
            raise wrong
        address = parseaddr(value)[1]
        try:
            normalise(address)
        except ValueError as error:
            raise wrong from error
        domain = address.rpartition("@")[2]
        return value.replace(f"@{domain}", f"@{ascii_domain(domain)}")

    @field_validator("vault_key")
    @classmethod
    def _usable_keys(cls, value: SecretStr) -> SecretStr:
        parse_vault_keys(value.get_secret_value())
        return value

    @field_validator(
        "agent_server_url", "openai_base_url", "anthropic_base_url", "openrouter_base_url",
        "google_base_url", "mistral_base_url", "deepseek_base_url", "xai_base_url",
        "groq_base_url",
    )  # fmt: skip
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = _address(value)
        if parts.query or parts.fragment or parts.username:
            raise ValueError("must contain only a scheme, a host, a port and an optional path")
        return value.rstrip("/")

    @field_validator("agent_server_url")
    @classmethod
    def _no_clear_text(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(
                "must be https:// unless the agent server is on this machine: its token and the "
                "conversations would travel in the clear; use the agent server's TLS_PORT and set "
                "TLS_DIR, which `./ocmt setup` prepares"
            )
        return value

    @field_validator("transit_url")
    @classmethod
    def _to_the_transit_server(cls, value: str) -> str:
        if not value:
            return value
        parts = _origin_parts(value)
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("must be https:// unless it is on this machine: keys travel on it")
        return value.rstrip("/")

    @field_validator("base_url", "ui_origin")
    @classmethod
    def _origin(cls, value: str) -> str:
        if not value:
            return value
        parts = _origin_parts(value)
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(
                "must be https:// unless the host is localhost: sessions would travel in the clear"
            )
        # The spelling that browsers use in `Origin` and `Host`.
        host, colon, port = parts.netloc.partition(":")
        return f"{parts.scheme}://{ascii_domain(host)}{colon}{port}".lower()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            parse_database_url(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _whole(self) -> "ManagementSettings":
        if self.smtp_host and not self.smtp_from:
            raise ValueError("SMTP_FROM is not set; mails need a sender when SMTP_HOST is set")
        if self.tls_dir is None and not self.agent_auth_token.get_secret_value():
            raise ValueError(
                "AGENT_AUTH_TOKEN is not set (the agent server's AUTH_TOKEN). Set it in the "
                "environment or in the .env file."
            )
        if self.tls_dir is not None and not self.agent_server_url.startswith("https://"):
            raise ValueError(
                "TLS_DIR is for an agent server on another host: AGENT_SERVER_URL must be https:// "
                "with that server's TLS_PORT"
            )
        if self.tls_dir is not None and self.tls_port == self.port:
            raise ValueError("PORT and TLS_PORT must differ; change one of them")
        wrapped = any(isinstance(key, WrappedKey) for key in self.vault_key_entries.values())
        if wrapped and not self.transit_url:
            raise ValueError(
                "TRANSIT_URL is not set; a key of VAULT_KEY is one that a transit server opens"
            )
        if bool(self.smtp_user) != bool(self.smtp_pass.get_secret_value()):
            raise ValueError("set SMTP_USER and SMTP_PASS together, or neither")
        return self

    @property
    def secure(self) -> bool:
        """Whether browsers reach this server over https, so that cookies can be `Secure`."""
        return self.base_url.startswith("https://")

    @property
    def page_origin(self) -> str:
        """The page's address, for links to it."""
        return self.ui_origin or self.base_url

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may use this API with a session cookie."""
        return frozenset(filter(None, (self.base_url, self.ui_origin)))

    @property
    def database(self) -> URL:
        """The database's address with its async driver."""
        text = self.database_url.get_secret_value()
        if text:
            return parse_database_url(text)
        return URL.create("sqlite+aiosqlite", database=str(self.data_dir / "management.db"))

    @property
    def vault_keys(self) -> dict[str, bytes]:
        """Key id → key, in the order given; the first encrypts. Without those to be opened."""
        entries = self.vault_key_entries.items()
        return {key_id: key for key_id, key in entries if not isinstance(key, WrappedKey)}

    @property
    def vault_key_entries(self) -> "dict[str, bytes | WrappedKey]":
        return parse_vault_keys(self.vault_key.get_secret_value())

    @property
    def oauth_client_map(self) -> dict[str, tuple[str, str]]:
        """Provider → client id and secret."""
        return parse_oauth_clients(self.oauth_clients.get_secret_value())

    @property
    def private_host_set(self) -> frozenset[str]:
        return frozenset(item.strip("[]").rstrip(".") for item in _items(self.private_hosts))

    @property
    def allowed_email_set(self) -> frozenset[str]:
        return frozenset(normalise(item) for item in _items(self.allowed_emails))

    @property
    def allowed_domain_set(self) -> frozenset[str]:
        return frozenset(
            ascii_domain(item.removeprefix("@")) for item in _items(self.allowed_domains)
        )


def _address(value: str) -> SplitResult:
    """Parse a web address. Raises `ValueError` if `value` is not one."""
    wrong = ValueError("is not an http:// or https:// address")
    try:
        parts = urlsplit(value)
        port_is_one = parts.port != 0
    except ValueError as error:
        raise wrong from error
    if (
        parts.scheme not in ("http", "https")
        or not port_is_one
        or not _HOST.fullmatch(parts.netloc)
    ):
        raise wrong
    return parts


def _origin_parts(value: str) -> SplitResult:
    """Parse a web address without path, query and user. Raises `ValueError`."""
    parts = _address(value)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("must be an origin (scheme, host, port) with no path")
    return parts


def _items(text: str) -> frozenset[str]:
    return frozenset(item.strip().lower() for item in text.split(",") if item.strip())


def parse_oauth_clients(text: str) -> dict[str, tuple[str, str]]:
    """Parse `google=ID:SECRET,github=ID:SECRET`. Raises `ValueError`, without the secrets."""
    clients: dict[str, tuple[str, str]] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        provider, equals, rest = item.partition("=")
        client_id, colon, secret = rest.partition(":")
        if not equals or provider not in _OAUTH_PROVIDERS:
            raise ValueError(
                "each client is written PROVIDER=CLIENT_ID:CLIENT_SECRET, with one of "
                f"{', '.join(_OAUTH_PROVIDERS)}"
            )
        if not client_id or not colon or not secret or not f"{client_id}{secret}".isascii():
            raise ValueError(f"the client of {provider} is not written CLIENT_ID:CLIENT_SECRET")
        if provider in clients:
            raise ValueError(f"{provider} occurs twice")
        clients[provider] = (client_id, secret)
    return clients


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key that a transit server opens."""

    ciphertext: str


def parse_vault_keys(text: str) -> dict[str, bytes | WrappedKey]:
    """Parse `id:base64,id:vault:…`. Raises `ValueError` for malformed or weak keys."""
    keys: dict[str, bytes | WrappedKey] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key_id, colon, encoded = item.partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise ValueError("each key is written id:base64, such as k1:…")
        if key_id in keys:
            raise ValueError(f"key id {key_id} occurs twice")
        if encoded.startswith("vault:"):
            if not _WRAPPED.fullmatch(encoded):
                raise ValueError(f"key {key_id} is no ciphertext of a transit server")
            keys[key_id] = WrappedKey(encoded)
            continue
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"key {key_id} is not base64") from error
        if len(key) != 32:
            raise ValueError(f"key {key_id} has {len(key)} bytes, not 32")
        # 32 random bytes have about 30 distinct values, and practically never fewer than 16.
        if len(set(key)) < 16:
            raise ValueError(f"key {key_id} is guessable; make one with openssl rand -base64 32")
        keys[key_id] = key
    if not keys:
        raise ValueError("holds no key")
    return keys
