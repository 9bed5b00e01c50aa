"""TLS_DIR: what is refused at start, and that a later invalid file changes nothing."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from ocmt_cli.trust.authority import new_authority
from ocmt_common.host_credentials import CredentialsError, HostCredentials, has_role, token_id
from ocmt_common.loopback import is_loopback
from ocmt_testing.tls.hosts import TOKEN, Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def _without_key(folder: Path) -> None:
    text = (folder / "host.pem").read_text()
    (folder / "host.pem").write_text(text[text.index("-----BEGIN CERTIFICATE") :])


def _another_key(folder: Path) -> None:
    other = Hosts(folder).write("other", roles=["mgmt"]) / "host.pem"
    key = other.read_text().partition("-----BEGIN CERTIFICATE")[0]
    own = (folder / "host.pem").read_text()
    (folder / "host.pem").write_text(key + own[own.index("-----BEGIN CERTIFICATE") :])


def _another_ca(folder: Path) -> None:
    (folder / "ca.pem").write_text(Hosts(folder).authority.certificate)


def _encrypted_key(folder: Path) -> None:
    text = (folder / "host.pem").read_bytes()
    key = serialization.load_pem_private_key(text, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (folder / "host.pem").write_bytes(encrypted + text[text.index(b"-----BEGIN CERTIFICATE") :])


WRONG: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "host.pem").unlink(), "host.pem cannot be read (No such file"),
    (lambda folder: (folder / "ca.pem").unlink(), "ca.pem cannot be read (No such file"),
    (lambda folder: (folder / "tokens").unlink(), "tokens cannot be read (No such file"),
    (lambda folder: (folder / "tokens").write_text("\n"), "tokens must have a token of 32"),
    (
        lambda folder: (folder / "tokens").write_text("short\n"),
        "tokens must have a token of 32",
    ),
    (lambda folder: (folder / "tokens").write_text("ü" * 40), "tokens must have a token of 32"),
    (
        lambda folder: (folder / "tokens").write_bytes(b"t" * 40 + b"\0"),
        "tokens must have a token of 32",
    ),
    (lambda folder: (folder / "tokens").write_text("\x1b[31m" + "t" * 40), "32 or more"),
    (lambda folder: (folder / "host.pem").write_text("nonsense"), "is not PEM"),
    (lambda folder: (folder / "ca.pem").write_bytes(b"\xff"), "is not PEM"),
    (_without_key, "has no private key for its certificate"),
    (_another_key, "has no private key for its certificate"),
    (_encrypted_key, "has no private key for its certificate"),
    (_another_ca, "was not issued by the CA in ca.pem"),
]


@pytest.mark.parametrize(("spoil", "says"), WRONG)
def test_a_folder_that_cannot_be_used_is_refused_with_the_cure_and_no_secret(
    hosts: Hosts,
    spoil: Callable[[Path], object],
    says: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = hosts.write("front", roles=["mgmt"])
    credentials = HostCredentials(folder)
    before = credentials.ends_at, credentials.token
    spoil(folder)
    with pytest.raises(CredentialsError) as refused:
        HostCredentials(folder)
    assert says in str(refused.value)
    assert "Run `./ocmt setup` for this host." in str(refused.value)
    assert "short" not in str(refused.value)
    with pytest.raises(CredentialsError):
        credentials.refresh()
    assert (credentials.ends_at, credentials.token) == before
    assert capfd.readouterr() == ("", ""), "OpenSSL asked the terminal for a password"


@pytest.mark.parametrize("file", ["ca.pem", "host.pem"])
@pytest.mark.parametrize(
    "around", ["# Behörde\n".encode(), "# Behörde\n".encode("latin-1"), b"\xff\n", b"\r\n"]
)
def test_comments_around_the_certificates_change_nothing(
    hosts: Hosts, file: str, around: bytes
) -> None:
    folder = hosts.write("front", roles=["mgmt"])
    credentials = HostCredentials(folder)
    (folder / file).write_bytes(around + (folder / file).read_bytes() + around)
    assert credentials.refresh() is True
    assert _connects(client=HostCredentials(folder), server=credentials)


def _connects(*, client: HostCredentials, server: HostCredentials) -> bool:
    """Whether both accept each other's certificate."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return all(end.getpeercert() for end in ends)


@pytest.mark.parametrize("replaced", ["front", "agents-1", "both"])
def test_a_certificate_of_a_replaced_ca_is_refused_without_a_restart(
    hosts: Hosts, replaced: str
) -> None:
    folders = {name: hosts.write(name, roles=[name]) for name in ("front", "agents-1")}
    front, agents = (HostCredentials(folder) for folder in folders.values())
    stolen = hosts.write("stolen", roles=["front", "agents-1"])
    other = new_authority(datetime.now(UTC))
    (stolen / "ca.pem").write_text(hosts.authority.certificate + other.certificate)
    thief = HostCredentials(stolen)
    assert _connects(client=front, server=agents)
    assert _connects(client=thief, server=agents)
    assert _connects(client=front, server=thief)
    for name in folders if replaced == "both" else [replaced]:
        hosts.write(name, roles=[name], authority=other)
    front.refresh()
    agents.refresh()
    assert _connects(client=front, server=agents) is (replaced == "both")
    assert _connects(client=thief, server=agents) is (replaced == "front")
    assert _connects(client=front, server=thief) is (replaced == "agents-1")


def test_the_first_token_is_sent_and_all_are_accepted(hosts: Hosts) -> None:
    old, new = "o" * 40, "n" * 40
    folder = hosts.write("agents-1", roles=["agent"], tokens=[new, old])
    credentials = HostCredentials(folder)
    assert credentials.token == new
    assert credentials.accepts(old)
    assert credentials.token_in_use == token_id(old)
    assert credentials.accepts(new)
    assert credentials.token_ids == [token_id(new), token_id(old)]
    for wrong in ("", "n" * 39, "n" * 41, f"{new}\n{old}", "é" * 40, TOKEN):
        assert not credentials.accepts(wrong)
    assert credentials.token_in_use == token_id(new)
    assert credentials.refresh() is False
    (folder / "tokens").write_text(f"{new}\n")
    assert credentials.refresh() is True
    assert not credentials.accepts(old)


@pytest.mark.parametrize(
    ("names", "role", "has"),
    [
        ((("URI", "ocmt:role:mgmt"),), "mgmt", True),
        (
            (("IP Address", "::1"), ("URI", "ocmt:role:agent"), ("URI", "ocmt:role:mgmt")),
            "mgmt",
            True,
        ),
        ((("URI", "ocmt:role:agent"),), "mgmt", False),
        ((("DNS", "ocmt:role:mgmt"),), "mgmt", False),
        ((("URI", "ocmt:role:mgmt2"),), "mgmt", False),
        ((), "mgmt", False),
    ],
)
def test_a_role_is_a_uri_among_a_certificates_names(
    names: tuple[tuple[str, str], ...], role: str, has: bool
) -> None:
    assert has_role({"subjectAltName": names}, role) is has
    assert has_role(None, role) is False


async def test_the_log_warns_once_a_day_before_the_end(hosts: Hosts) -> None:
    folder = hosts.write("front", roles=["mgmt"])
    ends = HostCredentials(folder).ends_at
    for left, warned in ((timedelta(days=61), 0), (timedelta(days=60), 1), (timedelta(-1), 1)):
        now = ends - left
        credentials = HostCredentials(folder, now=lambda now=now: now)  # type: ignore[misc]
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                credentials._warn_of_the_end()
        assert len([line for line in logs if "near its end" in line["event"]]) == warned
        assert bool(credentials.why_invalid) is (left <= timedelta())
    assert ends > datetime.now(UTC)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
        ("localhost", True), ("LOCALHOST", True), ("0.0.0.0", False), ("::", False),
        ("10.0.0.1", False), ("192.168.1.1", False), ("localhost.example.com", False),
        ("127.0.0.1.example.com", False), ("agents", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_only_what_never_leaves_the_machine_is_loopback(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback
