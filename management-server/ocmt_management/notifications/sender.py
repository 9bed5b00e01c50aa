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

_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=12)
"""To connect, longer than a name may take to be resolved: the two failures differ."""
_RETRIES_AFTER_S = (5.0, 30.0)
_GONE = frozenset({404, 410})


class Outcome(StrEnum):
    TAKEN = "taken"
    """The push service has the message."""
    GONE = "gone"
    """The subscription no longer exists."""
    BUSY = "busy"
    """The push service says that it cannot take a message now."""
    AWAY = "away"
    """Nothing answers at its address."""
    FAILED = "failed"


_PASSING = frozenset({Outcome.BUSY, Outcome.AWAY})


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

    async def send(
        self,
        key: ServerKey,
        message: Message,
        recipient: Recipient,
        *,
        requests: asyncio.Semaphore,
    ) -> Outcome:
        """Send a message, again after a while if the push service is busy or away.

        `requests` is held during each request, not between them.
        """
        async with requests:
            outcome = await self._try(key, message, recipient)
        for delay_s in _RETRIES_AFTER_S:
            if outcome not in _PASSING:
                break
            await self._sleep(delay_s)
            async with requests:
                outcome = await self._try(key, message, recipient)
        return outcome

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
        except aiohttp.ClientConnectorDNSError:
            # Not tried again: each name that is not resolved occupies one of few threads.
            log.info("push service not reached: its name is not resolved", host=url.host)
            return Outcome.FAILED
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.info("push service not reached", host=url.host, reason=type(error).__name__)
            return Outcome.AWAY
        answer.close()
        outcome = _outcome(answer.status)
        if outcome is Outcome.FAILED:
            log.warning("push service refused a message", host=url.host, status=answer.status)
        return outcome


def _outcome(status: int) -> Outcome:
    if status in _GONE:
        return Outcome.GONE
    if status == 429 or status >= 500:
        return Outcome.BUSY
    return Outcome.TAKEN if status < 300 else Outcome.FAILED
