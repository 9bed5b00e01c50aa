"""What `/llm` keeps between requests: connections, counts, and each user's last trouble."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.caller_cache import Callers
from ocmt_management.llm.concurrency import AtOnce
from ocmt_management.llm.last_errors import Troubles
from ocmt_management.llm.usage_recorder import Meter
from ocmt_management.no_cookies import no_cookies
from ocmt_management.vault.keys import KeyRing

# A model may think for minutes before its first byte.
_TIMEOUT = httpx2.Timeout(10, read=600, write=60)
_LIMITS = httpx2.Limits(max_connections=500, max_keepalive_connections=50)


class Llm:
    """Use `open` as long as the server lives."""

    def __init__(self, http: httpx2.AsyncClient, meter: Meter, clock: Clock) -> None:
        self.http = http
        self.meter = meter
        self.callers = Callers(clock)
        self.troubles = Troubles()
        self.at_once = AtOnce()

    def user_changed(self, user_id: str) -> None:
        """The user's model, key, token or status is another now."""
        self.callers.forget(user_id)
        self.troubles.forget(user_id)

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, keys: KeyRing, clock: Clock) -> AsyncIterator["Llm"]:
        meter = Meter(database, keys, clock)
        # The environment's proxies and .netrc have no say in who gets a user's key.
        async with (
            meter.running(),
            httpx2.AsyncClient(
                timeout=_TIMEOUT, limits=_LIMITS, cookies=no_cookies(), trust_env=False
            ) as http,
        ):
            yield cls(http, meter, clock)
