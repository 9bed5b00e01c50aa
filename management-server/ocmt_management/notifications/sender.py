"""Sends messages to push services, whose addresses browsers give: hostile until they are checked.

Every address is dialled through the guard for addresses that users choose. Nothing of an answer is
read but its status.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

import aiohttp
import structlog
from yarl import URL

from ocmt_management.clock import Clock
from ocmt_management.notifications.push_message import (
    Message,
    Recipient,
    ServerKey,
    for_recipient,
    headers,
)
from ocmt_management.outbound.service import AddressRefused, Client

log = structlog.get_logger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=10)
_RETRIES_AFTER_S = (5.0, 30.0)
_GONE = frozenset({404, 410})


class Outcome(StrEnum):
    TAKEN = "taken"
    """The push service has the message."""
    GONE = "gone"
    """The subscription no longer exists."""
    FAILED = "failed"
    AGAIN = "again"
    """The push service is busy or away."""


class PushSender:
    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        subject: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._clock = clock
        self._subject = subject
        self._sleep = sleep

    async def send(self, key: ServerKey, message: Message, recipient: Recipient) -> Outcome:
        """Send a message, again after a while if the push service is busy or away."""
        outcome = await self._try(key, message, recipient)
        for delay_s in _RETRIES_AFTER_S:
            if outcome is not Outcome.AGAIN:
                break
            await self._sleep(delay_s)
            outcome = await self._try(key, message, recipient)
        return Outcome.FAILED if outcome is Outcome.AGAIN else outcome

    async def _try(self, key: ServerKey, message: Message, recipient: Recipient) -> Outcome:
        url = URL(recipient.endpoint, encoded=True)
        try:
            answer = await self._client.request(
                "POST",
                url,
                headers=headers(
                    message,
                    key.authorization(recipient.endpoint, subject=self._subject, now=self._clock()),
                ),
                body=for_recipient(message, recipient),
                timeout=_TIMEOUT,
            )
        except AddressRefused:
            log.warning("push service not dialled: its address is refused", host=url.host)
            return Outcome.FAILED
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.info("push service not reached", host=url.host, reason=type(error).__name__)
            return Outcome.AGAIN
        answer.close()
        if answer.status in _GONE:
            return Outcome.GONE
        if answer.status == 429 or answer.status >= 500:
            return Outcome.AGAIN
        if answer.status < 300:
            return Outcome.TAKEN
        log.warning("push service refused a message", host=url.host, status=answer.status)
        return Outcome.FAILED
