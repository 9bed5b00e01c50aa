"""Mutual TLS between an installation's servers, with a CA of their own.

`ocmt setup` writes a folder on each host (`TLS_DIR`):

host.pem   the host's private key, then its certificate
ca.pem     the installation's CA
tokens     a line each: management sends the first, the agent server accepts all

A running server reads changed files again, so that certificates, tokens and the CA can be replaced
without a restart: open connections stay, and new ones use only the new files.
"""

import asyncio
import contextlib
import hashlib
import hmac
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Never

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from ocmt_common.settings import SettingsError

log = structlog.get_logger(__name__)

HOST_FILE = "host.pem"
CA_FILE = "ca.pem"
TOKENS_FILE = "tokens"
FOLLOW_S = 1.0
"""Seconds between a running server's reads of the files."""
NEAR_END = timedelta(days=60)
"""Time before a certificate's end from which servers and commands warn."""
_WARN_EVERY = timedelta(days=1)
_TOKEN = re.compile(r"[!-~]{32,}")


class CredentialsError(SettingsError):
    """The folder cannot be used. `str()` names the file and the cure, without secrets."""


def role_name(role: str) -> str:
    """The URI in a certificate's names that marks a host with `role` (mgmt, agent)."""
    return f"ocmt:role:{role}"


def has_role(certificate: Mapping[str, Any] | None, role: str) -> bool:
    """Whether a peer's certificate (`SSLSocket.getpeercert`) is for a host with `role`."""
    return ("URI", role_name(role)) in (certificate or {}).get("subjectAltName", ())


def token_id(token: str) -> str:
    """An id that identifies a token without revealing it."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def tokens_of(text: str) -> tuple[str, ...]:
    """Parse a `tokens` file. Raises `ValueError` if it is empty or has an invalid token."""
    tokens = tuple(text.split())
    if not tokens or not all(map(_TOKEN.fullmatch, tokens)):
        raise ValueError("must have a token of 32 or more characters on each line")
    return tokens


_Texts = tuple[bytes, bytes, bytes]
"""The texts of host.pem, ca.pem and tokens."""


@dataclass(frozen=True, slots=True, repr=False)
class _Files:
    texts: _Texts
    tokens: tuple[str, ...]
    begins_at: datetime
    ends_at: datetime
    server: ssl.SSLContext
    client: ssl.SSLContext


class _Replaceable(ssl.SSLContext):
    """A context that delegates each new connection to `latest`, which can be replaced.

    Needed since servers and clients keep their context, and no CA can be removed from a context.
    """

    latest: ssl.SSLContext

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return self.latest.wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return self.latest.wrap_socket(*args, **options)


class HostCredentials:
    """The folder's content: TLS contexts for both directions, and the tokens. See `followed`."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        """Load and check the files in `folder`. Raises `CredentialsError`."""
        self._folder = folder
        self._now = now
        self._files = _checked(folder, _read(folder))
        self._warned_at: datetime | None = None
        self._complaint = ""
        self.token_in_use: str | None = None
        """The id of the last accepted token."""
        self.server = _Replaceable(ssl.PROTOCOL_TLS_SERVER)
        self.client = _Replaceable(ssl.PROTOCOL_TLS_CLIENT)
        self._use(self._files)

    @property
    def ends_at(self) -> datetime:
        """When the host's certificate expires."""
        return self._files.ends_at

    @property
    def why_invalid(self) -> str:
        """Why this host's own certificate is not valid now, with the cure; "" if it is valid."""
        now, files = self._now(), self._files
        if now >= files.ends_at:
            return f"expired on {files.ends_at:%Y-%m-%d}; run `./ocmt renew`"
        if now < files.begins_at:
            return (
                f"is valid from {files.begins_at:%Y-%m-%d %H:%M} UTC; compare the clocks of this "
                "host and of the machine with `ocmt.secrets/`, then run `./ocmt renew`"
            )
        return ""

    @property
    def token(self) -> str:
        """The token that this host sends."""
        return self._files.tokens[0]

    @property
    def token_ids(self) -> list[str]:
        return [token_id(token) for token in self._files.tokens]

    def accepts(self, offered: str) -> bool:
        """Whether `offered` is one of the tokens, compared in constant time."""
        given = offered.encode("utf-8", errors="replace")
        found = [t for t in self._files.tokens if hmac.compare_digest(given, t.encode())]
        if found:
            self.token_in_use = token_id(found[0])
        return bool(found)

    def refresh(self) -> bool:
        """Read the files again. Returns whether they changed. Raises `CredentialsError`.

        If the files are invalid, the current ones stay in use.
        """
        texts = _read(self._folder)
        if texts == self._files.texts:
            return False
        self._use(_checked(self._folder, texts))
        return True

    @contextlib.asynccontextmanager
    async def followed(self, *, every_s: float = FOLLOW_S) -> AsyncIterator[None]:
        """Read changed files in the background during the block."""
        following = asyncio.create_task(self._follow(every_s))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, every_s: float) -> None:
        while True:
            complaint = ""
            try:
                if self.refresh():
                    log.info("host credentials renewed", ends_at=self.ends_at.isoformat())
            except CredentialsError as error:
                complaint = str(error)
            if complaint and complaint != self._complaint:
                log.error("the new host credentials cannot be used", reason=complaint)
            self._complaint = complaint
            self._warn_of_the_end()
            await asyncio.sleep(every_s)

    def _warn_of_the_end(self) -> None:
        now = self._now()
        if now < self.ends_at - NEAR_END or (
            self._warned_at is not None and now < self._warned_at + _WARN_EVERY
        ):
            return
        self._warned_at = now
        log.warning(
            "the certificate for the other host is near its end; run `./ocmt renew`",
            ends_at=self.ends_at.isoformat(),
        )

    def _use(self, files: _Files) -> None:
        self._files = files
        self.server.latest, self.client.latest = files.server, files.client


def _context(side: int, folder: Path, issuers: Iterable[x509.Certificate]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(
        cadata=b"".join(one.public_bytes(Encoding.DER) for one in issuers)
    )
    try:
        context.load_cert_chain(folder / HOST_FILE, password=_no_password)
    except (OSError, ValueError) as error:
        raise _wrong(folder / HOST_FILE, "has no private key for its certificate") from error
    return context


def _no_password() -> Never:
    """Raise for an encrypted key, for which OpenSSL would prompt for a password."""
    raise ValueError


def _read(folder: Path) -> _Texts:
    return _bytes(folder / HOST_FILE), _bytes(folder / CA_FILE), _bytes(folder / TOKENS_FILE)


def _checked(folder: Path, texts: _Texts) -> _Files:
    """Parse and check the files together. Raises `CredentialsError`."""
    host, ca, listed = texts
    try:
        tokens = tokens_of(listed.decode(errors="replace"))
    except ValueError as error:
        raise _wrong(folder / TOKENS_FILE, str(error)) from error
    try:
        certificate = x509.load_pem_x509_certificate(host)
        issuers = x509.load_pem_x509_certificates(ca)
        begins_at, ends_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(folder, f"{HOST_FILE} or {CA_FILE} is not PEM") from error
    if not any(_issued(certificate, by=issuer) for issuer in issuers):
        raise _wrong(folder / HOST_FILE, f"was not issued by the CA in {CA_FILE} beside it")
    server = _context(ssl.PROTOCOL_TLS_SERVER, folder, issuers)
    # No session tickets, since a resumed session does not check the certificate.
    server.num_tickets = 0
    client = _context(ssl.PROTOCOL_TLS_CLIENT, folder, issuers)
    return _Files(texts, tokens, begins_at, ends_at, server, client)


def _issued(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _wrong(file, f"cannot be read ({error.strerror})") from error


def _wrong(place: Path, what: str) -> CredentialsError:
    return CredentialsError(f"TLS_DIR: {place} {what}. Run `./ocmt setup` for this host.")
