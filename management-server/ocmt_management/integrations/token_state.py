"""Decisions about tokens: when to refresh, what a failure means, which state to show. Pure.

Expiry is counted from `expires_in` on this server's clock, so a provider's clock does not matter.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ocmt_management.integrations.models import ConnectionState

REFRESH_BEFORE = timedelta(minutes=2)
WARN_BEFORE = timedelta(days=3)
"""A token that cannot be refreshed shows as expiring this long before its end."""
LEASE = timedelta(seconds=45)
"""Longer than a refresh may take (`oauth_http.TIMEOUT_S`), so a live refresh keeps its lease."""


class Shown(StrEnum):
    OK = "ok"
    EXPIRING = "expiring"
    RECONNECT = "reconnect"


class Step(StrEnum):
    USE = "use"
    REFRESH = "refresh"
    WAIT = "wait"
    """Another process is refreshing."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a connection's tokens."""

    state: ConnectionState
    token_version: int
    expires_at: datetime | None
    refreshable: bool
    lease_until: datetime | None

    def usable(self, now: datetime) -> bool:
        """Whether the provider should still accept the access token."""
        return self.expires_at is None or now < self.expires_at


def next_step(standing: Standing, now: datetime, *, refused_version: int | None = None) -> Step:
    """What to do before the access token is used.

    `refused_version`: the provider rejected the access token of this version before its end.
    """
    if standing.state is ConnectionState.RECONNECT:
        return Step.BROKEN
    refused = standing.token_version == refused_version
    due = standing.expires_at is not None and now >= standing.expires_at - REFRESH_BEFORE
    if not due and not refused:
        return Step.USE
    if not standing.refreshable:
        return Step.USE if standing.usable(now) and not refused else Step.BROKEN
    if standing.lease_until is not None and now < standing.lease_until:
        # Calls go on with a token that is still good while it is refreshed.
        return Step.USE if standing.usable(now) and not refused else Step.WAIT
    return Step.REFRESH


class Failure(StrEnum):
    """Why a token endpoint gave no token."""

    GRANT = "grant"
    """The refresh token is over: only the person can help."""
    CLIENT = "client"
    """The operator's client is wrong."""
    PASSING = "passing"
    """Network, overload, garbage: nothing is known about the tokens."""


_CLIENT_ERRORS = frozenset(
    {
        "invalid_client", "unauthorized_client", "incorrect_client_credentials",
        "bad_client_secret", "invalid_client_id",
    }
)  # fmt: skip


def failure_of(error: str | None, grant_errors: tuple[str, ...] = ()) -> Failure:
    """What the error of a token endpoint's answer means; `None` for an answer without one."""
    if error == "invalid_grant" or error in grant_errors:
        return Failure.GRANT
    return Failure.CLIENT if error in _CLIENT_ERRORS else Failure.PASSING


def shown_state(standing: Standing, now: datetime) -> Shown:
    if standing.state is ConnectionState.RECONNECT:
        return Shown.RECONNECT
    if standing.refreshable or standing.expires_at is None:
        return Shown.OK
    if not standing.usable(now):
        return Shown.RECONNECT
    return Shown.EXPIRING if now >= standing.expires_at - WARN_BEFORE else Shown.OK
