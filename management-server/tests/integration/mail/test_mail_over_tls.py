"""Mail as production sends it: TLS with a checked certificate, and a log-in."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from ocmt_management.auth.mail_templates import sign_in_mail
from ocmt_management.mail.service import SmtpMailer
from ocmt_management.settings import ManagementSettings
from ocmt_testing.tls.self_signed import write_self_signed

PASSWORD = "correct horse battery"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_self_signed(tmp_path / "mail.pem")


@asynccontextmanager
async def mail_server(certificate: Path, *, mode: str, taken: list[str]) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    class Handler:
        async def handle_DATA(self, _: SMTP, __: object, envelope: Envelope) -> str:
            taken.append(envelope.rcpt_tos[0])
            return "250 OK"

    def check(_: object, __: object, ___: object, mechanism: str, given: object) -> AuthResult:
        known = isinstance(given, LoginPassword) and given.password == PASSWORD.encode()
        return AuthResult(success=known, handled=False)

    def protocol() -> SMTP:
        return SMTP(
            Handler(),
            hostname="mail.test",
            authenticator=check,
            auth_required=True,
            auth_require_tls=mode == "starttls",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
        )

    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", 0, ssl=context if mode == "tls" else None
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


# The server asks for a password inside TLS from the first byte, which aiosmtpd does not expect.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("mode", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("trusted", "password", "sent"),
    [(True, PASSWORD, True), (False, PASSWORD, False), (True, "a guess", False)],
    ids=["trusted", "untrusted", "wrong-password"],
)
async def test_mail_goes_only_to_a_server_we_trust_and_that_knows_us(
    *,
    certificate: Path,
    make_settings: Callable[..., ManagementSettings],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    trusted: bool,
    password: str,
    sent: bool,
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    taken: list[str] = []
    async with mail_server(certificate, mode=mode, taken=taken) as port:
        mailer = SmtpMailer(
            make_settings(
                smtp_host="127.0.0.1",
                smtp_port=str(port),
                smtp_from="ocmt@example.com",
                smtp_user="ocmt",
                smtp_pass=password,
                smtp_tls=mode,
            )
        )
        mail = sign_in_mail(to="ada@example.com", link="https://ocmt/sign-in#x", life_minutes=10)
        if sent:
            await mailer.send(mail)
        else:
            with pytest.raises((aiosmtplib.SMTPException, OSError)):
                await mailer.send(mail)

    assert taken == (["ada@example.com"] if sent else [])
