"""Certificates: when a host gets a new one, and its content."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from ocmt_cli.trust.authority import (
    LIFE,
    RENEW_BEFORE,
    ends_at,
    issue,
    needs_issuing,
    new_authority,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
ROLES = ["mgmt"]


@pytest.mark.parametrize("address", ["203.0.113.10", "2001:db8::10", "front.example.com", "front"])
def test_a_certificate_names_the_hosts_address_and_roles(address: str) -> None:
    authority = new_authority(NOW)
    text = issue(authority, host="front", address=address, roles=["mgmt", "agent"], now=NOW)
    certificate = x509.load_pem_x509_certificate(text.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ips = names.get_values_for_type(x509.IPAddress)
    assert [*map(str, ips), *names.get_values_for_type(x509.DNSName)] == [address]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "ocmt:role:mgmt",
        "ocmt:role:agent",
    ]
    assert ends_at(text) == NOW + LIFE


def test_only_the_ca_signs_and_a_host_does_not() -> None:
    authority = new_authority(NOW)
    text = issue(authority, host="front", address="::1", roles=ROLES, now=NOW)
    for pem, ca in ((authority.certificate, True), (text, False)):
        made = x509.load_pem_x509_certificate(pem.encode())
        found = made.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (found.critical, found.value.ca) == (True, ca)


@pytest.mark.parametrize(
    ("address", "roles", "later", "needed"),
    [
        ("203.0.113.10", ROLES, timedelta(), False),
        ("203.0.113.10", ROLES, LIFE - RENEW_BEFORE - timedelta(days=1), False),
        ("203.0.113.10", ROLES, LIFE - RENEW_BEFORE, True),
        ("203.0.113.10", ROLES, LIFE + timedelta(days=1), True),
        ("203.0.113.99", ROLES, timedelta(), True),
        ("203.0.113.10", ["agent"], timedelta(), True),
        ("203.0.113.10", ["mgmt", "agent"], timedelta(), True),
        ("203.0.113.10", ROLES, timedelta(days=-1), False),
        ("203.0.113.10", ROLES, timedelta(days=-2), True),
        ("203.0.113.10", ROLES, -LIFE, True),
    ],
)
def test_a_host_gets_another_certificate_when_it_needs_one(
    address: str, roles: list[str], later: timedelta, needed: bool
) -> None:
    authority = new_authority(NOW)
    text = issue(authority, host="front", address="203.0.113.10", roles=ROLES, now=NOW)
    now = NOW + later
    assert needs_issuing(text, authority, address=address, roles=roles, now=now) is needed


def test_a_certificate_of_another_ca_or_none_is_replaced() -> None:
    one, other = new_authority(NOW), new_authority(NOW)
    text = issue(other, host="front", address="::1", roles=ROLES, now=NOW)
    assert needs_issuing(text, one, address="::1", roles=ROLES, now=NOW)
    assert needs_issuing(None, one, address="::1", roles=ROLES, now=NOW)


def _certificate_alone(text: str) -> str:
    return text[text.index("-----BEGIN CERTIFICATE") :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "nonsense",
        lambda text: text[: len(text) // 2],
        lambda text: text[:-40],
        _certificate_alone,
        lambda text: text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        lambda text: new_authority(NOW).key + _certificate_alone(text),
        lambda text: text.replace(
            "-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nAAA"
        ),
        lambda text: new_authority(NOW).key + new_authority(NOW).certificate,
    ],
)
def test_a_damaged_certificate_or_key_is_replaced(damage: Callable[[str], str]) -> None:
    authority = new_authority(NOW)
    text = issue(authority, host="front", address="::1", roles=ROLES, now=NOW)
    assert not needs_issuing(text, authority, address="::1", roles=ROLES, now=NOW)
    assert needs_issuing(damage(text), authority, address="::1", roles=ROLES, now=NOW)


def test_keys_and_certificates_are_what_openssl_takes(tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    file.write_text(issue(new_authority(NOW), host="a", address="::1", roles=ROLES, now=NOW))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
