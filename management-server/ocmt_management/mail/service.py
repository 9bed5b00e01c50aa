"""Sends mail over SMTP, in the background so that no response's timing reveals an account."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from itertools import chain, repeat
from typing import Protocol, Self

import aiosmtplib
import structlog

from ocmt_management.clock import utc_now
from ocmt_management.mail.failures import MailFailure, explain
from ocmt_management.mail.templates import link_mail
from ocmt_management.settings import ManagementSettings

__all__ = [
    "MailFailure",
    "MailQueue",
    "Mailer",
    "NullMailer",
    "SmtpMailer",
    "link_mail",
    "mailer_for",
]

log = structlog.get_logger(__name__)

_WAITS_S = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Delays between attempts; the last repeats. Greylisting needs a second attempt minutes later."""
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
            if name not in message:  # a second attempt sends the same mail
                message[name] = value
        await aiosmtplib.send(
            message,
            hostname=chosen.smtp_host,
            port=chosen.smtp_port,
            username=chosen.smtp_user or None,
            password=chosen.smtp_pass.get_secret_value() or None,
            use_tls=chosen.smtp_tls == "tls",
            start_tls=chosen.smtp_tls == "starttls",
            local_hostname=chosen.smtp_ehlo_name or None,
            timeout=_SEND_TIMEOUT_S,
        )


class NullMailer:
    """Used without SMTP_HOST: logs that no mail is sent, and how to make a link instead."""

    async def send(self, message: EmailMessage) -> None:
        log.warning(
            "no mail sent: SMTP_HOST is not set",
            subject=message["Subject"],
            cure="set SMTP_HOST and SMTP_FROM, or run `python -m ocmt_management sign-in-link "
            "--email ADDRESS` on this machine",
        )


class MailQueue:
    """Sends each mail in a background task, with retries for as long as it is useful."""

    def __init__(
        self,
        mailer: Mailer,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailer = mailer
        self._sleep = sleep
        self._monotonic = monotonic
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: MailFailure | None = None
        """Why the last attempt failed, unless for its recipient alone; `None` after a success."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WITHIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if late:
                log.warning("mails dropped: the server is stopping", mails=len(late))

    def post(self, message: EmailMessage, *, within: timedelta) -> None:
        """Send `message` in the background; stop retrying after `within`."""
        task = asyncio.create_task(self._deliver(message, within.total_seconds()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def delivered(self) -> None:
        """Wait until each mail posted so far is sent or given up."""
        await asyncio.gather(*self._tasks)

    async def _deliver(self, message: EmailMessage, within_s: float) -> None:
        give_up_at = self._monotonic() + within_s
        for attempt, wait_s in enumerate(chain(_WAITS_S, repeat(_WAITS_S[-1])), start=1):
            try:
                await self._mailer.send(message)
            except Exception as error:
                # This task is not awaited, so every failure is logged here. The message holds a
                # sign-in link: neither it nor its recipient may enter the log.
                failure = explain(error)
                again = failure.temporary and self._monotonic() + wait_s < give_up_at
                log.error(
                    "mail not sent",
                    subject=message["Subject"],
                    attempt=attempt,
                    gave_up=not again,
                    reason=failure.reply,
                    cure=failure.cure,
                )
                if not failure.of_recipient:
                    self.failure = failure
                if not again:
                    return
                await self._sleep(wait_s)
            else:
                self.failure = None
                return


def mailer_for(settings: ManagementSettings) -> Mailer:
    return SmtpMailer(settings) if settings.smtp_host else NullMailer()
