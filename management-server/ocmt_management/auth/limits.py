"""How often somebody may try: per client address, per mailbox and in all.

Counters live in memory: a restart forgives, which costs an attacker more than it gives.
"""

import math
import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from ocmt_common.problems import Problem


class SignInLimits:
    """`ask` bounds mails sent, `redeem` bounds guesses at links and codes."""

    _ask_per_client = RateLimitItemPerHour(20, namespace="ask-client")
    _ask_per_address = RateLimitItemPerHour(5, namespace="ask-address")
    _ask_global = RateLimitItemPerMinute(60, namespace="ask-all")
    _redeem_per_client = RateLimitItemPerMinute(20, namespace="redeem-client")
    _redeem_global = RateLimitItemPerMinute(600, namespace="redeem-all")

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def ask(self, *, client: str, address: str) -> None:
        """Count one request for a link. Raises a 429 `Problem` when it is one too many."""
        self._take(
            (self._ask_per_client, client),
            (self._ask_per_address, address),
            (self._ask_global, "all"),
        )

    def redeem(self, *, client: str) -> None:
        """Count one attempt to use a link or a code. Raises a 429 `Problem`."""
        self._take((self._redeem_per_client, client), (self._redeem_global, "all"))

    def _take(self, *wanted: tuple[RateLimitItem, str]) -> None:
        # Narrow before wide: one client's excess must not use up what all share.
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
