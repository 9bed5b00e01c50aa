"""Mail that cannot be sent: tried again, logged without the link, never felt by who asked."""

import asyncio
from collections.abc import Callable
from email.message import EmailMessage

import aiosmtplib
import httpx2
import pytest
from ocmt_management.auth.mail import NullMailer, Outbox, SmtpMailer
from ocmt_management.auth.messages import sign_in_mail
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


async def test_a_mail_is_tried_again(link_mail: EmailMessage) -> None:
    mailer = FailsAtFirst(2)
    async with Outbox(mailer, retry_after_s=0) as outbox:
        outbox.post(link_mail)
        await outbox.delivered()

    assert len(mailer.sent) == 1


async def test_a_mail_that_never_goes_is_logged_with_the_cure_and_without_the_link(
    link_mail: EmailMessage, quiet_logs: list[dict[str, object]]
) -> None:
    async with Outbox(FailsAtFirst(99), retry_after_s=0) as outbox:
        outbox.post(link_mail)
        await outbox.delivered()

    assert [event["gave_up"] for event in quiet_logs] == [False, False, True]
    assert "SMTP_HOST" in str(quiet_logs[-1]["cure"])


async def test_without_smtp_the_log_says_how_to_make_a_link(
    link_mail: EmailMessage, quiet_logs: list[dict[str, object]]
) -> None:
    async with Outbox(NullMailer()) as outbox:
        outbox.post(link_mail)
        await outbox.delivered()

    assert "sign-in-link" in str(quiet_logs[0]["cure"])


class TestWithoutMail:
    @pytest.fixture
    def settings(self, make_settings: Callable[..., ManagementSettings]) -> ManagementSettings:
        return make_settings()

    async def test_nobody_is_left_waiting_for_a_link(
        self, new_browser: Callable[[], httpx2.AsyncClient]
    ) -> None:
        for email in ("ada@example.com", "bob@example.com"):
            answer = await new_browser().post("/api/auth/link", json={"email": email})
            assert (answer.status_code, answer.json()["code"]) == (409, "no-mail")
            assert "ocmt link --email" in answer.json()["detail"]


async def test_closing_waits_for_mails_on_their_way(link_mail: EmailMessage) -> None:
    go = asyncio.Event()

    class Slow(FailsAtFirst):
        async def send(self, message: EmailMessage) -> None:
            await go.wait()
            await super().send(message)

    mailer = Slow(0)
    async with Outbox(mailer) as outbox:
        outbox.post(link_mail)
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
    async with Outbox(SmtpMailer(settings), retry_after_s=0) as outbox:
        outbox.post(link_mail)
        await outbox.delivered()

    assert quiet_logs[-1]["gave_up"] is True


async def test_a_mail_is_plain_text_with_a_simple_html_twin(link_mail: EmailMessage) -> None:
    parts = [part.get_content_type() for part in link_mail.walk()]

    assert parts == ["multipart/alternative", "text/plain", "text/html"]
    assert "10 minutes" in link_mail.as_string()
