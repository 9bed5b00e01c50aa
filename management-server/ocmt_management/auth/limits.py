"""Rate limits of sign-in.

Each limit counts by the client's address or network, never by the account alone, so no client can
lock out a user in another network. The number of mails to one e-mail address is bounded by its
unused links (`sign_in.SignIn`).
Counters live in memory and start at zero after a restart.
"""

import math
import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from ocmt_common.problems import Problem

from ocmt_management.auth.client_address import ClientAddress


class SignInLimits:
    """`request_link` bounds requests for links, `redeem` bounds guesses at links and codes."""

    _request_per_address = RateLimitItemPerHour(5, namespace="ask-address")
    _request_per_client = RateLimitItemPerHour(20, namespace="ask-client")
    _request_per_network = RateLimitItemPerHour(60, namespace="ask-network")
    _redeem_per_client = RateLimitItemPerMinute(20, namespace="redeem-client")
    _redeem_per_network = RateLimitItemPerMinute(100, namespace="redeem-network")

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def request_link(self, client: ClientAddress, *, email: str) -> None:
        """Count one request for a link. Raises a 429 `Problem` above a limit."""
        self._count(
            (self._request_per_address, f"{client.host} {email}"),
            (self._request_per_client, client.host),
            (self._request_per_network, client.network),
        )

    def redeem(self, client: ClientAddress) -> None:
        """Count one attempt to use a link or a code. Raises a 429 `Problem` above a limit."""
        self._count(
            (self._redeem_per_client, client.host), (self._redeem_per_network, client.network)
        )

    def _count(self, *wanted: tuple[RateLimitItem, str]) -> None:
        # Narrow limits first: a request above a client's limit does not count against its network.
        for limit, key in wanted:
            if not self._limiter.hit(limit, key):
                reset_at = self._limiter.get_window_stats(limit, key).reset_time
                wait_s = max(1, math.ceil(reset_at - time.time()))
                seconds = "second" if wait_s == 1 else "seconds"
                raise Problem(
                    429,
                    "too-many-attempts",
                    f"Too many attempts. Wait {wait_s} {seconds} and try again.",
                    retry_after_s=wait_s,
                )
