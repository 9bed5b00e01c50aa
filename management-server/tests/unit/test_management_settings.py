"""Wrong, weak or missing settings stop the start, with the setting's name and the remedy."""

import base64
import secrets
from collections.abc import Callable

import pytest
from ocmt_common.settings import SettingsError
from ocmt_management.settings import ManagementSettings

Make = Callable[..., ManagementSettings]

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("jwt_secret", "short", "shorter than 32"),
        ("jwt_secret", "a" * 64, "guessable"),
        ("jwt_secret", "change-me-change-me-change-me-change-me", "guessable"),
        ("agent_auth_token", "short", "shorter than 32"),
        ("vault_key", "k1", "id:base64"),
        ("vault_key", ",", "no key"),
        ("vault_key", "k1:not base64!", "not base64"),
        ("vault_key", "k1:" + base64.b64encode(b"short").decode(), "5 bytes, not 32"),
        ("vault_key", "k1:" + base64.b64encode(b"\0" * 32).decode(), "guessable"),
        ("vault_key", f"k1:{KEY},k1:{KEY}", "twice"),
        ("base_url", "http://ocmt.example.com", "https://"),
        ("base_url", "https://ocmt.example.com/app", "origin"),
        ("base_url", "ocmt.example.com", "not an http"),
        ("ui_origin", "javascript:alert(1)", "not an http"),
        ("database_url", "mysql://localhost/x", "neither sqlite: nor postgresql:"),
        ("database_url", "sqlite://", "plain file"),
        ("database_url", "nonsense", "not a database address"),
        ("port", "0", "greater than or equal to 1"),
        ("port", "http", "integer"),
        ("smtp_tls", "ssl", "starttls"),
        ("smtp_host", "mail.example.com", "SMTP_FROM is not set"),
        ("smtp_user", "ocmt", "SMTP_USER and SMTP_PASS together"),
        ("agent_server_url", "127.0.0.1:4000", "not an http"),
        ("agent_server_url", "http://agents:70000", "not an http"),
        ("agent_server_url", "http://agents:4000/?token=x", "must contain only"),
        ("agent_server_url", "http://agents:4000", "must be https:// unless"),
        (
            "agent_server_url",
            "http://203.0.113.11:4000",
            "TLS_PORT and set TLS_DIR, which",
        ),
        ("agent_server_url", "http://[2001:db8::1]:4000", "must be https:// unless"),
        ("agent_server_url", "http://127.0.0.1.example:4000", "must be https:// unless"),
        ("tls_dir", "/etc/tls", "AGENT_SERVER_URL must be https://"),
        ("agent_auth_token", "é" * 20 + "0123456789abcdef" * 2, "tokens never have"),
        ("openai_base_url", "https://user@openai.example/v1", "must contain only"),
        ("base_url", "https://ocmt example.com", "not an http"),
        ("base_url", "https://ocmt.example.com:99999", "not an http"),
        ("allowed_emails", "ada@example.com bob@example.com", "commas"),
        ("allowed_domains", "*.example.com", "not a domain"),
        ("allowed_domains", "b ü.example", "not a domain"),
        ("allowed_emails", "büro@example.com", "non-ASCII"),
        ("allowed_emails", "ada@-ü-.example", "spelling"),
        ("smtp_ehlo_name", "my host", "not a host name"),
        ("smtp_ehlo_name", "host\r\nMAIL", "not a host name"),
        ("smtp_ehlo_name", "me@example.com", "not a host name"),
        ("smtp_host", "smtp://mail.example.com", "not a host name"),
        ("allowed_domains", "ada@example.com", "not a domain"),
        ("smtp_from", "OCMT", "not a sender"),
        ("smtp_from", "OCMT <ocmt@example.com>\nBcc: x@example.com", "not a sender"),
        ("database_url", "postgresql://db/ocmt?sslmode=yes", "verify-full"),
        (
            "database_url",
            "postgresql://u:p@db/ocmt?sslmode=require&channel_binding=require",
            "sslmode=verify-full&sslrootcert=system instead",
        ),
        ("database_url", "postgresql://db/ocmt?sslrootcert=/nowhere.pem", "sslmode=verify-full"),
        (
            "database_url",
            "postgresql://db/ocmt?sslmode=verify-full&sslrootcert=/nowhere.pem",
            "/nowhere.pem, which cannot be used",
        ),
        (
            "database_url",
            "postgresql://db/ocmt?sslmode=verify-full&sslrootcert=/etc/hostname",
            "PEM certificates",
        ),
        ("database_url", "postgresql://db:port/ocmt", "HOST:5432"),
        ("database_url", "postgresql://u:p@one:5432,two:port/ocmt", "several hosts"),
        ("database_url", "postgresql://u:p@one,/ocmt", "several hosts"),
        ("database_url", "postgresql://u:p@[::1],two/ocmt", "IPv4 address"),
        (
            "database_url",
            "postgresql://one,two/ocmt?target_session_attrs=standby",
            "does not select a writable server",
        ),
        ("database_url", "postgresql://one/ocmt?target_session_attrs=wrong", "is not known"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_cure(
    make_settings: Make, name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        make_settings(**{name: value})

    assert KEY not in str(refused.value)


def test_lists_and_senders_are_accepted_as_people_write_them(make_settings: Make) -> None:
    settings = make_settings(
        allowed_emails="Ada@Example.com, bob@example.com,",
        allowed_domains="@acme.io, Example.COM",
        smtp_from="OCMT <ocmt@localhost>",
        base_url="http://[::1]:3000/",
    )

    assert settings.allowed_email_set == {"ada@example.com", "bob@example.com"}
    assert settings.allowed_domain_set == {"acme.io", "example.com"}
    assert settings.base_url == "http://[::1]:3000"


def test_international_domains_are_kept_as_mail_servers_and_browsers_spell_them(
    make_settings: Make,
) -> None:
    settings = make_settings(
        allowed_emails="Ada@BÜCHER.example, bob@例え.テスト",
        allowed_domains="@Straße.example, xn--bcher-kva.example",
        smtp_host="mail.bücher.example",
        smtp_from="Büro <ocmt@bücher.example>",
        base_url="https://bücher.example:8443",
    )

    assert settings.allowed_email_set == {
        "ada@xn--bcher-kva.example",
        "bob@xn--r8jz45g.xn--zckzah",
    }
    assert settings.allowed_domain_set == {"xn--strae-oqa.example", "xn--bcher-kva.example"}
    assert settings.smtp_host == "mail.xn--bcher-kva.example"
    assert settings.smtp_from == "Büro <ocmt@xn--bcher-kva.example>"
    assert settings.origins == {"https://xn--bcher-kva.example:8443"}


@pytest.mark.parametrize(
    "origin", ["http://[::1]:3000", "http://127.0.0.1:3000", "https://ocmt.example"]
)
def test_plain_origins_are_kept(make_settings: Make, origin: str) -> None:
    assert make_settings(base_url=origin).base_url == origin


@pytest.mark.parametrize("name", ["data_dir", "jwt_secret", "vault_key", "agent_auth_token"])
def test_what_is_required_is_named_when_missing(make_settings: Make, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.upper()} is not set"):
        make_settings(**{name: ""})


def test_with_a_tls_folder_the_token_is_in_it(make_settings: Make) -> None:
    far = {"agent_server_url": "https://10.0.0.5:4443", "tls_dir": "/etc/tls"}
    assert make_settings(agent_auth_token="", **far).tls_port == 3443
    with pytest.raises(SettingsError, match="PORT and TLS_PORT must differ"):
        make_settings(port="3443", **far)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@db/ocmt", "postgresql+asyncpg://u:p@db/ocmt"),
        ("postgresql://u:p@db:5433/ocmt", "postgresql+asyncpg://u:p@db:5433/ocmt"),
        ("postgresql://db/ocmt?sslmode=require", "postgresql+asyncpg://db/ocmt?ssl=require"),
        (
            "postgresql://u:p@one:5433,two.example/ocmt",
            "postgresql+asyncpg://u:p@/ocmt?host=one%3A5433&host=two.example%3A5432"
            "&target_session_attrs=read-write",
        ),
        ("postgresql://db/ocmt?channel_binding=prefer", "postgresql+asyncpg://db/ocmt"),
        (
            "postgresql://db/ocmt?sslmode=verify-full&sslrootcert=system",
            "postgresql+asyncpg://db/ocmt?ssl=verify-full&sslrootcert=system",
        ),
        ("postgresql://u:a,b@db/ocmt", "postgresql+asyncpg://u:a%2Cb@db/ocmt"),
        ("sqlite:////var/lib/ocmt/m.db", "sqlite+aiosqlite:////var/lib/ocmt/m.db"),
    ],
)
def test_plain_database_addresses_get_their_driver(
    make_settings: Make, given: str, used: str
) -> None:
    url = make_settings(database_url=given).database

    assert url.render_as_string(hide_password=False) == used


def test_the_embedded_database_is_in_the_data_folder(make_settings: Make) -> None:
    settings = make_settings()

    assert settings.database.database == str(settings.data_dir / "management.db")


def test_vault_keys_keep_their_order_since_the_first_encrypts(make_settings: Make) -> None:
    other = base64.b64encode(secrets.token_bytes(32)).decode()

    keys = make_settings(vault_key=f"new:{KEY}, old:{other}").vault_keys

    assert list(keys) == ["new", "old"]
    assert keys["new"] == base64.b64decode(KEY)


def test_secrets_are_masked_when_settings_are_shown(make_settings: Make) -> None:
    settings = make_settings(
        vault_key=f"k1:{KEY}",
        database_url="postgresql://u:hunter2@db/x",
        smtp_pass="hunter2",
        smtp_user="u",
    )

    assert KEY not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_every_setting_has_a_description() -> None:
    assert not [n for n, field in ManagementSettings.model_fields.items() if not field.description]
