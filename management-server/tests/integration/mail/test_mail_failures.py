"""Mail that cannot be sent: retried, logged without the link, never delaying the request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage

import aiosmtplib
import httpx2
import pytest
from aiosmtpd.smtp import SMTP, Envelope
from fastapi import FastAPI
from ocmt_management.auth.mail_templates import sign_in_mail
from ocmt_management.email_addresses import normalise
from ocmt_management.mail.service import Mailer, MailQueue, NullMailer, SmtpMailer
from ocmt_management.settings import ManagementSettings

LINK = "https://ocmt.example/sign-in#a-token-that-must-not-be-logged"


@pytest.fixture
def link_mail(seen_secrets: set[str]) -> EmailMessage:
    seen_secrets.add(LINK.partition("#")[2])
    return sign_in_mail(to="ada@example.com", link=LINK, life_minutes=10)


class FailsAtFirst:
    def __init__(self, times: int) -> None:
        self.left = times
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        if self.left:
            self.left -= 1
            raise aiosmtplib.SMTPServerDisconnected(f"cannot send {message.as_string()}")
        self.sent.append(message)


class Waiting:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def queue(self, mailer: Mailer) -> MailQueue:
        return MailQueue(mailer, sleep=self.sleep, monotonic=lambda: self.now)


TEN_MINUTES = timedelta(minutes=10)


async def test_a_mail_is_tried_again(link_mail: EmailMessage) -> None:
    mailer = FailsAtFirst(2)
    async with Waiting().queue(mailer) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert len(mailer.sent) == 1
    assert queue.failure is None


async def test_a_mail_that_never_goes_is_logged_with_the_cure_and_without_the_link(
    link_mail: EmailMessage, quiet_logs: list[dict[str, object]]
) -> None:
    waiting = Waiting()
    async with waiting.queue(FailsAtFirst(99)) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert [event["gave_up"] for event in quiet_logs][-2:] == [False, True]
    assert TEN_MINUTES.total_seconds() - 60 <= waiting.now < TEN_MINUTES.total_seconds()
    assert "SMTP_HOST" in str(quiet_logs[-1]["cure"])


async def test_without_smtp_the_log_says_how_to_make_a_link(
    link_mail: EmailMessage, quiet_logs: list[dict[str, object]]
) -> None:
    async with MailQueue(NullMailer()) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert "sign-in-link" in str(quiet_logs[0]["cure"])


class TestWithoutMail:
    @pytest.fixture
    def settings(self, make_settings: Callable[..., ManagementSettings]) -> ManagementSettings:
        return make_settings()

    async def test_requests_for_a_link_never_wait_for_mail(
        self, new_browser: Callable[[], httpx2.AsyncClient]
    ) -> None:
        for email in ("ada@example.com", "bob@example.com"):
            answer = await new_browser().post("/api/auth/link", json={"email": email})
            assert (answer.status_code, answer.json()["code"]) == (409, "no-mail")
            assert "Ask the person who runs it for a sign-in link" in answer.json()["detail"]


async def test_closing_waits_for_mails_being_sent(link_mail: EmailMessage) -> None:
    go = asyncio.Event()

    class Slow(FailsAtFirst):
        async def send(self, message: EmailMessage) -> None:
            await go.wait()
            await super().send(message)

    mailer = Slow(0)
    async with MailQueue(mailer) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        asyncio.get_running_loop().call_soon(go.set)

    assert len(mailer.sent) == 1


async def test_a_mail_server_that_refuses_is_a_failed_try(
    make_settings: Callable[..., ManagementSettings],
    link_mail: EmailMessage,
    quiet_logs: list[dict[str, object]],
) -> None:
    settings = make_settings(
        smtp_host="127.0.0.1", smtp_port="1", smtp_from="ocmt@example.com", smtp_tls="none"
    )
    async with Waiting().queue(SmtpMailer(settings)) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert quiet_logs[-1]["gave_up"] is True


async def test_a_mail_is_plain_text_with_a_simple_html_twin(link_mail: EmailMessage) -> None:
    parts = [part.get_content_type() for part in link_mail.walk()]

    assert parts == ["multipart/alternative", "text/plain", "text/html"]
    assert "10 minutes" in link_mail.as_string()


class Refusing:
    """A real SMTP server that answers one command with these replies, then accepts everything."""

    def __init__(self, command: str, replies: list[str]) -> None:
        self.command = command
        self.replies = replies
        self.names: list[str] = []
        self.recipients: list[str] = []
        self.taken = 0

    def _answer(self, command: str, else_: str) -> str:
        if command == self.command and self.replies:
            return self.replies.pop(0)
        return else_

    async def handle_EHLO(
        self, server: SMTP, session: object, _: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.names.append(hostname)
        session.host_name = hostname  # type: ignore[attr-defined]
        refusal = self._answer("EHLO", "")
        return [refusal] if refusal else responses

    async def handle_MAIL(
        self, _: SMTP, __: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._answer("MAIL", "250 OK")

    async def handle_RCPT(
        self, _: SMTP, __: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._answer("RCPT", "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
            self.recipients.append(address)
        return answer

    async def handle_DATA(self, _: SMTP, __: object, ___: Envelope) -> str:
        answer = self._answer("DATA", "250 OK")
        self.taken += answer.startswith("250")
        return answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, hostname="test", enable_SMTPUTF8=True), "127.0.0.1", 0
        )
        yield server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()


@pytest.fixture
def settings_at(
    make_settings: Callable[..., ManagementSettings],
) -> Callable[..., ManagementSettings]:
    def make(port: int, **changes: str) -> ManagementSettings:
        values = {"smtp_from": "ocmt@example.com", **changes}
        return make_settings(smtp_host="127.0.0.1", smtp_port=str(port), smtp_tls="none", **values)

    return make


@pytest.mark.parametrize(
    ("command", "reply", "cure"),
    [
        ("RCPT", "451 4.7.1 Greylisted, try again in 300 seconds", "later"),
        ("RCPT", "450 4.2.1 mailbox busy", "later"),
        ("DATA", "452 4.3.1 Insufficient system storage", "full"),
        ("MAIL", "421 4.3.2 Service shutting down", "busy"),
        ("DATA", "432 something new", "for now"),
    ],
)
async def test_a_temporarily_refused_mail_is_retried_until_accepted(
    *,
    settings_at: Callable[..., ManagementSettings],
    link_mail: EmailMessage,
    quiet_logs: list[dict[str, object]],
    command: str,
    reply: str,
    cure: str,
) -> None:
    server, waiting = Refusing(command, [reply] * 6), Waiting()
    async with server.running() as port, waiting.queue(SmtpMailer(settings_at(port))) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert server.taken == 1
    assert waiting.now > 60
    assert queue.failure is None
    failed = [event for event in quiet_logs if event["event"] == "mail not sent"]
    assert len(failed) == 6
    assert {event["gave_up"] for event in failed} == {False}
    assert {event["reason"] for event in failed} == {reply}
    assert cure in str(failed[0]["cure"])


@pytest.mark.parametrize(
    ("command", "reply", "cure"),
    [
        ("RCPT", "550 5.1.1 no such user here", "recipient"),
        ("RCPT", "504 5.5.2 <localhost>: need fully-qualified hostname", "SMTP_EHLO_NAME"),
        ("RCPT", "550 5.7.1 <box>: Helo command rejected: Host not found", "SMTP_EHLO_NAME"),
        ("RCPT", "554 5.7.1 Relay access denied", "SMTP_USER"),
        ("MAIL", "553 5.7.1 sender not owned by user", "SMTP_FROM"),
        ("MAIL", "530 5.7.0 Authentication required", "SMTP_TLS"),
        ("DATA", "554 5.7.1 looks like spam", "often as spam"),
        ("DATA", "571 something new", "for good"),
    ],
)
async def test_a_permanently_refused_mail_is_not_retried_and_the_remedy_fits(
    *,
    settings_at: Callable[..., ManagementSettings],
    link_mail: EmailMessage,
    quiet_logs: list[dict[str, object]],
    command: str,
    reply: str,
    cure: str,
) -> None:
    server, waiting = Refusing(command, [reply]), Waiting()
    async with server.running() as port, waiting.queue(SmtpMailer(settings_at(port))) as queue:
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    assert (server.taken, waiting.now) == (0, 0)
    (failed,) = [event for event in quiet_logs if event["event"] == "mail not sent"]
    assert failed["gave_up"] is True
    assert failed["reason"] == reply
    assert cure in str(failed["cure"])
    assert (queue.failure is None) == (reply.startswith("550 5.1.1"))


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <ada@example.com>: Recipient address rejected",
        f"554 refused: contains {LINK}",
        "550 ada@example.com is unknown; see https://help.example/why",
    ],
)
async def test_the_reply_is_logged_without_the_address_and_the_link(
    settings_at: Callable[..., ManagementSettings],
    link_mail: EmailMessage,
    quiet_logs: list[dict[str, object]],
    reply: str,
) -> None:
    async with (
        Refusing("RCPT", [reply]).running() as port,
        Waiting().queue(SmtpMailer(settings_at(port))) as queue,
    ):
        queue.post(link_mail, within=TEN_MINUTES)
        await queue.delivered()

    (failed,) = [event for event in quiet_logs if event["event"] == "mail not sent"]
    assert str(failed["reason"]).startswith(reply[:4])
    assert "ada@example.com" not in str(failed)


@pytest.mark.parametrize("name", ["ocmt.example.com", "bücher.example", "[192.0.2.7]", ""])
async def test_the_name_in_the_greeting_can_be_set(
    settings_at: Callable[..., ManagementSettings], link_mail: EmailMessage, name: str
) -> None:
    server = Refusing("", [])
    async with server.running() as port:
        await SmtpMailer(settings_at(port, smtp_ehlo_name=name)).send(link_mail)

    (said,) = server.names
    if name == "bücher.example":
        assert said == "xn--bcher-kva.example"
    elif name:
        assert said == name
    assert said


async def test_mail_goes_to_and_from_international_domains(
    settings_at: Callable[..., ManagementSettings],
) -> None:
    server = Refusing("", [])
    async with server.running() as port:
        settings = settings_at(port, smtp_from="Büro <ocmt@bücher.example>")
        for address in ("user@bücher.example", "user@例え.テスト", "user@xn--bcher-kva.example"):
            mail = sign_in_mail(to=normalise(address), link=LINK, life_minutes=10)
            await SmtpMailer(settings).send(mail)

    assert server.recipients == [
        "user@xn--bcher-kva.example",
        "user@xn--r8jz45g.xn--zckzah",
        "user@xn--bcher-kva.example",
    ]


class TestHealth:
    """The mail check of /health."""

    @pytest.fixture
    def refusing(self) -> Refusing:
        return Refusing("MAIL", ["535 5.7.8 of internal.mail.example: no"])

    @pytest.fixture
    async def settings(
        self, refusing: Refusing, settings_at: Callable[..., ManagementSettings]
    ) -> AsyncIterator[ManagementSettings]:
        async with refusing.running() as port:
            yield settings_at(port, allowed_domains="example.com")

    async def test_health_reports_why_no_mail_is_sent_until_one_is(
        self, app: FastAPI, new_browser: Callable[[], httpx2.AsyncClient]
    ) -> None:
        browser = new_browser()
        told = []
        for _ in range(2):
            await browser.post("/api/auth/link", json={"email": "ada@example.com"})
            await app.state.mail_queue.delivered()
            told.append((await browser.get("/health")).json())

        assert told[0]["status"] == "degraded"
        assert told[0]["checks"]["mail"]["ok"] is False
        assert "535" in told[0]["checks"]["mail"]["detail"]
        assert "SMTP_PASS" in told[0]["checks"]["mail"]["detail"]
        assert "internal.mail.example" not in str(told[0])
        assert told[1]["checks"]["mail"] == {"ok": True, "detail": None}
