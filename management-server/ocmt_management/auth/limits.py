"""How often one asker may try to sign in.

Every limit is counted against who asks, never against what is asked for, so nobody can lock another
person out. How many mails one address gets is bounded by the links it has (`service.SignIn`).
Counters live in memory: a restart forgives, which costs an attacker more than it gives.
"""

import math
import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from ocmt_common.problems import Problem

from ocmt_management.auth.client_address import Asker


class SignInLimits:
    """`ask` bounds requests for links, `redeem` bounds guesses at links and codes."""

    _ask_per_address = RateLimitItemPerHour(5, namespace="ask-address")
    _ask_per_client = RateLimitItemPerHour(20, namespace="ask-client")
    _ask_per_network = RateLimitItemPerHour(60, namespace="ask-network")
    _redeem_per_client = RateLimitItemPerMinute(20, namespace="redeem-client")
    _redeem_per_network = RateLimitItemPerMinute(100, namespace="redeem-network")

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def ask(self, asker: Asker, *, address: str) -> None:
        """Count one request for a link. Raises a 429 `Problem` when it is one too many."""
        self._take(
            (self._ask_per_address, f"{asker.client} {address}"),
            (self._ask_per_client, asker.client),
            (self._ask_per_network, asker.network),
        )

    def redeem(self, asker: Asker) -> None:
        """Count one attempt to use a link or a code. Raises a 429 `Problem`."""
        self._take(
            (self._redeem_per_client, asker.client), (self._redeem_per_network, asker.network)
        )

    def _take(self, *wanted: tuple[RateLimitItem, str]) -> None:
        # Narrow before wide: one client's excess must not use up what its network shares.
        for limit, key in wanted:
            if not self._limiter.hit(limit, key):
                reset_at = self._limiter.get_window_stats(limit, key).reset_time
                wait_s = max(1, math.ceil(reset_at - time.time()))
                raise Problem(
                    429,
                    "too-many-attempts",
                    f"Too many attempts. Wait {wait_s} seconds and try again.",
                    retry_after_s=wait_s,
                )
