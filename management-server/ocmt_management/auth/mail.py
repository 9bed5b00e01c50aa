"""Mail over SMTP, sent in the background so that no answer's timing tells who has an account."""

import asyncio
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Protocol, Self

import aiosmtplib
import structlog

from ocmt_management.clock import utc_now
from ocmt_management.settings import ManagementSettings

log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_SEND_TIMEOUT_S = 20
_CLOSE_WITHIN_S = 5


class Mailer(Protocol):
    """Delivers one message or raises."""

    async def send(self, message: EmailMessage) -> None: ...


class SmtpMailer:
    def __init__(self, settings: ManagementSettings) -> None:
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        chosen = self._settings
        sender_domain = chosen.smtp_from.rpartition("@")[2].rstrip(">")
        for name, value in (
            ("From", chosen.smtp_from),
            ("Date", format_datetime(utc_now())),
            ("Message-ID", make_msgid(domain=sender_domain)),
        ):
            if name not in message:  # a second try is the same mail
                message[name] = value
        await aiosmtplib.send(
            message,
            hostname=chosen.smtp_host,
            port=chosen.smtp_port,
            username=chosen.smtp_user or None,
            password=chosen.smtp_pass.get_secret_value() or None,
            use_tls=chosen.smtp_tls == "tls",
            start_tls=chosen.smtp_tls == "starttls",
            timeout=_SEND_TIMEOUT_S,
        )


class NullMailer:
    """Stands in when no SMTP is set: says so, and how a link is made without mail."""

    async def send(self, message: EmailMessage) -> None:
        log.warning(
            "no mail sent: SMTP_HOST is not set",
            subject=message["Subject"],
            cure="set SMTP_HOST and SMTP_FROM, or run `python -m ocmt_management sign-in-link "
            "--email ADDRESS` on this machine",
        )


class Outbox:
    """Owns the mails on their way: retries a little, and waits for them when the server stops."""

    def __init__(self, mailer: Mailer, *, retry_after_s: float = 2.0) -> None:
        self._mailer = mailer
        self._retry_after_s = retry_after_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WITHIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def post(self, message: EmailMessage) -> None:
        """Send `message` in the background."""
        task = asyncio.create_task(self._deliver(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def delivered(self) -> None:
        """Wait until every mail posted so far is sent or given up."""
        await asyncio.gather(*self._tasks)

    async def _deliver(self, message: EmailMessage) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._mailer.send(message)
            except Exception as error:
                # Nobody awaits this, so whatever went wrong is told here. The message holds a
                # sign-in link: neither it nor its address goes to the log.
                log.error(
                    "mail not sent",
                    subject=message["Subject"],
                    attempt=attempt,
                    gave_up=attempt == _ATTEMPTS,
                    reason=type(error).__name__,
                    cure="check SMTP_HOST, SMTP_PORT, SMTP_TLS, SMTP_USER and SMTP_PASS",
                )
                if attempt < _ATTEMPTS:
                    await asyncio.sleep(self._retry_after_s * attempt)
            else:
                return


def mailer_for(settings: ManagementSettings) -> Mailer:
    return SmtpMailer(settings) if settings.smtp_host else NullMailer()
